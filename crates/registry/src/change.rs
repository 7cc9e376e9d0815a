//! What the registry tells those who hold something for a function.

use squall_types::{FunctionName, RevisionId};

/// Something that somebody may have to act on. Sent after it is durable.
#[derive(Debug, Clone)]
pub enum Change {
    /// No call will resolve to this revision any more: drain its instances, then retire it.
    RevisionReplaced(RevisionId),
    /// The function is gone, with all its versions (each also told as [`Change::RevisionReplaced`]).
    FunctionDeleted(FunctionName),
}
