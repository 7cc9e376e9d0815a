//! EventBridge's API: buses, rules and their targets, events. JSON in and out, the action in `X-Amz-Target`.
//!
//! [`serve`] reads the request and calls the action. What a bus does is behind `events::bus`; this module knows names,
//! shapes and errors.

mod access;
mod buses;
mod error;
mod input;
mod put;
mod rules;
mod targets;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squall_events::bus::Buses;
use squall_events::schedule::Schedules;
use squall_types::RequestId;

use crate::authenticate::authenticate;
use crate::awsjson::{self, JsonError, with_some};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::Body;

const SERVICES: &[&str] = &["events"];
/// Whom roles of rules and targets must trust.
const SERVICE: &str = "events.amazonaws.com";
const TARGET: &str = "AWSEvents.";
/// Ten events of together a quarter of a mebibyte, written as wastefully as JSON can be.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Operations of EventBridge that are for what does not exist here.
const NOT_IMPLEMENTED: [&str; 10] = [
    "ApiDestination",
    "Archive",
    "Authorize",
    "Authorization",
    "Connection",
    "Endpoint",
    "EventSource",
    "Partner",
    "Permission",
    "Replay",
];

/// One authenticated request.
struct Call<'a> {
    buses: &'a Buses,
    schedules: &'a Schedules,
    body: Bytes,
}

type Answer = Result<Value, JsonError>;

/// Answers a request to EventBridge's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    awsjson::answer(perform(gateway, request, request_id).await, request_id)
}

async fn perform(gateway: &Gateway, request: Request<Incoming>, request_id: RequestId) -> Answer {
    let (head, body) = request.into_parts();
    let too_large = || ApiError::validation("The request is too large");
    let authentic = authenticate(gateway, &head, body, SERVICES, REQUEST_BYTES_MAX, too_large).await?;
    let document: Value = serde_json::from_slice(authentic.peek()).unwrap_or_default();
    let action = awsjson::operation(&head, TARGET);
    tracing::debug!(operation = action, %request_id, key = authentic.access_key_id, "called");
    for arn in access::targets(&document) {
        authentic.permit_target(gateway, arn)?;
    }
    for role in access::roles(&document) {
        authentic.permit_pass_role(gateway, role, SERVICE)?;
    }
    let (asked, more) = access::asked(&gateway.config.home, action, &document);
    for asked in &more {
        authentic.permit(gateway, asked)?;
    }
    let call = Call {
        buses: &gateway.engines.buses,
        schedules: &gateway.engines.schedules,
        body: authentic.authorize(gateway, &asked)?,
    };
    let roles = &gateway.access.roles;
    if let Some(role) = access::roles(&document).find(|role| roles.lend(role, SERVICE, None).is_err()) {
        return Err(JsonError::validation(format!(
            "Provided role '{role}' cannot be assumed by principal '{SERVICE}'."
        )));
    }
    call.perform(action).await
}

impl Call<'_> {
    async fn perform(&self, action: &str) -> Answer {
        match action {
            "CreateEventBus" => self.create_bus().await,
            "DescribeEventBus" => self.describe_bus(),
            "ListEventBuses" => self.list_buses(),
            "DeleteEventBus" => self.delete_bus().await,
            "PutRule" => self.put_rule().await,
            "DescribeRule" => self.describe_rule(),
            "ListRules" => self.list_rules(),
            "ListRuleNamesByTarget" => self.list_rule_names_by_target(),
            "EnableRule" => self.enable_rule(true).await,
            "DisableRule" => self.enable_rule(false).await,
            "DeleteRule" => self.delete_rule().await,
            "PutTargets" => self.put_targets().await,
            "RemoveTargets" => self.remove_targets().await,
            "ListTargetsByRule" => self.list_targets(),
            "PutEvents" => self.put_events().await,
            "TestEventPattern" => self.test_pattern(),
            "TagResource" => self.tag().await,
            "UntagResource" => self.untag().await,
            "ListTagsForResource" => self.list_tags(),
            "UpdateEventBus" => Err(JsonError::not_implemented(action)),
            other if NOT_IMPLEMENTED.iter().any(|what| other.contains(what)) => {
                Err(JsonError::not_implemented(other))
            }
            other => Err(JsonError::unknown("EventBridge", other)),
        }
    }

    fn input<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        awsjson::input(&self.body)
    }

    /// The bus that a request names, by name or ARN; the default one where it names none.
    fn bus(&self, named: Option<&str>) -> Result<String, JsonError> {
        input::bus_name(self.buses.home(), named)
    }
}

/// The last member of a list's answer.
fn with_next(shape: Value, next: Option<String>) -> Value {
    with_some(shape, &[("NextToken", next.map(|next| json!(next)))])
}
