//! EventBridge Scheduler's API: schedules and their groups, at `/schedules…`, `/schedule-groups…` and `/tags/…`.
//!
//! [`serve`] finds the operation by method and path. What a schedule does is behind `events::schedule`; this module
//! knows names, shapes and errors.

mod access;
mod error;
mod groups;
mod input;
mod schedules;
mod shapes;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;
use squall_events::schedule::Schedules;
use squall_types::{DeliverByService, RequestId};

use self::error::SchedulerError;
use crate::authenticate::authenticate;
use crate::constraint;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::page;
use crate::reply::{self, Body};

const SERVICES: &[&str] = &["scheduler"];
/// Whom roles of targets must trust.
const SERVICE: &str = "scheduler.amazonaws.com";
/// An input of a quarter of a mebibyte, with room for how JSON writes it.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// One authenticated request.
struct Call<'a> {
    schedules: &'a Schedules,
    deliver: &'a DeliverByService,
    query: Vec<(String, String)>,
    body: Bytes,
}

type Answer = Result<Value, SchedulerError>;

/// Answers a request to EventBridge Scheduler's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    let mut response = match perform(gateway, request, request_id).await {
        Ok(value) => reply::json(StatusCode::OK, &value),
        Err(error) => error.response(),
    };
    reply::name_request(&mut response, request_id);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn perform(gateway: &Gateway, request: Request<Incoming>, request_id: RequestId) -> Answer {
    let (head, body) = request.into_parts();
    let too_large = || ApiError::validation("The request is too large");
    let authentic = authenticate(gateway, &head, body, SERVICES, REQUEST_BYTES_MAX, too_large).await?;
    let path = head.uri.path();
    let segments: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = query(head.uri.query().unwrap_or(""));
    let document: Value = serde_json::from_slice(authentic.peek()).unwrap_or_default();
    let asked = access::asked(&gateway.config.home, &head.method, &segments, &query, &document);
    let Some(asked) = asked else {
        return Err(SchedulerError::unknown(&head.method, path));
    };
    tracing::debug!(operation = %asked.action, %request_id, key = authentic.access_key_id, "called");
    for arn in access::targets(&document) {
        authentic.permit_target(gateway, arn)?;
    }
    let role = access::role(&document);
    if let Some(role) = role {
        authentic.permit_pass_role(gateway, role, SERVICE)?;
    }
    let call = Call {
        schedules: &gateway.engines.schedules,
        deliver: &gateway.engines.deliver,
        query,
        body: authentic.authorize(gateway, &asked)?,
    };
    if let Some(role) = role
        && gateway.access.roles.lend(role, SERVICE, None).is_err()
    {
        return Err(SchedulerError::validation(format!(
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role: `{role}` is not \
             there, or does not trust {SERVICE}."
        )));
    }
    call.perform(&head.method, &segments).await
}

/// The pairs of a query, decoded.
fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Call<'_> {
    async fn perform(&self, method: &Method, path: &[&str]) -> Answer {
        match (method, path) {
            (&Method::GET, ["schedules"]) => self.list_schedules().await,
            (&Method::POST, ["schedules", name]) => self.create_schedule(name).await,
            (&Method::GET, ["schedules", name]) => self.get_schedule(name).await,
            (&Method::PUT, ["schedules", name]) => self.update_schedule(name).await,
            (&Method::DELETE, ["schedules", name]) => self.delete_schedule(name).await,
            (&Method::GET, ["schedule-groups"]) => self.list_groups(),
            (&Method::POST, ["schedule-groups", name]) => self.create_group(name).await,
            (&Method::GET, ["schedule-groups", name]) => self.get_group(name),
            (&Method::DELETE, ["schedule-groups", name]) => self.delete_group(name).await,
            // Some clients leave the slash in an ARN as it is.
            (&Method::GET, ["tags", arn @ ..]) => self.list_tags(&arn.join("/")),
            (&Method::POST, ["tags", arn @ ..]) => self.tag(&arn.join("/")).await,
            (&Method::DELETE, ["tags", arn @ ..]) => self.untag(&arn.join("/")).await,
            (method, _) => Err(SchedulerError::unknown(method, &path.join("/"))),
        }
    }

    fn input<T: DeserializeOwned>(&self) -> Result<T, SchedulerError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|error| SchedulerError::validation(format!("The request could not be read: {error}.")))
    }

    /// A member of the query that is not empty.
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn max_results(&self) -> Result<usize, SchedulerError> {
        let Some(text) = self.parameter("MaxResults") else {
            return Ok(100);
        };
        let number = text.parse().unwrap_or(-1);
        let number = constraint::number("maxResults", number, 1..=100);
        let number = number.map_err(SchedulerError::validation)?;
        Ok(usize::try_from(number).unwrap_or(1))
    }

    /// The name behind which the wanted page begins.
    fn after(&self) -> Result<Option<String>, SchedulerError> {
        let Some(token) = self.parameter("NextToken") else {
            return Ok(None);
        };
        match page::name(token) {
            Some(name) => Ok(Some(name)),
            None => Err(SchedulerError::validation("Invalid NextToken provided.")),
        }
    }
}
