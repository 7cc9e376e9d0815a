//! State that functions share, in memory beside them. After Cloudburst (Sreekanti et al., VLDB 2020), HydroCache and AFT.
//!
//! [`State`] is what everybody holds. A [`Session`] reads and writes at a [`Level`] of consistency, through the cache of
//! its group of executors ([`CacheId`]); the home applies writes key by key, makes them as durable as their bucket
//! says, and tells the caches. Values are lattices ([`lattice`]). [`Mailbox`] carries messages between running functions,
//! [`Watch`] tells what has changed, [`history`] checks recorded runs against what the levels promise.
//!
//! Where to read on: `session/rule.rs` for consistency, `home/commit.rs` for writes, `transport.rs` for who says what
//! to whom.

mod bucket;
mod cache;
mod config;
mod error;
pub mod history;
mod home;
pub mod lattice;
mod mailbox;
mod name;
mod node;
mod session;
mod shelf;
mod state;
pub mod transport;
mod value;
mod watch;

pub use bucket::{Bucket, BucketSettings, Keeping};
pub use config::Config;
pub use error::StateError;
pub use home::{Change, ChangeKind, Cursor};
pub use mailbox::Mailbox;
pub use name::{BucketName, CacheId, KEY_BYTES_MAX, Key, RunId};
pub use session::{Level, Session, SessionContext, SessionRequest};
pub use state::{CacheSize, State};
pub use value::{Encoding, VALUE_BYTES_MAX, Value};
pub use watch::Watch;
