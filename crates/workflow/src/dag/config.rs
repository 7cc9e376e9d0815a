//! What bounds DAGs and their runs.

use std::time::Duration;

/// The limits.
#[derive(Debug, Clone)]
pub struct Config {
    /// The most registered DAGs.
    pub dags_max: usize,
    /// The most runs that are under way at once; a recorded run waits for its turn, another is throttled.
    pub running_max: usize,
    /// The most recorded runs that have not ended.
    pub recorded_max: usize,
    /// The most bytes of arguments of all runs that have not ended.
    pub argument_bytes_max: usize,
    /// The most endings that are kept.
    pub endings_max: usize,
    /// The most bytes of the endings that are kept.
    pub ending_bytes_max: u64,
    /// How often a run is executed before it fails for good.
    pub attempts_max: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub backoff: Duration,
    /// How long a direct run's result can be referred to by another run.
    pub recent_for: Duration,
    /// The most bytes of those results; the oldest go first.
    pub recent_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dags_max: 10_000,
            running_max: 1000,
            recorded_max: 10_000,
            argument_bytes_max: 256 * 1024 * 1024,
            endings_max: 100_000,
            ending_bytes_max: 1024 * 1024 * 1024,
            attempts_max: 4,
            backoff: Duration::from_millis(100),
            recent_for: Duration::from_secs(60),
            recent_bytes_max: 32 * 1024 * 1024,
        }
    }
}
