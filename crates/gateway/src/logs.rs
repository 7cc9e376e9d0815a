//! CloudWatch Logs' API over what functions wrote. JSON in and out, the action in `X-Amz-Target`.
//!
//! A log group is a function's log, `/aws/lambda/NAME`, and a stream is what one instance wrote on a day. [`serve`] reads
//! the request and calls the action. Lines are in `store::logs`; this module knows names, shapes and tokens.

mod error;
mod events;
mod groups;
mod pattern;
mod token;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squall_store::logs::LogStore;
use squall_types::{FunctionName, Home, RequestId};

use crate::authenticate::authenticate;
use crate::authorize::Asked;
use crate::awsjson::{self, JsonError, with_some};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::Body;

const SERVICES: &[&str] = &["logs"];
const TARGET: &str = "Logs_20140328.";
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// What all names of groups begin with.
const GROUP_PREFIX: &str = "/aws/lambda/";
/// What is done to one stream of a group.
const OF_STREAMS: [&str; 4] = [
    "GetLogEvents",
    "DeleteLogStream",
    "CreateLogStream",
    "PutLogEvents",
];
/// What CloudWatch Logs has beside what functions need: actions that name one of these are known, and not here.
const NOT_IMPLEMENTED: [&str; 26] = [
    "AccountPolic",
    "Anomal",
    "DataProtectionPolicy",
    "Deliver",
    "Destination",
    "ExportTask",
    "FieldIndex",
    "ImportTask",
    "IndexPolic",
    "Integration",
    "KmsKey",
    "LiveTail",
    "LogFields",
    "LogGroupFields",
    "LogObject",
    "LogRecord",
    "LogStreamToken",
    "LookupTable",
    "MetricFilter",
    "PutLogEvents",
    "Quer",
    "ResourcePolic",
    "ScheduledQuer",
    "SubscriptionFilter",
    "Transformer",
    "CreateLogStream",
];

/// One authenticated request.
struct Call<'a> {
    logs: &'a LogStore,
    home: &'a Home,
    body: Bytes,
}

type Answer = Result<Value, JsonError>;

/// Answers a request to CloudWatch Logs' API.
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
    let home = &gateway.config.home;
    let call = Call {
        logs: &gateway.logs,
        home,
        body: authentic.authorize(gateway, &asked(home, action, &document))?,
    };
    // A function's first line makes its group.
    call.logs.flush().await?;
    call.perform(action).await
}

/// What a request is in the language of policies.
fn asked(home: &Home, action: &str, document: &Value) -> Asked<'static> {
    let text = |member: &str| document[member].as_str();
    let group = text("logGroupName")
        .or(text("logGroupIdentifier"))
        .or(text("resourceArn"));
    // Where an action is about a group, a stream that is named beside it is not read.
    let stream = text("logStreamName").filter(|_| OF_STREAMS.contains(&action));
    let resource = match (group.map(group_name), stream) {
        (Some(group), Some(stream)) => format!("{}:log-stream:{stream}", group_arn(home, group)),
        // Policies write `GROUP:*`, which stands for the group and all that is in it.
        (Some(group), None) => format!("{}:*", group_arn(home, group)),
        (None, _) => "*".to_owned(),
    };
    Asked::on(format!("logs:{action}"), resource)
}

fn group_arn(home: &Home, group: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{group}", home.region, home.account)
}

/// The name of a group, by its name or ARN.
fn group_name(named: &str) -> &str {
    let of_arn = named
        .strip_prefix("arn:")
        .and_then(|rest| rest.splitn(6, ':').nth(5));
    of_arn.map_or(named, |name| name.strip_suffix(":*").unwrap_or(name))
}

impl Call<'_> {
    async fn perform(&self, action: &str) -> Answer {
        match action {
            "CreateLogGroup" => self.create_group().await,
            "DescribeLogGroups" => self.describe_groups().await,
            "ListLogGroups" => self.list_groups(),
            "DeleteLogGroup" => self.delete_group().await,
            "PutRetentionPolicy" => self.put_retention().await,
            "DeleteRetentionPolicy" => self.delete_retention().await,
            "ListTagsForResource" | "ListTagsLogGroup" => self.list_tags(),
            "TagResource" | "TagLogGroup" => self.tag().await,
            "UntagResource" | "UntagLogGroup" => self.untag().await,
            "DescribeLogStreams" => self.describe_streams().await,
            "DeleteLogStream" => self.delete_stream().await,
            "GetLogEvents" => self.get_events().await,
            "FilterLogEvents" => self.filter_events().await,
            other if NOT_IMPLEMENTED.iter().any(|what| other.contains(what)) => {
                Err(JsonError::not_implemented(other))
            }
            other => Err(JsonError::unknown("CloudWatch Logs", other)),
        }
    }

    fn input<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        awsjson::input(&self.body)
    }

    /// The function whose log a group is; there is one where it is deployed, has written, or has a group made for it.
    fn function(&self, named: Option<&str>) -> Result<FunctionName, JsonError> {
        let named = named.ok_or_else(|| JsonError::missing("logGroupName"))?;
        let function = read_name(group_name(named)).ok_or_else(JsonError::no_group)?;
        match self.exists(&function) {
            true => Ok(function),
            false => Err(JsonError::no_group()),
        }
    }

    fn exists(&self, function: &FunctionName) -> bool {
        self.logs.group(function).is_some() || self.logs.functions().contains_key(function)
    }
}

/// The function in a group's name; `None` for a group of something else.
fn read_name(group: &str) -> Option<FunctionName> {
    group.strip_prefix(GROUP_PREFIX)?.parse().ok()
}

fn group_of(function: &FunctionName) -> String {
    format!("{GROUP_PREFIX}{function}")
}

/// The last member of a list's answer.
fn with_next(shape: Value, next: Option<String>) -> Value {
    with_some(shape, &[("nextToken", next.map(|next| json!(next)))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_about_a_group_or_a_stream() {
        let check_action = |action: &str, document: Value, expected: &str| {
            let asked = asked(&Home::default(), action, &document);
            assert_eq!(asked.resource, expected, "{action} {document}");
        };
        let check = |document: Value, expected: &str| check_action("GetLogEvents", document, expected);
        let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f";
        check(json!({ "logGroupName": "/aws/lambda/f" }), &format!("{arn}:*"));
        check(json!({ "logGroupIdentifier": arn }), &format!("{arn}:*"));
        check(json!({ "resourceArn": format!("{arn}:*") }), &format!("{arn}:*"));
        let stream = json!({ "logGroupName": "/aws/lambda/f", "logStreamName": "s" });
        check(stream.clone(), &format!("{arn}:log-stream:s"));
        for action in ["FilterLogEvents", "DeleteLogGroup", "PutRetentionPolicy"] {
            check_action(action, stream.clone(), &format!("{arn}:*"));
        }
        check(json!({}), "*");
    }
}
