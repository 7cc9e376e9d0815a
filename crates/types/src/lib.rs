//! The nouns that two or more crates share, the one verb, [`Invoke`], and [`Deliver`], by which messages
//! go sideways between engines that do not know each other.
//!
//! Everybody depends on this crate; it depends on nobody.
//! It does no I/O, starts no tasks and does not know tokio.

mod arn;
mod deliver;
mod events;
mod function;
mod invocation;
mod invoke;
mod name;
mod once;
mod session;
mod stream;
mod visitor;

pub use arn::Home;
pub use deliver::{Deliver, DeliverByService, DeliverError, Delivery};
pub use events::{
    AcceptedEvents, EventNote, EventQuery, EventResult, EventState, EventStatus, PendingTarget,
};
pub use function::{Code, PrepareError, Revision, RevisionId, RuntimeName, Version};
pub use invocation::{FunctionError, Invocation, Outcome, Placement, RequestId, Usage};
pub use invoke::{Invoke, InvokeError, Resolution, ThrottleReason};
pub use name::{AliasName, FunctionName, FunctionRef, NameError, Qualifier};
pub use once::{First, IdempotencyKey, InvokeOnce, NoIdempotencyKey, OnceError};
pub use session::{Encoding, NoEncoding, SessionSeed};
pub use stream::{Begun, Body, BodyError, Ended, Streamed};
pub use visitor::Visitor;

/// Bytes in one mebibyte; Lambda counts memory and storage in these and writes "MB".
pub const MIB: u64 = 1024 * 1024;
