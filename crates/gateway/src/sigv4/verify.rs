//! Verifying, in two steps: [`Verifier::read`] checks everything but the body, so that a stranger cannot make the
//! server read a large one; [`Signed::verify`] checks the signature over all of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hmac::Mac;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{ALGORITHM, DerivedKeys, Scope, TERMINATOR, canonical, hex, keyed, string_to_sign};
use crate::clock;

/// How far the signer's clock may be from ours.
const SKEW_MAX: Duration = Duration::from_secs(300);
/// Services that AWS has once for all regions, and where clients say that those are.
const GLOBAL_SERVICES: [&str; 2] = ["iam", "sts"];
const GLOBAL_REGION: &str = "us-east-1";
/// The longest that a presigned link may be valid: seven days.
const EXPIRES_SECS_MAX: u64 = 604_800;

/// Finds the secret of a key's id; `None` for a key that may not sign.
pub type SecretOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Why a request is not who it says it is. Each has AWS's name and words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// Something of the signature is not there or not of its form.
    #[error("{0}")]
    Incomplete(String),
    /// The key is not one of ours.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The time or the scope is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The secret is another, or the request was changed on its way.
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// Verifies requests against the keys.
pub struct Verifier {
    secret_of: SecretOf,
    region: String,
    derived: DerivedKeys,
}

/// A request whose signature is complete, in time and by a known key, but not verified yet.
#[derive(Debug)]
pub struct Signed {
    access_key_id: String,
    scope: Scope,
    timestamp: String,
    signed_headers: String,
    signature: [u8; 32],
    key: [u8; 32],
}

/// The parts of a signature as they were sent.
struct Sent {
    credential: String,
    signed_headers: String,
    signature: String,
    timestamp: String,
    /// How long after its timestamp it is valid, for presigned requests.
    expires: Option<Duration>,
}

impl Verifier {
    /// A verifier for a server that is in `region`.
    pub fn new(secret_of: SecretOf, region: &str) -> Self {
        Self {
            secret_of,
            region: region.to_owned(),
            derived: DerivedKeys::default(),
        }
    }

    /// Reads a request's signature, from its header or its query, and checks all but the signature itself.
    ///
    /// # Errors
    /// All but [`SignatureError::Mismatch`].
    pub fn read(
        &self,
        request: &Parts,
        services: &[&str],
        now: SystemTime,
    ) -> Result<Signed, SignatureError> {
        let sent = match request.headers.get(AUTHORIZATION) {
            Some(value) => from_header(request, value.to_str().map_err(|_| incomplete("Authorization"))?)?,
            None => from_query(request.uri.query().unwrap_or(""))?,
        };
        let parts: Vec<&str> = sent.credential.split('/').collect();
        let [access_key_id, date, region, service, TERMINATOR] = parts.as_slice() else {
            return Err(SignatureError::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                sent.credential
            )));
        };
        let secret = (self.secret_of)(access_key_id).ok_or(SignatureError::UnknownKey)?;
        let is_everywhere = GLOBAL_SERVICES.contains(service) && *region == GLOBAL_REGION;
        if *region != self.region && !is_everywhere {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to a valid region: this server is in {}, not in {region}",
                self.region
            )));
        }
        if !services.contains(service) {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to correct service: '{}'.",
                services.join("' or '")
            )));
        }
        check_time(&sent, date, now)?;
        if !sent.signed_headers.split(';').any(|name| name == "host") {
            return Err(SignatureError::Incomplete(
                "'Host' must be a 'SignedHeader' in the AWS Authorization.".into(),
            ));
        }
        let scope = Scope {
            date: (*date).into(),
            region: (*region).into(),
            service: (*service).into(),
        };
        Ok(Signed {
            key: self.derived.get(access_key_id, &secret, &scope),
            access_key_id: (*access_key_id).to_owned(),
            scope,
            timestamp: sent.timestamp,
            signed_headers: sent.signed_headers,
            signature: decode_hex(&sent.signature).ok_or(SignatureError::Mismatch)?,
        })
    }
}

