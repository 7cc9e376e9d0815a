//! Native functions: Python, Node, any executable.
//!
//! The node makes one [`ProcessRuntime`] and hands it to the dispatcher as a `Runtime`.
//! Read `runtime` first: it decides how an instance of a revision is made. Then `managed` (an instance that speaks
//! frames), `frame` (the frames), `socket` (their way), `process` (what runs), `sandbox` (what is around it), `turns` (its
//! turns on the processors) and `contention` (the server's), `zygote` (what forks it).

mod cgroup;
mod config;
mod contention;
mod egress;
mod environment;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod host_call;
mod interpreter;
mod log_pipe;
mod long_calls;
mod managed;
mod network;
mod node;
mod process;
mod provided;
mod python;
mod runtime;
pub mod runtime_api;
mod sandbox;
mod socket;
mod turns;
mod working_copy;
mod zygote;

pub use config::{ProcessConfig, RESPONSE_BYTES_MAX, SetupError, WallsWanted};
pub use contention::{help_on_this_thread, serve_on_this_thread, worker_parks};
pub use network::Doors;
pub use runtime::ProcessRuntime;
