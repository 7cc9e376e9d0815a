//! Refusals by S3's codes.

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};
use squall_objects::ObjectsError;

use crate::error::ApiError;

/// What the engine says, as S3 says it.
pub(super) fn of(error: ObjectsError) -> S3Error {
    let text = error.to_string();
    let code = match error {
        ObjectsError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        ObjectsError::NoSuchKey => S3ErrorCode::NoSuchKey,
        ObjectsError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        ObjectsError::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
        ObjectsError::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
        ObjectsError::TooManyBuckets => S3ErrorCode::TooManyBuckets,
        ObjectsError::BucketName => S3ErrorCode::InvalidBucketName,
        ObjectsError::KeyTooLong => S3ErrorCode::KeyTooLongError,
        ObjectsError::Invalid(_) => S3ErrorCode::InvalidArgument,
        ObjectsError::Precondition => S3ErrorCode::PreconditionFailed,
        ObjectsError::BadDigest(_) => S3ErrorCode::BadDigest,
        ObjectsError::Incomplete => S3ErrorCode::IncompleteBody,
        ObjectsError::TooLarge => S3ErrorCode::EntityTooLarge,
        ObjectsError::PartTooSmall => S3ErrorCode::EntityTooSmall,
        ObjectsError::InvalidPart => S3ErrorCode::InvalidPart,
        ObjectsError::PartOrder => S3ErrorCode::InvalidPartOrder,
        ObjectsError::Busy => S3ErrorCode::SlowDown,
        ObjectsError::DiskFull => return disk_full(text),
        ObjectsError::Platform(details) => return platform(details),
    };
    S3Error::with_message(code, text)
}

/// A status that no client retries by itself: it is for a person.
fn disk_full(text: String) -> S3Error {
    tracing::error!("the disk is full: an upload was refused");
    custom("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, text)
}

/// A code that `s3s` does not know.
pub(super) fn custom(
    code: &'static str,
    status: StatusCode,
    text: impl Into<std::borrow::Cow<'static, str>>,
) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), text);
    error.set_status_code(status);
    error
}

/// Our own fault: the details are for the log, where this writes them, once.
pub(super) fn platform(details: impl std::fmt::Display) -> S3Error {
    tracing::error!(%details, "could not answer a request to S3");
    s3_error!(
        InternalError,
        "We encountered an internal error. Please try again."
    )
}

/// What the caller may not do.
pub(super) fn denied(error: &ApiError) -> S3Error {
    if error.status().is_server_error() {
        return s3_error!(InternalError, "{}", error.message());
    }
    s3_error!(AccessDenied, "{}", error.message())
}

/// What is not offered here, by its name.
pub(super) fn unsupported(what: &str) -> S3Error {
    s3_error!(NotImplemented, "{what} is not supported by Squall")
}

/// A member of a request that is not as it must be.
pub(super) fn invalid(text: impl std::fmt::Display) -> S3Error {
    s3_error!(InvalidArgument, "{text}")
}
