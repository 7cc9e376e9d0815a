//! `GET /squall/v1/invocations/ID`: what came of an asynchronous invocation, or where it is.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use squall_types::{EventResult, EventState, EventStatus};

use super::events::request_id;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

/// Answers with its state: `waiting`, `succeeded` or `failed`; and with what the function answered, once it has.
pub(super) async fn one(gateway: &Gateway, id: &str) -> Result<Response<Body>, ApiError> {
    let Some(events) = &gateway.engines.events else {
        return Err(ApiError::platform("no engine keeps accepted events"));
    };
    let request_id = request_id(id)?;
    // In this order: an event that ends between the two questions is found by the second.
    let status = events.find(request_id).await?;
    let is_waiting = |status: &EventStatus| status.state == EventState::Waiting;
    if let Some(status) = status.as_ref().filter(|status| is_waiting(status)) {
        return Ok(reply::json(StatusCode::OK, &on_its_way(status)));
    }
    let result = events.result(request_id).await?;
    let shape = match (result, status) {
        (Some(result), status) => ended(&result, status.as_ref()),
        (None, Some(status)) => without_result(&status),
        (None, None) => return Err(absent(id)),
    };
    Ok(reply::json(StatusCode::OK, &shape))
}

fn on_its_way(status: &EventStatus) -> Value {
    json!({
        "request_id": status.request_id,
        "function": status.function,
        "state": "waiting",
        "accepted_ms": status.accepted_ms,
        "failures": status.failures,
        "due_ms": status.due_ms,
        "refusal": status.refusal,
        "notes": status.notes,
    })
}

fn ended(result: &EventResult, status: Option<&EventStatus>) -> Value {
    let mut shape = json!(result);
    shape["state"] = Value::from(state(result.is_success));
    // The event has what happened since its end; who has yet to take it is known only there.
    if let Some(status) = status {
        shape["notes"] = json!(status.notes);
        shape["targets"] = json!(status.targets);
    }
    if let Some(response) = &result.response {
        let document = || Value::from(String::from_utf8_lossy(response).into_owned());
        let member = if result.is_success { "response" } else { "error" };
        shape[member] = serde_json::from_slice(response).unwrap_or_else(|_| document());
    }
    shape
}

/// It ended, and its result is kept no longer.
fn without_result(status: &EventStatus) -> Value {
    json!({
        "request_id": status.request_id,
        "function": status.function,
        "state": state(status.condition == Some("Success")),
        "accepted_ms": status.accepted_ms,
        "failures": status.failures,
        "condition": status.condition,
        "notes": status.notes,
        "targets": status.targets,
    })
}

fn state(is_success: bool) -> &'static str {
    if is_success { "succeeded" } else { "failed" }
}

fn absent(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "No asynchronous invocation `{id}` is on its way, and no result of it is kept."
    ))
}
