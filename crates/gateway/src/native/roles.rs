//! `/squall/v1/roles…`: what the functions of a role may do.
//!
//! `GET roles`; `PUT roles/NAME` with `{"allow": ["invoke:cart-*"], "policy": {…}}`; `DELETE roles/NAME`.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::decoded;
use super::keys::input;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    policy: Option<Value>,
}

pub(super) fn list(gateway: &Gateway) -> Result<Response<Body>, ApiError> {
    let account = &gateway.config.home.account;
    let roles = gateway.access.roles.list();
    let roles = roles.iter().map(|role| {
        json!({
            "name": role.name,
            "arn": format!("arn:aws:iam::{account}:role/{}", role.name),
            "allow": role.allow,
            "policy": role.policy,
            "created_ms": role.created_ms,
        })
    });
    let roles: Vec<Value> = roles.collect();
    Ok(reply::json(StatusCode::OK, &json!({ "roles": roles })))
}

pub(super) async fn one(
    gateway: &Gateway,
    method: &Method,
    name: &str,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let (name, roles) = (decoded(name), &gateway.access.roles);
    if *method == Method::DELETE {
        roles.remove(&name).await?;
        return Ok(reply::plain(StatusCode::NO_CONTENT, ""));
    }
    let put: Put = input(body)?;
    let policy = put.policy.map(|document| document.to_string());
    roles.put(&name, put.allow, policy).await?;
    Ok(reply::plain(StatusCode::NO_CONTENT, ""))
}
