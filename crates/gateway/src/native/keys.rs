//! `/squall/v1/keys…`: named access keys, for whoever may give them out.
//!
//! `GET keys`; `PUT keys/NAME` with `{"allow": ["deploy"], "policy": {…}, "account": "…"}`; `POST keys/NAME/rotate` with
//! `{"grace_secs": 3600}`; `DELETE keys/NAME`. A secret is in the answer to the request that makes it, and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squall_access::{AccessKey, KeyError, KeyView, NewKey};

use super::calls::decoded;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    policy: Option<Value>,
    #[serde(default)]
    account: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotate {
    grace_secs: u64,
}

pub(super) fn list(gateway: &Gateway) -> Result<Response<Body>, ApiError> {
    let keys: Vec<Value> = gateway.access.keys.list().iter().map(shape).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "keys": keys })))
}

pub(super) async fn one(
    gateway: &Gateway,
    method: &Method,
    name: &str,
    rest: &[&str],
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let name = decoded(name);
    match (method, rest) {
        (&Method::PUT, []) => {
            let input: Create = input(body)?;
            let new = NewKey {
                allow: input.allow,
                policy: input.policy.map(|document| document.to_string()),
                account: input.account,
            };
            let key = gateway.access.keys.create(&name, new).await?;
            Ok(reply::json(StatusCode::CREATED, &made(gateway, &name, &key)))
        }
        (&Method::POST, ["rotate"]) => {
            let input: Rotate = input(body)?;
            let grace = Duration::from_secs(input.grace_secs);
            let key = gateway.access.keys.rotate(&name, grace).await?;
            Ok(reply::json(StatusCode::OK, &made(gateway, &name, &key)))
        }
        (&Method::DELETE, []) => {
            gateway.access.keys.revoke(&name).await?;
            Ok(reply::plain(StatusCode::NO_CONTENT, ""))
        }
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("nothing answers {method} for a key"),
        )),
    }
}

pub(super) fn input<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::validation(format!("the body is not as it must be: {error}")))
}

fn made(gateway: &Gateway, name: &str, key: &AccessKey) -> Value {
    json!({
        "name": name,
        "access_key_id": key.id,
        "secret_access_key": key.secret,
        "region": gateway.config.home.region,
    })
}

fn shape(key: &KeyView) -> Value {
    json!({
        "name": key.name,
        "access_key_id": key.id,
        "arn": key.principal.arn,
        "allow": key.allow,
        "policy": key.policy,
        "created_ms": key.created_ms,
        "rotated_ms": key.rotated_ms,
    })
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let text = error.to_string();
        match error {
            KeyError::Platform(details) => Self::platform(details),
            KeyError::Absent(_) | KeyError::RoleAbsent(_) => Self::not_found(text),
            KeyError::Exists(_) => Self::new(StatusCode::CONFLICT, "ResourceConflictException", text),
            _ => Self::validation(text),
        }
    }
}
