//! What state may use.

use std::time::Duration;

/// Settings of a node's state. All bounds are per node unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many caches there are: one for each group of executors. 1 to 64.
    pub caches: u16,
    /// The most bytes that one cache holds.
    pub cache_bytes_max: usize,
    /// The most bytes that the home keeps in memory of what is in the store.
    pub home_bytes_max: usize,
    /// The most bytes of versions that were replaced but that a run may still need.
    pub history_bytes_max: usize,
    /// The most bytes that one cache keeps for runs that have read them.
    pub snapshot_bytes_max: usize,
    /// The most runs that are under way at a level that must be remembered.
    pub runs_max: usize,
    /// How long a run is remembered after its last word.
    pub run_idle_max: Duration,
    /// How often a cache asks for what it may have missed: the bound of its staleness.
    pub sync_period: Duration,
    /// How long the id of a committed transaction is remembered, so that its retry does nothing.
    pub transaction_memory: Duration,
    /// The most bytes that one transaction writes.
    pub transaction_bytes_max: usize,
    /// The most messages that wait for one receiver.
    pub inbox_messages_max: usize,
    /// The most bytes of one message.
    pub message_bytes_max: usize,
    /// The most changes that a bucket keeps for those who watch it.
    pub changes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            caches: 1,
            cache_bytes_max: 64 * 1024 * 1024,
            home_bytes_max: 16 * 1024 * 1024,
            history_bytes_max: 16 * 1024 * 1024,
            snapshot_bytes_max: 64 * 1024 * 1024,
            runs_max: 10_000,
            run_idle_max: Duration::from_secs(1000),
            sync_period: Duration::from_secs(1),
            transaction_memory: Duration::from_secs(24 * 3600),
            transaction_bytes_max: 16 * 1024 * 1024,
            inbox_messages_max: 1000,
            message_bytes_max: 1024 * 1024,
            changes_max: 1_000_000,
        }
    }
}
