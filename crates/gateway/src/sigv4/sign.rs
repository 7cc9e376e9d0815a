//! Signing: for the command line's own calls, and for links that carry their permission with them.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{ALGORITHM, Scope, canonical, derive_key, hex, hmac, string_to_sign};
use crate::clock;

/// A key, and what it signs for.
#[derive(Clone)]
pub struct Signer {
    /// Names the key.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: String,
    /// The region of the server.
    pub region: String,
    /// The service's signing name: `lambda`, `squall`.
    pub service: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A value cannot stand in a header.
    #[error("could not sign: {0}")]
    Value(#[from] InvalidHeaderValue),
    /// A header that would be signed is not UTF-8.
    #[error("could not sign: a header is not text")]
    NotText,
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");

/// Adds `x-amz-date` and `authorization` to a request that has its `host` already. Every header it has is signed.
///
/// # Errors
/// [`SignError`]; the request has no signature then.
pub fn sign(signer: &Signer, at: SystemTime, request: &mut Parts, body: &[u8]) -> Result<(), SignError> {
    let timestamp = clock::amz_timestamp(at);
    let scope = signer.scope(&timestamp);
    request
        .headers
        .insert(AMZ_DATE, HeaderValue::from_str(&timestamp)?);
    let mut names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let (path, query) = (request.uri.path(), request.uri.query().unwrap_or(""));
    let payload_hash = hex(&Sha256::digest(body));
    let canonical = canonical::request(
        &request.method,
        path,
        query,
        &request.headers,
        &names,
        &payload_hash,
    )
    .ok_or(SignError::NotText)?;
    let signature = signer.signature(&timestamp, &scope, &canonical);
    let value = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        signer.access_key_id,
        names.join(";"),
    );
    request
        .headers
        .insert(AUTHORIZATION, HeaderValue::from_str(&value)?);
    Ok(())
}

/// A query string that lets whoever has it GET `path` at `host` until it expires.
///
/// # Errors
/// [`SignError::NotText`] when the host is not.
pub fn presign(
    signer: &Signer,
    at: SystemTime,
    valid: Duration,
    host: &HeaderValue,
    path: &str,
) -> Result<String, SignError> {
    let timestamp = clock::amz_timestamp(at);
    let scope = signer.scope(&timestamp);
    let credential = canonical::encode(format!("{}/{scope}", signer.access_key_id).as_bytes());
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={timestamp}&X-Amz-Expires={}\
         &X-Amz-SignedHeaders=host",
        valid.as_secs(),
    );
    let headers = http::HeaderMap::from_iter([(http::header::HOST, host.clone())]);
    let empty = hex(&Sha256::digest(b""));
    let canonical = canonical::request(&http::Method::GET, path, &query, &headers, &["host"], &empty)
        .ok_or(SignError::NotText)?;
    let signature = signer.signature(&timestamp, &scope, &canonical);
    Ok(format!("{query}&X-Amz-Signature={signature}"))
}

impl Signer {
    fn scope(&self, timestamp: &str) -> Scope {
        Scope {
            date: timestamp[..8].to_owned(),
            region: self.region.clone(),
            service: self.service.clone(),
        }
    }

    fn signature(&self, timestamp: &str, scope: &Scope, canonical: &str) -> String {
        let key = derive_key(&self.secret_access_key, scope);
        hex(&hmac(
            &key,
            string_to_sign(timestamp, scope, canonical).as_bytes(),
        ))
    }
}
