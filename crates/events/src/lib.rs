//! Events that do not come as a call: messages of queues, schedules, buses and changes of state, and the mappings that
//! bring each to its function. It calls `types::Invoke` and does not know who implements it.

pub mod bus;
mod clock;
pub mod cloudevent;
pub mod mapping;
pub mod outbox;
pub mod pattern;
pub mod queue;
pub mod schedule;

pub use clock::Clock;
