//! Why a queue did not do what it was asked. Each kind is one of SQS's exceptions; the gateway knows their names.

use squall_store::StoreError;

/// A queue's refusals and faults. The texts are for callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// No queue of this name.
    #[error("The specified queue does not exist.")]
    NoSuchQueue,
    /// A queue of this name exists with other attributes; holds the first that differs.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    NameExists(String),
    /// A name that queues do not have.
    #[error("{0}")]
    InvalidName(String),
    /// An attribute that queues do not have.
    #[error("Unknown Attribute {0}.")]
    UnknownAttribute(String),
    /// A value that an attribute may not have.
    #[error("{0}")]
    InvalidAttribute(String),
    /// A parameter that may not be as it is.
    #[error("{0}")]
    InvalidParameter(String),
    /// A parameter that must be there.
    #[error("The request must contain the parameter {0}.")]
    Missing(&'static str),
    /// A body with characters that no message may have, or none at all.
    #[error("{0}")]
    InvalidContents(String),
    /// The message, or all of a batch, is too large.
    #[error("One or more parameters are invalid. Reason: Message must be shorter than {0} bytes.")]
    TooLarge(usize),
    /// A receipt handle of another form, or of another queue.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    InvalidReceipt(String),
    /// The handle's delivery is over.
    #[error("Value {0} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")]
    ExpiredReceipt(String),
    /// The message is not being worked on.
    #[error("The message referred to isn't in flight.")]
    NotInFlight,
    /// Too many messages are being worked on, or wait.
    #[error("{0}")]
    OverLimit(String),
    /// The last purge was less than a minute ago.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeInProgress(String),
    /// Something that the operation names is not there.
    #[error("{0}")]
    NotFound(String),
    /// The operation is not offered for this queue.
    #[error("{0}")]
    Unsupported(String),
    /// Our own fault; the log has the details.
    #[error("could not reach the queue's store: {0}")]
    Store(#[from] StoreError),
}
