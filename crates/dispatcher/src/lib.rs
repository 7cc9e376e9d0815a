//! Runs each event in an instance of its function: admit, pool, start, wait, reap; the asynchronous queue.
//!
//! The gateway, workflows and event sources call it through [`squall_types::Invoke`]; it knows runtimes only as
//! [`squall_runtime::Runtime`]. One event goes through the modules in this order:
//!
//! ```text
//! invoke → admit → pool (lease, or wait while start makes an instance) → wait (deadline) → report (log) → lease
//! queue (accepted events) → invoke → retry
//! ```
//!
//! Bounded: calls in flight (account and reserved concurrency), calls that wait, instances, accepted events.

mod admit;
mod change;
mod config;
mod detach;
mod dispatcher;
mod invoke;
mod kept;
mod lease;
mod log;
mod metrics;
mod once;
mod overview;
mod pool;
mod queue;
mod reap;
mod report;
mod resolve;
mod result;
mod retry;
mod start;
mod stats;
mod stream;
mod targets;
#[cfg(test)]
mod tests;
mod wait;

pub use config::{DispatcherConfig, OpenError};
pub use dispatcher::Dispatcher;
pub use stats::{FunctionStats, Stats};
