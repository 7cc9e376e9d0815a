//! Who calls: a signature is read before the body is, and verified over all of it.

use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::Extensions;
use http::request::Parts;
use hyper::body::Incoming;
use squall_access::{Caller, Principal, name_of};
use squall_types::FunctionRef;

use crate::body::{self, BodyError};
use crate::door::Door;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::lambda::query;
use crate::sigv4::SignatureError;

/// A request that was signed by a known key and arrived unchanged. What it brings is given out by
/// [`Authentic::authorize`] alone, so that nothing is done for a caller who may not do it.
#[derive(Debug)]
pub(crate) struct Authentic {
    pub(crate) access_key_id: String,
    pub(crate) caller: Caller,
    /// Where the request came from.
    pub(super) peer: Option<IpAddr>,
    pub(super) body: Bytes,
}

/// Who is at the other end of a request's connection; beside the request, for what may ask about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

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
    let caller =
        caller(gateway, &access_key_id, token(head), &head.extensions).ok_or(SignatureError::UnknownKey)?;
    Ok(Authentic {
        access_key_id,
        caller,
        peer: head.extensions.get::<Peer>().map(|peer| peer.0),
        body,
    })
}

impl Authentic {
    /// Of a request whose signature was verified, and whose body is not for [`Authentic::authorize`] to give out: S3's
    /// bodies stream. `token` is the session token that came with it.
    pub(crate) fn of_stream(
        gateway: &Gateway,
        access_key_id: &str,
        token: Option<String>,
        extensions: &Extensions,
    ) -> Option<Self> {
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            caller: caller(gateway, access_key_id, token, extensions)?,
            peer: extensions.get::<Peer>().map(|peer| peer.0),
            body: Bytes::new(),
        })
    }

    /// The caller alone, to be asked about further things after the body was given out.
    pub(crate) fn without_body(&self) -> Self {
        Self {
            access_key_id: self.access_key_id.clone(),
            caller: self.caller.clone(),
            peer: self.peer,
            body: Bytes::new(),
        }
    }
}

/// Who holds a key. Those of instances and of roles come with the token that was given with them.
fn caller(
    gateway: &Gateway,
    access_key_id: &str,
    token: Option<String>,
    extensions: &Extensions,
) -> Option<Caller> {
    if let Some((_, caller)) = gateway.access.keys.signing(access_key_id) {
        return Door::admits(extensions, None).then_some(caller);
    }
    if let Some(assumed) = gateway.access.roles.assumed(access_key_id) {
        let may_come = token? == assumed.token && Door::admits(extensions, None);
        return may_come.then_some(assumed.caller);
    }
    let session = gateway.access.sessions.get(access_key_id)?;
    if token? != session.token || !Door::admits(extensions, Some(&session.function)) {
        return None;
    }
    let function = FunctionRef::unqualified(session.function.clone());
    let role = gateway.registry.function(&function).ok()?.config.role;
    let account = &gateway.config.home.account;
    let principal = Principal {
        arn: format!(
            "arn:aws:sts::{account}:assumed-role/{}/{}",
            name_of(&role),
            session.function
        ),
        account: account.clone(),
    };
    let function_arn = gateway.config.home.function_arn(&session.function, None);
    let policies = gateway.access.roles.policies_of_function(&role, &function_arn);
    Some(Caller::with_policies(principal, policies))
}

/// The session token, in a header or, of a presigned request, in the query.
fn token(head: &Parts) -> Option<String> {
    if let Some(value) = head.headers.get("x-amz-security-token") {
        return value.to_str().ok().map(str::to_owned);
    }
    query(head).remove("X-Amz-Security-Token")
}

fn log_refusal(error: &SignatureError, head: &Parts) {
    tracing::debug!(%error, method = %head.method, path = head.uri.path(), "refused a request");
}
