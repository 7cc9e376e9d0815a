//! `/squall/v1/events…`: accepted events that are on their way or were given up, for whoever looks after them.

use std::collections::HashMap;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use squall_types::{EventQuery, EventStatus, FunctionRef, RequestId};

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

const EVENTS_DEFAULT: usize = 100;
const EVENTS_MAX: usize = 1000;

/// Answers what is asked of events: `GET events`, `GET|DELETE events/ID`, `POST events/ID/redrive`.
pub(super) async fn serve(
    gateway: &Gateway,
    method: &Method,
    segments: &[&str],
    query: &HashMap<String, String>,
) -> Result<Response<Body>, ApiError> {
    let Some(events) = &gateway.engines.events else {
        return Err(ApiError::platform("no engine keeps accepted events"));
    };
    match (method, segments) {
        (&Method::GET, []) => {
            let found = events.list(question(query)?).await?;
            let next = (found.len() == limit(query)?).then(|| found.last().map(|event| event.sequence));
            let mut shape = json!({ "events": found });
            if let Some(Some(next)) = next {
                shape["next"] = json!(next.to_string());
            }
            Ok(reply::json(StatusCode::OK, &shape))
        }
        (&Method::GET, [id]) => {
            let found = events.find(request_id(id)?).await?.ok_or_else(|| absent(id))?;
            Ok(reply::json(StatusCode::OK, &whole(&found)))
        }
        (&Method::DELETE, [id]) => match events.discard(request_id(id)?).await? {
            true => Ok(reply::plain(StatusCode::NO_CONTENT, "")),
            false => Err(absent(id)),
        },
        (&Method::POST, [id, "redrive"]) => match events.redrive(request_id(id)?).await? {
            true => Ok(reply::json(StatusCode::ACCEPTED, &json!({ "request_id": id }))),
            false => Err(absent(id)),
        },
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("nothing answers {method} events/{}", segments.join("/")),
        )),
    }
}

/// With the event itself, which lists leave out: it may have a mebibyte.
fn whole(found: &EventStatus) -> Value {
    let mut shape = json!(found);
    shape["payload"] = serde_json::from_slice(&found.payload).unwrap_or(Value::Null);
    shape
}

fn question(query: &HashMap<String, String>) -> Result<EventQuery, ApiError> {
    let failed = match query.get("state").map(String::as_str) {
        None | Some("failed") => true,
        Some("waiting") => false,
        Some(other) => return Err(refuse("state", other, "failed or waiting")),
    };
    let function = query.get("function").map(|name| name.parse::<FunctionRef>());
    let after = match query.get("after") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| refuse("after", text, "what a page gave as `next`"))?,
    };
    Ok(EventQuery {
        failed,
        function: function.transpose()?.map(|target| target.name),
        after,
        limit: limit(query)?,
    })
}

fn limit(query: &HashMap<String, String>) -> Result<usize, ApiError> {
    let Some(text) = query.get("limit") else {
        return Ok(EVENTS_DEFAULT);
    };
    match text.parse() {
        Ok(limit @ 1..=EVENTS_MAX) => Ok(limit),
        _ => Err(refuse("limit", text, "1 to 1000")),
    }
}

pub(super) fn request_id(text: &str) -> Result<RequestId, ApiError> {
    text.parse()
        .map_err(|_| refuse("request id", text, "a UUID, as an invocation's answer carries it"))
}

fn refuse(what: &str, given: &str, expected: &str) -> ApiError {
    ApiError::invalid_parameter(format!("`{given}` is no {what}: it must be {expected}."))
}

fn absent(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "No event `{id}` is on its way or was given up; one that ended well is not kept."
    ))
}
