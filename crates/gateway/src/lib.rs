//! The HTTP edge: who calls, what they ask for, and the answer in the words of their protocol.
//!
//! It listens on one port. A request is a function URL's, Lambda's, or Squall's own; each has a module that alone
//! knows its JSON. What runs a function is behind `types::Invoke`: the gateway does not know who that is.

mod at_once;
mod authenticate;
mod authorize;
mod awsjson;
mod awsquery;
mod body;
mod bus;
mod clock;
mod constraint;
mod door;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod iam;
mod lambda;
mod logs;
mod native;
mod operation;
mod page;
mod places;
mod reply;
mod s3;
mod scheduler;
mod scheme;
mod serve;
mod service;
pub mod sigv4;
mod sqs;
mod sts;
mod tls;
mod trace;
mod url;
mod xml;

pub use gateway::{Access, Engines, Gateway, GatewayConfig, WriteMetrics};
pub use serve::{Listeners, ServeError};
pub use tls::{Tls, TlsError};
