//! Events: put on a bus, and tried against a pattern.
//!
//! Events of one request are written together; one that makes no sense is refused by itself, as EventBridge does.

use serde::Deserialize;
use serde_json::{Value, json};
use squall_events::bus::{self, NewEvent};

use super::input::{required, text};
use super::{Answer, Call};
use crate::awsjson::JsonError;
use crate::constraint;

const ENTRIES_MAX: usize = 10;
/// The most bytes of a request's events together. A function takes no larger event than that, once it is wrapped.
const EVENTS_BYTES_MAX: usize = 256 * 1024;
/// What EventBridge counts for an event's time.
const TIME_BYTES: usize = 14;
/// Members that an event has in whatever form it is.
const ENVELOPE: [&str; 7] = [
    "id",
    "account",
    "source",
    "time",
    "region",
    "resources",
    "detail-type",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    #[serde(default)]
    entries: Vec<Entry>,
    endpoint_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    /// Seconds since 1970.
    time: Option<f64>,
    source: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TestPattern {
    event_pattern: Option<String>,
    event: Option<String>,
}

impl Call<'_> {
    pub(super) async fn put_events(&self) -> Answer {
        let input: PutEvents = self.input()?;
        super::input::refuse_unsupported(&[("EndpointId", &input.endpoint_id)])?;
        let count = input.entries.len();
        if count == 0 || count > ENTRIES_MAX {
            let must = if count == 0 {
                "greater than or equal to 1"
            } else {
                "less than or equal to 10"
            };
            let text = constraint::broken(
                "entries",
                format_args!("[{count} of them]"),
                &format!("have length {must}"),
            );
            return Err(JsonError::validation(text));
        }
        if input.entries.iter().map(Entry::bytes).sum::<usize>() > EVENTS_BYTES_MAX {
            return Err(JsonError::validation(
                "Total size of the entries in the request is over the limit.",
            ));
        }
        let read: Vec<_> = input.entries.into_iter().map(|entry| self.event(entry)).collect();
        let good: Vec<_> = read
            .iter()
            .filter_map(|event| event.as_ref().ok())
            .cloned()
            .collect();
        let mut ids = self.buses.put_events(&good).await?.into_iter();
        let mut failed = 0;
        let mut entries = Vec::with_capacity(read.len());
        for event in &read {
            entries.push(match event {
                Ok(_) => json!({ "EventId": ids.next().expect("an id for each").to_string() }),
                Err(error) => {
                    failed += 1;
                    json!({ "ErrorCode": error.name, "ErrorMessage": error.message })
                }
            });
        }
        Ok(json!({ "FailedEntryCount": failed, "Entries": entries }))
    }

    fn event(&self, entry: Entry) -> Result<(String, NewEvent), JsonError> {
        let missing = |member: &str| {
            let text = format!("Parameter {member} is not valid. Reason: {member} is a required argument.");
            JsonError::new("InvalidArgument", text)
        };
        let given = |text: Option<String>, member| {
            text.filter(|text| !text.is_empty())
                .ok_or_else(|| missing(member))
        };
        let source = given(entry.source, "Source")?;
        let detail_type = given(entry.detail_type, "DetailType")?;
        let detail = given(entry.detail, "Detail")?;
        if source.starts_with("aws.") {
            let text =
                format!("Not authorized for the source {source}: names that start with `aws.` are AWS's.");
            return Err(JsonError::new("NotAuthorizedForSourceException", text));
        }
        let detail = match serde_json::from_str(&detail) {
            Ok(detail @ Value::Object(_)) => detail,
            _ => return Err(JsonError::new("MalformedDetail", "Detail is malformed.")),
        };
        let bus = self.bus(entry.event_bus_name.as_deref())?;
        self.buses.bus(&bus)?;
        // A time that no calendar has becomes now.
        let time_ms = entry.time.map(|secs| (secs * 1000.0) as i64);
        let event = NewEvent {
            source,
            detail_type,
            detail,
            resources: entry.resources,
            time_ms,
        };
        Ok((bus, event))
    }

    pub(super) fn test_pattern(&self) -> Answer {
        let input: TestPattern = self.input()?;
        let pattern = required(
            "eventPattern",
            input.event_pattern.as_deref(),
            &text("eventPattern", (0, 4096)),
        )?;
        let event = required(
            "event",
            input.event.as_deref(),
            &text("event", (0, EVENTS_BYTES_MAX)),
        )?;
        let pattern = bus::compile(pattern)?;
        let refuse =
            |why: String| JsonError::validation(format!("Parameter Event is not valid. Reason: {why}"));
        let event: Value = serde_json::from_str(event).map_err(|error| refuse(error.to_string()))?;
        if let Some(missing) = ENVELOPE.iter().find(|member| event.get(member).is_none()) {
            return Err(refuse(format!("it has no `{missing}`.")));
        }
        Ok(json!({ "Result": pattern.matches(&event) }))
    }
}

impl Entry {
    /// Its size, as EventBridge counts.
    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let resources: usize = self.resources.iter().map(String::len).sum();
        let time = if self.time.is_some() { TIME_BYTES } else { 0 };
        time + text(&self.source) + text(&self.detail_type) + text(&self.detail) + resources
    }
}
