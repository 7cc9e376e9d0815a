//! What can be set, and why opening can fail.

use std::time::Duration;

use squall_store::StoreError;
use squall_types::MIB;

/// The dispatcher's settings. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct DispatcherConfig {
    /// An instance that has been idle for this long is stopped.
    pub idle_timeout: Duration,
    /// The most instances that live at once, over all functions. At the limit calls wait, and idle instances go.
    pub instances_max: usize,
    /// The most calls of one function that wait for an instance.
    pub waiting_max: usize,
    /// How long a runtime may take to make an instance.
    pub create_timeout: Duration,
    /// How long an instance may take to initialise.
    pub init_timeout: Duration,
    /// How long an instance that is no longer needed may take to end by itself.
    pub stop_grace: Duration,
    /// The largest event of a synchronous call.
    pub payload_bytes_max: usize,
    /// The largest event that is accepted to run later.
    pub async_payload_bytes_max: usize,
    /// The most bytes of one invocation's output that are kept.
    pub log_bytes_max: usize,
    /// How often the log of an invocation that runs on is handed over.
    pub log_flush_every: Duration,
    /// The most accepted events of one function.
    pub queued_per_function_max: usize,
    /// The most accepted events of all functions.
    pub queued_max: usize,
    /// The most accepted events of one function that run at once.
    pub async_per_function_max: usize,
    /// The most accepted events of all functions that run at once; never more than half of `instances_max`.
    pub async_max: usize,
    /// An accepted event that could not be run for this long is given up, where the function does not say.
    pub event_age_max: Duration,
    /// The most events that were given up and are kept; past it the oldest are discarded.
    pub failed_max: usize,
    /// How long those are kept.
    pub failed_retention: Duration,
    /// How long the results of accepted events are kept, and what calls with an idempotency key came to.
    pub result_retention: Duration,
    /// The most results that are kept; past it the oldest go. As many idempotency keys; past it they are refused.
    pub results_max: usize,
    /// The most bytes of either.
    pub results_bytes_max: u64,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(600),
            instances_max: 500,
            waiting_max: 1000,
            create_timeout: Duration::from_secs(30),
            init_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_millis(500),
            payload_bytes_max: 6_291_456,
            async_payload_bytes_max: 1024 * 1024,
            log_bytes_max: 4 * 1024 * 1024,
            log_flush_every: Duration::from_secs(1),
            queued_per_function_max: 100_000,
            queued_max: 1_000_000,
            async_per_function_max: 50,
            async_max: 200,
            event_age_max: Duration::from_secs(6 * 3600),
            failed_max: 100_000,
            failed_retention: Duration::from_secs(14 * 24 * 3600),
            result_retention: Duration::from_secs(24 * 3600),
            results_max: 100_000,
            results_bytes_max: 256 * MIB,
        }
    }
}

/// Why the dispatcher could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The accepted events, or what came of them, could not be read.
    #[error("could not read the accepted events")]
    Store(#[from] StoreError),
    /// An accepted event is not what was written. It stays in the store.
    #[error("the accepted event {sequence} is damaged: {reason}")]
    Damaged {
        /// Which.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}
