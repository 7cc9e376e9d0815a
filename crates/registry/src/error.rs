//! Why the registry refused. The gateway turns each into Lambda's exception of that name.

use squall_store::StoreError;

/// A refused change or an unanswered question. Messages are Lambda's own where Lambda has one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// `ResourceNotFoundException`, 404.
    #[error("{0}")]
    NotFound(String),
    /// `ResourceConflictException`, 409: it exists already, or an update is in progress.
    #[error("{0}")]
    Conflict(String),
    /// `InvalidParameterValueException`, 400.
    #[error("{0}")]
    InvalidParameter(String),
    /// `ValidationException`, 400: a value outside of what its shape allows.
    #[error("{0}")]
    Validation(String),
    /// `PreconditionFailedException`, 412: the RevisionId given is not the current one.
    #[error(
        "The Revision Id provided does not match the latest Revision Id. \
         Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )]
    PreconditionFailed,
    /// `InvalidZipFileException`, 400 here as on Lambda for an upload: not a zip, or one that may not be unpacked.
    #[error("{0}")]
    InvalidZip(String),
    /// `RequestEntityTooLargeException` (413) or `CodeStorageExceededException` (400): says which limit.
    #[error("{0}")]
    TooLarge(String),
    /// `PolicyLengthExceededException`, 400.
    #[error("{0}")]
    PolicyTooLong(String),
    /// `ServiceException`, 500: our fault, the store's or the disk's.
    #[error("{0}")]
    Platform(String),
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Platform(error.to_string())
    }
}
