//! Compositions of functions. It calls `types::Invoke` and does not know who implements it.
//!
//! [`dag`] has Cloudburst's compositions: functions whose results go from one to the next inside the server.

pub mod dag;
mod detach;
