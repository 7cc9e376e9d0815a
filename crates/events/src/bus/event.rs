//! An event on a bus, in EventBridge's envelope.

use serde_json::{Value, json};
use squall_types::{Home, RequestId};

/// What somebody puts on a bus.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Who says it.
    pub source: String,
    /// What kind of thing happened.
    pub detail_type: String,
    /// What happened, a JSON object.
    pub detail: Value,
    /// ARNs that it is about.
    pub resources: Vec<String>,
    /// When it happened: milliseconds since 1970. Now, when nobody says.
    pub time_ms: Option<i64>,
}

impl NewEvent {
    /// The event as rules and targets see it.
    pub(super) fn envelope(&self, id: RequestId, home: &Home, now_ms: i64) -> Value {
        json!({
            "version": "0",
            "id": id.to_string(),
            "detail-type": self.detail_type,
            "source": self.source,
            "account": home.account,
            "time": iso(self.time_ms.unwrap_or(now_ms)),
            "region": home.region,
            "resources": self.resources,
            "detail": self.detail,
        })
    }
}

/// `2026-11-25T12:00:00Z`.
pub(crate) fn iso(ms: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The event that somebody delivers to a bus as a message: an envelope is taken as it is, the record of an asynchronous
/// invocation as the event that Lambda makes of it, and any other object as the detail of one.
pub(super) fn of_message(
    body: &[u8],
    attribute: impl Fn(&str) -> Option<String>,
) -> Result<NewEvent, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("it is not JSON: {error}"))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let (Some(source), Some(detail_type)) = (attribute("Source"), attribute("DetailType")) {
        return Ok(plain(source, detail_type, value));
    }
    if let (Some(source), Some(detail_type), Some(detail)) = (
        value.get("source").and_then(text),
        value.get("detail-type").and_then(text),
        value.get("detail"),
    ) {
        let resources = value.get("resources").and_then(Value::as_array);
        let resources = resources.into_iter().flatten().filter_map(text).collect();
        let time = value.get("time").and_then(Value::as_str);
        let time = time.and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
        return Ok(NewEvent {
            resources,
            time_ms: time.map(|time| time.timestamp_millis()),
            ..plain(source, detail_type, detail.clone())
        });
    }
    let context = value.get("requestContext");
    if let Some(condition) = context
        .and_then(|context| context.get("condition"))
        .and_then(Value::as_str)
    {
        let how = if condition == "Success" {
            "Success"
        } else {
            "Failure"
        };
        let arn = context
            .and_then(|context| context.get("functionArn"))
            .and_then(text);
        let detail_type = format!("Lambda Function Invocation Result - {how}");
        return Ok(NewEvent {
            resources: arn.into_iter().collect(),
            ..plain("lambda".to_owned(), detail_type, value)
        });
    }
    Ok(plain("squall".to_owned(), "Message".to_owned(), value))
}

fn plain(source: String, detail_type: String, detail: Value) -> NewEvent {
    NewEvent {
        source,
        detail_type,
        detail,
        resources: Vec::new(),
        time_ms: None,
    }
}
