//! The squall binary: one process that takes functions and runs each event in an instance of its function.

mod credentials;
mod endpoint;
mod up;

fn main() {}
