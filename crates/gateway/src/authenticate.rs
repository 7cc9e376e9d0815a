//! Who calls: a signature is read before the body is, and verified over all of it.

use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use hyper::body::Incoming;
use squall_access::Caller;

use crate::body::{self, BodyError};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::sigv4::SignatureError;

/// A request that was signed by a known key and arrived unchanged. What it brings is given out by
/// [`Authentic::authorize`] alone, so that nothing is done for a caller who may not do it.
#[derive(Debug)]
pub(crate) struct Authentic {
    pub(crate) access_key_id: String,
    pub(crate) caller: Caller,
    pub(super) body: Bytes,
}

/// Reads and verifies a request. A stranger's body is not read: what can be known from the head is checked first.
///
/// # Errors
/// AWS's refusals; `too_large` where the body is longer than `bytes_max`.
pub(crate) async fn authenticate(
    gateway: &Gateway,
    head: &Parts,
    body: Incoming,
    services: &[&str],
    bytes_max: usize,
    too_large: impl FnOnce() -> ApiError,
) -> Result<Authentic, ApiError> {
    let signed = gateway.verifier.read(head, services, SystemTime::now())?;
    let body = match body::read(body, bytes_max, &gateway.room).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Err(too_large()),
        Err(error) => return Err(error.into()),
    };
    let access_key_id = signed
        .verify(head, &body)
        .inspect_err(|error| log_refusal(error, head))?;
    // Revoked while its body was read, a key is as unknown as if it had never been.
    let (_, caller) = gateway
        .keys
        .signing(&access_key_id)
        .ok_or(SignatureError::UnknownKey)?;
    Ok(Authentic {
        access_key_id,
        caller,
        body,
    })
}

fn log_refusal(error: &SignatureError, head: &Parts) {
    tracing::debug!(%error, method = %head.method, path = head.uri.path(), "refused a request");
}
