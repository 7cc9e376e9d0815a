//! The functions' state for everybody else: `/squall/v1/state/BUCKET` lists, `/squall/v1/state/BUCKET/KEY` reads,
//! writes and deletes a value, and a POST there asks a lattice (`squall_host::lattice`).
//!
//! The level of consistency is in `x-squall-consistency`; with `x-squall-function` only what is bound to that function
//! is there. Each request is a session of its own.

use std::collections::HashMap;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;
use squall_host::{lattice, of_state, refusal, to_state};
use squall_runtime::HostError;
use squall_state::{BucketName, Key, Level, Session, SessionRequest, State, Value};
use squall_types::{Encoding, FunctionName};

use super::calls::decoded;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

/// What a request may carry: a large value comes in one piece, and more than this through the SDK alone.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
const LEVEL: &str = "x-squall-consistency";
const FUNCTION: &str = "x-squall-function";
const ENCODING: &str = "x-squall-encoding";
const LIST_MAX: usize = 1000;
const TYPES: [(Encoding, &str); 4] = [
    (Encoding::Json, "application/json"),
    (Encoding::Bytes, "application/octet-stream"),
    (Encoding::Pickle, "application/x-python-pickle"),
    (Encoding::Ndarray, "application/vnd.squall.ndarray"),
];

/// State's engine.
pub(super) fn engine(gateway: &Gateway) -> Result<&State, ApiError> {
    let absent = || ApiError::not_found("this server keeps no state");
    gateway.engines.state.as_ref().ok_or_else(absent)
}

/// A refusal of state's, with the status that is nearest.
pub(super) fn refused(error: HostError) -> ApiError {
    let status = match error.kind {
        "UnknownBucket" => StatusCode::NOT_FOUND,
        "BucketNotBound" => StatusCode::FORBIDDEN,
        "BucketExists"
        | "OtherLattice"
        | "SnapshotLost"
        | "NoConsistentVersion"
        | "RunExpired"
        | "Conflict" => StatusCode::CONFLICT,
        "TooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        "Full" | "InboxFull" => StatusCode::TOO_MANY_REQUESTS,
        "StoreFailed" | "Unreachable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, error.kind, error.message)
}

/// Answers for one key.
pub(super) async fn key(
    gateway: &Gateway,
    head: &Parts,
    bucket: &str,
    key: &[&str],
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let session = session(engine(gateway)?, head)?;
    let bucket: BucketName = decoded(bucket).parse().map_err(refusal).map_err(refused)?;
    let key = Key::new(bucket, decoded(&key.join("/")))
        .map_err(refusal)
        .map_err(refused)?;
    let answer = match head.method {
        Method::GET => get(&session, &key).await?,
        Method::PUT => {
            session
                .put(&key, value(head, body)?)
                .await
                .map_err(refusal)
                .map_err(refused)?;
            no_content()
        }
        Method::DELETE => {
            session.delete(&key).await.map_err(refusal).map_err(refused)?;
            no_content()
        }
        Method::POST => {
            let said = lattice::ask(&session, &key, &body, None).await.map_err(refused)?;
            reply::json(StatusCode::OK, &json!({ "result": said }))
        }
        _ => {
            return Err(ApiError::validation(
                "a key is read, put, deleted, or asked with POST",
            ));
        }
    };
    session.commit().await.map_err(refusal).map_err(refused)?;
    Ok(answer)
}

/// Lists the keys of a bucket, a page at a time.
pub(super) async fn list(gateway: &Gateway, head: &Parts, bucket: &str) -> Result<Response<Body>, ApiError> {
    let session = session(engine(gateway)?, head)?;
    let bucket: BucketName = decoded(bucket).parse().map_err(refusal).map_err(refused)?;
    let pairs = head
        .uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    let query: HashMap<&str, String> = pairs.map(|(name, text)| (name, decoded(text))).collect();
    let limit = match query.get("limit") {
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::validation(format!("`{text}` is not a value for `limit`")))?,
        None => LIST_MAX,
    };
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("after").map(String::as_bytes);
    let limit = limit.clamp(1, LIST_MAX);
    let keys = session.list(&bucket, prefix.as_bytes(), after, limit).await;
    let keys: Vec<String> = keys
        .map_err(refusal)
        .map_err(refused)?
        .iter()
        .map(|key| String::from_utf8_lossy(&key.key).into_owned())
        .collect();
    let next = (keys.len() == limit).then(|| keys.last()).flatten();
    Ok(reply::json(
        StatusCode::OK,
        &json!({ "keys": keys, "after": next }),
    ))
}

fn session(state: &State, head: &Parts) -> Result<Session, ApiError> {
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let level: Level = match text(LEVEL) {
        Some(level) => level.parse().map_err(refusal).map_err(refused)?,
        None => Level::default(),
    };
    let function: Option<FunctionName> = text(FUNCTION).map(str::parse).transpose()?;
    let request = SessionRequest {
        level,
        function,
        ..SessionRequest::default()
    };
    state.session(request).map_err(refusal).map_err(refused)
}

async fn get(session: &Session, key: &Key) -> Result<Response<Body>, ApiError> {
    let found = session.get(key).await.map_err(refusal).map_err(refused)?;
    let Some(value) = found else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownKey",
            format!("there is no key `{key}`"),
        ));
    };
    let encoding = of_state(value.encoding);
    let mut response = reply::plain(StatusCode::OK, value.bytes);
    let headers = response.headers_mut();
    let content_type = TYPES.iter().find(|(known, _)| *known == encoding);
    let content_type = content_type.map_or("application/octet-stream", |(_, name)| name);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ENCODING, HeaderValue::from_static(encoding.as_str()));
    Ok(response)
}

/// The value of a body: its type says how it is written, and without one it is bytes.
fn value(head: &Parts, body: Bytes) -> Result<Value, ApiError> {
    let given = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let given = given.map(|text| text.split(';').next().unwrap_or(text).trim());
    let encoding = TYPES.iter().find(|(_, name)| Some(*name) == given);
    let encoding = encoding.map_or(Encoding::Bytes, |(encoding, _)| *encoding);
    if encoding == Encoding::Json {
        serde_json::from_slice::<serde::de::IgnoredAny>(&body)
            .map_err(|error| ApiError::validation(format!("the body is not JSON: {error}")))?;
    }
    Ok(Value {
        // A copy: the room of a large body is given back when its request is answered.
        bytes: Bytes::copy_from_slice(&body),
        encoding: to_state(encoding),
    })
}

pub(super) fn no_content() -> Response<Body> {
    reply::plain(StatusCode::NO_CONTENT, Bytes::new())
}
