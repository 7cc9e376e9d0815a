//! What the dispatcher is doing, for tests and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use squall_types::FunctionName;

/// A look at everything at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The functions that have instances, calls or events.
    pub functions: BTreeMap<FunctionName, FunctionStats>,
    /// Calls in flight: waiting or running.
    pub in_flight: usize,
    /// Instances that live, over all functions: starting, idle, busy and stopping.
    pub instances: usize,
}

/// One function, all its versions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionStats {
    /// Instances that wait for an event.
    pub idle: usize,
    /// Instances that run one.
    pub busy: usize,
    /// Instances that are being made.
    pub starting: usize,
    /// Calls that wait for an instance.
    pub waiting: usize,
    /// Accepted events that have not run to their end.
    pub queued_events: usize,
    /// The age of the oldest of them.
    pub oldest_event_age: Option<Duration>,
}
