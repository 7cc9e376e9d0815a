//! Why nothing came of a request, by S3's names for it.

use squall_store::StoreError;

/// A refusal, or a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    /// No bucket of that name.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// No object under that key.
    #[error("The specified key does not exist.")]
    NoSuchKey,
    /// No multipart upload of that id, any more or yet.
    #[error(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )]
    NoSuchUpload,
    /// The bucket is there already.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketExists,
    /// It has objects.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// More buckets than there may be.
    #[error("You have attempted to create more buckets than allowed")]
    TooManyBuckets,
    /// A name that no bucket may have.
    #[error(
        "The specified bucket is not valid: a name has 3 to 63 lower-case letters, digits, hyphens and dots, and begins and ends with a letter or a digit"
    )]
    BucketName,
    /// A key of more bytes than a key may have.
    #[error("Your key is too long")]
    KeyTooLong,
    /// Something that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// What the caller demanded to be so is not.
    #[error("At least one of the pre-conditions you specified did not hold")]
    Precondition,
    /// The body is not what its checksum says.
    #[error("{0}")]
    BadDigest(String),
    /// The body ended too early.
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header")]
    Incomplete,
    /// A body or an object of more bytes than one may have.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    TooLarge,
    /// A part before the last has fewer bytes than a part must have.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    PartTooSmall,
    /// A part that is named is not there, or is another.
    #[error(
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    )]
    InvalidPart,
    /// Parts are to be named in ascending order.
    #[error("The list of parts was not in ascending order. Parts must be ordered by part number.")]
    PartOrder,
    /// A bound was reached; the same request may succeed later.
    #[error("Please reduce your request rate.")]
    Busy,
    /// The disk is full.
    #[error("There is no room on the disk: nothing was stored")]
    DiskFull,
    /// Our own fault: for the log.
    #[error("{0}")]
    Platform(String),
}

impl From<StoreError> for ObjectsError {
    fn from(error: StoreError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl ObjectsError {
    /// A file could not be read or written.
    pub(crate) fn file(attempted: &str, error: &std::io::Error) -> Self {
        match is_full(error) {
            true => Self::DiskFull,
            false => Self::Platform(format!("could not {attempted}: {error}")),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
