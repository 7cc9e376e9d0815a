//! What runs a function: [`Runtime`] makes instances, an [`Instance`] runs one event at a time.
//!
//! The dispatcher calls both and knows nothing else about processes or WebAssembly.
//! An instance goes through these states and never back:
//!
//! ```text
//! Runtime::create → init → (invoke)* → stop
//!                     └──────┴─────→ dead, at any moment: noticed through `exit`
//! ```

mod event;
mod host;
mod instance;
mod log;
pub mod network;
mod processors;

pub use event::{Event, Exchange, Reply, Responder};
pub use host::{
    End, EndError, Host, HostBody, HostError, HostReply, HostRequest, HostResult, Hosts, Operation, Sealed,
    VALUE_INLINE_BYTES_MAX,
};
pub use instance::{
    Exit, ExitWatch, Fault, Instance, InstanceId, NotOffered, Runtime, StartError, runtime_of,
};
pub use log::{LogCapture, LogLine};
pub use processors::{AllAlike, Processors};
