//! Members of a request. Numbers may come as text: the Query protocol knows nothing else.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use squall_events::queue::{AttributeValue, MessageAttribute, MessageAttributes, NewMessage};

use super::error::SqsError;

/// A JSON object.
#[derive(Debug)]
pub(super) struct Input(pub(super) Value);

const BATCH_ENTRIES_MAX: usize = 10;

impl Input {
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, SqsError> {
        match &self.0[name] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(SqsError::serialization(&format!("{name} is not a string"))),
        }
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&str, SqsError> {
        self.text(name)?.ok_or_else(|| SqsError::missing(name))
    }

    pub(super) fn number(&self, name: &str, low: u32, high: u32) -> Result<Option<u32>, SqsError> {
        let value = &self.0[name];
        if value.is_null() {
            return Ok(None);
        }
        let number = value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let fits = number.and_then(|number| u32::try_from(number).ok());
        match fits.filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Err(SqsError::invalid(format!(
                    "Value {said} for parameter {name} is invalid. Reason: Must be between {low} and {high}, if provided."
                )))
            }
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, SqsError> {
        let wrong = || SqsError::serialization(&format!("{name} is not a list of strings"));
        match &self.0[name] {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            _ => Err(wrong()),
        }
    }

    pub(super) fn map(&self, name: &str) -> Result<BTreeMap<String, String>, SqsError> {
        let wrong = || SqsError::serialization(&format!("{name} is not a map of strings"));
        match &self.0[name] {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>()
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// The entries of a batch with their ids, checked as SQS checks them before it looks into any.
    pub(super) fn entries(&self) -> Result<Vec<(String, Self)>, SqsError> {
        let Value::Array(items) = &self.0["Entries"] else {
            return Err(SqsError::new(
                "EmptyBatchRequest",
                "There should be at least one entry in the request.",
            ));
        };
        if items.is_empty() {
            return Err(SqsError::new(
                "EmptyBatchRequest",
                "There should be at least one entry in the request.",
            ));
        }
        if items.len() > BATCH_ENTRIES_MAX {
            return Err(SqsError::new(
                "TooManyEntriesInBatchRequest",
                format!(
                    "Maximum number of entries per request are {BATCH_ENTRIES_MAX}. You have sent {}.",
                    items.len()
                ),
            ));
        }
        let mut entries: Vec<(String, Self)> = Vec::with_capacity(items.len());
        for item in items {
            let entry = Self(item.clone());
            let id = entry.required("Id")?.to_owned();
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if id.is_empty() || id.len() > 80 || !id.bytes().all(allowed) {
                return Err(SqsError::new(
                    "InvalidBatchEntryId",
                    "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at \
                     most 80 letters long.",
                ));
            }
            if entries.iter().any(|(other, _)| *other == id) {
                return Err(SqsError::new(
                    "BatchEntryIdsNotDistinct",
                    format!("Id {id} repeated."),
                ));
            }
            entries.push((id, entry));
        }
        Ok(entries)
    }

    /// A message as SendMessage and the entries of SendMessageBatch have it.
    pub(super) fn message(&self) -> Result<NewMessage, SqsError> {
        let system = Self(self.0["MessageSystemAttributes"].clone());
        let system = attributes(&system.0)?;
        let mut trace_header = None;
        for (name, attribute) in system {
            match (name.as_str(), attribute.value) {
                ("AWSTraceHeader", AttributeValue::Text(text)) => trace_header = Some(text),
                _ => {
                    return Err(SqsError::invalid(format!(
                        "Message system attribute name '{name}' is invalid; only AWSTraceHeader, a string, is allowed."
                    )));
                }
            }
        }
        Ok(NewMessage {
            body: self.required("MessageBody")?.to_owned(),
            attributes: attributes(&self.0["MessageAttributes"])?,
            trace_header,
            delay_secs: self.number("DelaySeconds", 0, 900)?,
            group: self.text("MessageGroupId")?.map(str::to_owned),
            deduplication_id: self.text("MessageDeduplicationId")?.map(str::to_owned),
        })
    }
}

fn attributes(value: &Value) -> Result<MessageAttributes, SqsError> {
    let members = match value {
        Value::Null => return Ok(MessageAttributes::new()),
        Value::Object(members) => members,
        _ => return Err(SqsError::serialization("MessageAttributes is not a map")),
    };
    let mut read = MessageAttributes::new();
    for (name, value) in members {
        let text = |member: &str| value[member].as_str();
        let data_type = text("DataType").ok_or_else(|| SqsError::missing("DataType"))?;
        let value = match (text("StringValue"), text("BinaryValue")) {
            (Some(text), None) => AttributeValue::Text(text.to_owned()),
            (None, Some(text)) => AttributeValue::Binary(
                STANDARD
                    .decode(text)
                    .map_err(|_| SqsError::serialization("a BinaryValue is not base64"))?,
            ),
            _ => {
                return Err(SqsError::invalid(format!(
                    "The message attribute '{name}' must contain exactly one of StringValue and BinaryValue."
                )));
            }
        };
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value,
        };
        read.insert(name.clone(), attribute);
    }
    Ok(read)
}
