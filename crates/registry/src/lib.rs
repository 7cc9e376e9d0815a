//! The set of functions: their configuration, versions, aliases, URLs, tags and code packages.
//!
//! The gateway changes it, the dispatcher asks it what to run ([`Registry::resolve`]).
//! All of it is in memory for reading and in the store for keeping; a change is acknowledged once it is durable.

mod aliases;
mod change;
mod error;
mod event_invoke;
mod function;
mod functions;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod package;
mod policies;
mod prepare;
mod record;
mod registry;
mod request;
mod settings;
mod state;
mod urls;
mod validate;
mod versions;

pub use change::Change;
pub use error::RegistryError;
pub use event_invoke::{EventInvokeConfig, EventInvokeSettings, EventPolicy};
pub use function::{
    Alias, Cors, Function, FunctionConfig, FunctionUrl, InvokeMode, LastUpdateStatus, State, UrlAuthType,
};
pub use policies::FunctionPolicy;
pub use registry::{Config, Limits, Prepare, Preparing, Registry, Resolved, RuntimeCheck};
pub use request::{
    CodeSource, CreateAlias, CreateFunction, FunctionUrlSettings, Page, PublishVersion, UpdateAlias,
    UpdateCode, UpdateConfiguration, Usage,
};
