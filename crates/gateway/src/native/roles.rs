//! `/squall/v1/roles…`: what the functions of a role may do.
//!
//! The same roles as in IAM's API (`iam`). `GET roles`; `PUT roles/NAME` with `{"allow": ["invoke:cart-*"], "policy": {…}}`; `DELETE roles/NAME`.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use squall_access::SQUALL_POLICY;

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
    let roles = &gateway.access.roles;
    let all = roles.list();
    let shapes = all.iter().map(|role| {
        json!({
            "name": role.name,
            "arn": roles.arn(role),
            "allow": role.allow,
            "policy": role.inline.get(SQUALL_POLICY),
            "policies": role.inline.keys().filter(|name| *name != SQUALL_POLICY).collect::<Vec<_>>(),
            "attached": role.attached,
            "created_ms": role.created_ms,
        })
    });
    let shapes: Vec<Value> = shapes.collect();
    Ok(reply::json(StatusCode::OK, &json!({ "roles": shapes })))
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