impl Signed {
    /// Verifies the signature over the whole request, and names the key that made it.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`].
    pub fn verify(self, request: &Parts, body: &[u8]) -> Result<String, SignatureError> {
        let payload_hash = hex(&Sha256::digest(body));
        if let Some(declared) = request.headers.get("x-amz-content-sha256")
            && declared.as_bytes() != payload_hash.as_bytes()
        {
            return Err(SignatureError::Mismatch);
        }
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or(""));
        let canonical = canonical::request(
            &request.method,
            path,
            query,
            &request.headers,
            &names,
            &payload_hash,
        )
        .ok_or(SignatureError::Mismatch)?;
        let to_sign = string_to_sign(&self.timestamp, &self.scope, &canonical);
        // In constant time: how much of a guess was right must not show in how long it took.
        let verified = keyed(&self.key, to_sign.as_bytes()).verify_slice(&self.signature);
        verified
            .map(|()| self.access_key_id)
            .map_err(|_| SignatureError::Mismatch)
    }
}

fn incomplete(what: &str) -> SignatureError {
    SignatureError::Incomplete(format!("Authorization header requires '{what}' parameter."))
}

fn from_header(request: &Parts, value: &str) -> Result<Sent, SignatureError> {
    let Some(parameters) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
        return Err(SignatureError::Incomplete(format!(
            "Unsupported AWS 'algorithm': use {ALGORITHM} in the Authorization header"
        )));
    };
    let mut named = HashMap::new();
    for parameter in parameters.split(',') {
        if let Some((name, value)) = parameter.trim().split_once('=') {
            named.insert(name, value);
        }
    }
    let get = |name| {
        named
            .get(name)
            .map(|value| (*value).to_owned())
            .ok_or_else(|| incomplete(name))
    };
    let date = request
        .headers
        .get("x-amz-date")
        .and_then(|value| value.to_str().ok());
    Ok(Sent {
        credential: get("Credential")?,
        signed_headers: get("SignedHeaders")?,
        signature: get("Signature")?,
        timestamp: date.map(str::to_owned).ok_or_else(|| {
            SignatureError::Incomplete(
                "Authorization header requires existence of an 'X-Amz-Date' header.".into(),
            )
        })?,
        expires: None,
    })
}

fn from_query(query: &str) -> Result<Sent, SignatureError> {
    let mut named = HashMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        named.insert(
            name,
            String::from_utf8_lossy(&canonical::decode(value)).into_owned(),
        );
    }
    match named.get("X-Amz-Algorithm").map(String::as_str) {
        None => return Err(SignatureError::Missing),
        Some(ALGORITHM) => {}
        Some(other) => {
            return Err(SignatureError::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{other}'"
            )));
        }
    }
    let get = |name: &str| {
        let missing =
            || SignatureError::Incomplete(format!("AWS query-string parameters must include '{name}'."));
        named.get(name).cloned().ok_or_else(missing)
    };
    let expires: u64 = get("X-Amz-Expires")?
        .parse()
        .ok()
        .filter(|secs| *secs <= EXPIRES_SECS_MAX)
        .ok_or_else(|| {
            SignatureError::Incomplete(format!(
                "X-Amz-Expires must be a number of seconds, at most {EXPIRES_SECS_MAX}"
            ))
        })?;
    Ok(Sent {
        credential: get("X-Amz-Credential")?,
        signed_headers: get("X-Amz-SignedHeaders")?,
        signature: get("X-Amz-Signature")?,
        timestamp: get("X-Amz-Date")?,
        expires: Some(Duration::from_secs(expires)),
    })
}

fn check_time(sent: &Sent, date: &str, now: SystemTime) -> Result<(), SignatureError> {
    let at = clock::parse_amz_timestamp(&sent.timestamp).ok_or_else(|| {
        let form = "it must be in the ISO8601 format of '20110913T160000Z'";
        SignatureError::Incomplete(format!("Date '{}' is not valid: {form}", sent.timestamp))
    })?;
    if sent.timestamp.get(..8) != Some(date) {
        let text = format!("Date in Credential scope does not match YYYYMMDD from ISO-8601: '{date}'");
        return Err(SignatureError::Invalid(text));
    }
    let (stamp, server) = (&sent.timestamp, clock::amz_timestamp(now));
    if at > now + SKEW_MAX {
        return Err(SignatureError::Invalid(format!(
            "Signature not yet current: {stamp} is still later than {server}"
        )));
    }
    if at + sent.expires.unwrap_or(SKEW_MAX) < now {
        return Err(SignatureError::Invalid(format!(
            "Signature expired: {stamp} is now earlier than {server}"
        )));
    }
    Ok(())
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
