//! Lattices: values that replicas merge in any order, any number of times, to the same result.
//!
//! Pure: no I/O, no tasks, no clock but the one that is handed in.
//! A [`Capsule`] is what a key holds: one of the lattices in this folder, wrapped with the version ([`Clock`]) and the
//! causal dependencies that sessions need. Users see plain values; capsules stay inside.

mod body;
mod capsule;
mod clock;
mod codec;
mod counter;
mod extreme;
#[cfg(test)]
mod laws;
mod map;
mod register;
mod set;
mod stamp;
mod update;

pub use body::Body;
pub use capsule::{Capsule, Dependencies, Dependency, Merged};
pub use clock::{Clock, Dot, Observed, Writer};
pub use counter::Counter;
pub use extreme::{Extreme, Flag};
pub use map::{Map, OrderedSet};
pub use register::{Register, Sibling};
pub use set::Set;
pub use stamp::{HybridClock, Stamp};
pub use update::Update;
