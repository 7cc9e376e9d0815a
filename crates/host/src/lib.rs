//! Answers what instances ask while they run an event: the functions' state, and messages between them.
//!
//! The node makes one [`StateHosts`] and hands it to the dispatcher. Read `event` first: one [`EventHost`] is made for
//! each event and ends with it. The gateway uses [`lattice`], so that what is asked over HTTP means the same.
//! Bounded: sessions per event, the files of memory that hold large values, the size of a value.

mod event;
mod files;
pub mod lattice;
mod refusal;
#[cfg(test)]
mod tests;

pub use event::{EventHost, StateHosts};
pub use refusal::refusal;

use squall_state::Encoding as StateEncoding;
use squall_types::Encoding;

/// The encoding as state keeps it.
pub fn to_state(encoding: Encoding) -> StateEncoding {
    match encoding {
        Encoding::Json => StateEncoding::Json,
        Encoding::Bytes => StateEncoding::Bytes,
        Encoding::Pickle => StateEncoding::Pickle,
        Encoding::Ndarray => StateEncoding::Ndarray,
    }
}

/// The encoding as everybody else names it.
pub fn of_state(encoding: StateEncoding) -> Encoding {
    match encoding {
        StateEncoding::Json => Encoding::Json,
        StateEncoding::Bytes => Encoding::Bytes,
        StateEncoding::Pickle => Encoding::Pickle,
        StateEncoding::Ndarray => Encoding::Ndarray,
    }
}
