//! What destinations and dead-letter queues are sent: Lambda's documents. Pure.
//!
//! Source: "Capturing records of Lambda asynchronous invocations" and "Dead-letter queues" in AWS's developer guide.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use squall_types::Delivery;

use super::record::{Condition, Ending, Event, Kind, Pending};
use crate::report;

/// The most bytes of an error message that go along with a dead letter.
const ERROR_MESSAGE_BYTES_MAX: usize = 1024;

/// What one target is sent of an event that ended.
pub(super) fn message(
    event: &Event,
    function_arn: &str,
    target: &Pending,
    refusal: Option<&'static str>,
) -> Delivery {
    let Some(ending) = &event.ending else {
        return Delivery::default();
    };
    match target.kind {
        Kind::Destination => record(event, ending, target, function_arn),
        Kind::DeadLetter => dead_letter(event, ending, target, refusal),
    }
}

/// The record of the invocation.
fn record(event: &Event, ending: &Ending, target: &Pending, function_arn: &str) -> Delivery {
    let is_success = ending.condition == Condition::Success;
    let attempts = u32::from(event.failures) + u32::from(is_success);
    let mut record = json!({
        "version": "1.0",
        "timestamp": report::iso(ending.at),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": function_arn,
            "condition": ending.condition.as_str(),
            "approximateInvokeCount": attempts,
        },
        "requestPayload": document(&event.payload),
    });
    if let Some((version, body)) = &ending.response {
        let mut context = json!({ "statusCode": 200, "executedVersion": version });
        if !is_success {
            context["functionError"] = Value::from("Unhandled");
        }
        record["responseContext"] = context;
        record["responsePayload"] = document(body);
    }
    Delivery {
        body: record.to_string().into(),
        attributes: if is_bus(&target.arn) {
            bus_attributes(is_success)
        } else {
            BTreeMap::new()
        },
        id: Some(target.id),
    }
}

fn is_bus(arn: &str) -> bool {
    arn.split(':').nth(2) == Some("events")
}

/// What is around the record on an event bus, which takes it as its `detail`.
fn bus_attributes(is_success: bool) -> BTreeMap<String, String> {
    let outcome = if is_success { "Success" } else { "Failure" };
    let kind = format!("Lambda Function Invocation Result - {outcome}");
    BTreeMap::from([
        ("Source".to_owned(), "lambda".to_owned()),
        ("DetailType".to_owned(), kind),
    ])
}

/// A JSON document inside of another; what is none is a string.
fn document(bytes: &Bytes) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes).into_owned()))
}

/// The event as it was, with what went wrong beside it.
fn dead_letter(event: &Event, ending: &Ending, target: &Pending, refusal: Option<&'static str>) -> Delivery {
    let (code, mut text) = match (&ending.response, refusal) {
        (Some((_, body)), _) => ("200", error_message(body)),
        (None, Some("throttled")) => ("429", ending.condition.as_str().to_owned()),
        (None, _) => ("500", ending.condition.as_str().to_owned()),
    };
    text.truncate(text.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX));
    Delivery {
        body: event.payload.clone(),
        attributes: BTreeMap::from([
            ("RequestID".to_owned(), event.request_id.to_string()),
            ("ErrorCode".to_owned(), code.to_owned()),
            ("ErrorMessage".to_owned(), text),
        ]),
        id: Some(target.id),
    }
}

fn error_message(body: &Bytes) -> String {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    match error["errorMessage"].as_str() {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}
