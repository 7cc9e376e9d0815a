//! Why a DAG or a run was refused. What happens inside of a run is its [`Ending`](super::Ending).

use squall_store::StoreError;

use super::TopologyError;

/// Why nothing was done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DagError {
    /// No DAG, function or run of that name.
    #[error("{0}")]
    NotFound(String),
    /// The shape is no DAG.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// Arguments or options that cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// Something is not what the caller took it for.
    #[error("{0}")]
    Conflict(String),
    /// As many runs as there may be, or as many bytes of them; the call may be tried again.
    #[error("{0}")]
    Throttled(String),
    /// A run with this id is there already.
    #[error("a run with the id {0} is there already")]
    Exists(super::RunId),
    /// The server is draining; another try finds it restarted. A recorded run goes on then.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The platform's own fault.
    #[error("could not keep runs and DAGs: {0}")]
    Store(#[from] StoreError),
    /// Stored bytes are not what this version reads.
    #[error("could not read the record of {what}: {reason}")]
    Record {
        /// Of what.
        what: String,
        /// Why.
        reason: String,
    },
}
