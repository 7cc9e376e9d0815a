//! Compositions after Cloudburst (Sreekanti et al., VLDB 2020): DAGs of functions whose results go from function to
//! function inside the server, never through the client.
//!
//! [`Dags`] is the handle. A *direct* run answers its caller and is forgotten; a *recorded* run is durable before it
//! is acknowledged, is executed again after a restart, and its ending is kept for a while.
//! Runs execute at least once: a function may run again when an instance or the server dies under it.

mod catalog;
mod config;
mod dags;
mod error;
mod execute;
mod fused;
mod place;
mod progress;
mod record;
mod recover;
mod run;
mod shared;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod topology;
mod value;

pub use config::Config;
pub use dags::{Dags, Plan};
pub use error::DagError;
pub use run::{Ending, Options, RunId, RunState};
pub use shared::{NoState, SharedState};
pub use topology::{EDGES_MAX, FUNCTIONS_MAX, Fused, Node, Spec, Takes, Topology, TopologyError};
pub use value::{
    Argument, Inputs, Reference, Value, read_arguments, read_inputs, write_arguments, write_inputs,
};
