//! Reading a request's body, up to a bound.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

/// Why a body was not read whole.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is longer than it may be.
    TooLarge,
    /// The client stopped sending, or broke the protocol.
    Broken(String),
}

/// The whole body. One that declares to be too long is refused before a byte of it is read.
pub(crate) async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(BodyError::Broken(error.to_string())),
    }
}
