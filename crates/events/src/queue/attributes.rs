//! A queue's attributes: SQS's names, the values that each may have, and what they are when nobody says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::QueueError;

/// A queue as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Definition {
    /// Never given to another queue.
    pub(super) id: u64,
    pub(super) attributes: Attributes,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created_ms: u64,
    pub(super) modified_ms: u64,
}

/// What can be set on a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// Seconds before a message can be received: `DelaySeconds`.
    pub delay_secs: u32,
    /// `MaximumMessageSize`.
    pub bytes_max: u32,
    /// `MessageRetentionPeriod`.
    pub retention_secs: u32,
    /// `ReceiveMessageWaitTimeSeconds`.
    pub wait_secs: u32,
    /// `VisibilityTimeout`.
    pub visibility_secs: u32,
    /// `FifoQueue`.
    pub fifo: bool,
    /// `ContentBasedDeduplication`.
    pub content_deduplication: bool,
    /// `RedrivePolicy`.
    pub redrive: Option<RedrivePolicy>,
    /// What is kept as it was given, and shown again: policies and encryption, which change nothing here.
    pub kept: BTreeMap<String, String>,
}

/// Where messages go that are received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivePolicy {
    /// The dead-letter queue.
    pub target_arn: String,
    /// How often a message may be received.
    pub receive_count_max: u32,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            delay_secs: 0,
            bytes_max: 1_048_576,
            retention_secs: 345_600,
            wait_secs: 0,
            visibility_secs: 30,
            fifo: false,
            content_deduplication: false,
            redrive: None,
            kept: BTreeMap::new(),
        }
    }
}

/// Names and the values that they may have; the first is the default.
const CHOICES: [(&str, &[&str]); 3] = [
    ("DeduplicationScope", &["queue", "messageGroup"]),
    ("FifoThroughputLimit", &["perQueue", "perMessageGroupId"]),
    ("SqsManagedSseEnabled", &["true", "false"]),
];

impl Attributes {
    /// Sets what `given` names.
    ///
    /// # Errors
    /// [`QueueError::UnknownAttribute`], [`QueueError::InvalidAttribute`]; nothing is set then.
    pub(super) fn with(&self, given: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        let mut changed = self.clone();
        for (name, value) in given {
            changed.set(name, value)?;
        }
        let only_fifo = ["DeduplicationScope", "FifoThroughputLimit"];
        let has_fifo = only_fifo.iter().any(|name| changed.kept.contains_key(*name));
        if !changed.fifo && (changed.content_deduplication || has_fifo) {
            return Err(QueueError::UnknownAttribute(
                "ContentBasedDeduplication, DeduplicationScope or FifoThroughputLimit: the queue is not a FIFO queue"
                    .to_owned(),
            ));
        }
        Ok(changed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QueueError> {
        let number = |low: u32, high: u32| {
            let parsed = value.parse().ok().filter(|number| (low..=high).contains(number));
            parsed.ok_or_else(|| invalid(name, value, &format!("It must be between {low} and {high}.")))
        };
        match name {
            "DelaySeconds" => self.delay_secs = number(0, 900)?,
            "MaximumMessageSize" => self.bytes_max = number(1024, 1_048_576)?,
            "MessageRetentionPeriod" => self.retention_secs = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait_secs = number(0, 20)?,
            "VisibilityTimeout" => self.visibility_secs = number(0, 43_200)?,
            "FifoQueue" => self.fifo = boolean(name, value)?,
            "ContentBasedDeduplication" => self.content_deduplication = boolean(name, value)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "Policy" | "RedriveAllowPolicy" | "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds" => {
                self.keep(name, value);
            }
            _ => {
                let known = CHOICES.iter().find(|(known, _)| *known == name);
                let (_, choices) = known.ok_or_else(|| QueueError::UnknownAttribute(name.to_owned()))?;
                if !choices.contains(&value) {
                    return Err(invalid(name, value, &format!("It must be one of {choices:?}.")));
                }
                self.keep(name, value);
            }
        }
        Ok(())
    }

    fn keep(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            self.kept.remove(name);
        } else {
            self.kept.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Each by its name, as it is shown.
    pub(super) fn shown(&self) -> BTreeMap<String, String> {
        let mut shown = self.kept.clone();
        let numbers = [
            ("DelaySeconds", self.delay_secs),
            ("MaximumMessageSize", self.bytes_max),
            ("MessageRetentionPeriod", self.retention_secs),
            ("ReceiveMessageWaitTimeSeconds", self.wait_secs),
            ("VisibilityTimeout", self.visibility_secs),
        ];
        for (name, number) in numbers {
            shown.insert(name.to_owned(), number.to_string());
        }
        shown
            .entry("SqsManagedSseEnabled".to_owned())
            .or_insert_with(|| "false".to_owned());
        if self.fifo {
            shown.insert("FifoQueue".to_owned(), "true".to_owned());
            let by_content = self.content_deduplication.to_string();
            shown.insert("ContentBasedDeduplication".to_owned(), by_content);
            for (name, choices) in &CHOICES[..2] {
                shown
                    .entry((*name).to_owned())
                    .or_insert_with(|| choices[0].to_owned());
            }
        }
        if let Some(policy) = &self.redrive {
            let text = serde_json::json!({
                "deadLetterTargetArn": policy.target_arn,
                "maxReceiveCount": policy.receive_count_max,
            });
            shown.insert("RedrivePolicy".to_owned(), text.to_string());
        }
        shown
    }

    /// Whether two messages are the same only within a group.
    pub(super) fn deduplicates_per_group(&self) -> bool {
        self.kept
            .get("DeduplicationScope")
            .is_some_and(|scope| scope == "messageGroup")
    }
}

fn invalid(name: &str, value: &str, reason: &str) -> QueueError {
    QueueError::InvalidAttribute(format!(
        "Invalid value for the parameter {name}. Reason: `{value}` is not allowed. {reason}"
    ))
}

fn boolean(name: &str, value: &str) -> Result<bool, QueueError> {
    value
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| invalid(name, value, "It must be true or false."))
}

fn redrive(value: &str) -> Result<Option<RedrivePolicy>, QueueError> {
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: &str| {
        QueueError::InvalidParameter(format!(
            "Value {value} for parameter RedrivePolicy is invalid. Reason: {reason}"
        ))
    };
    let fields: serde_json::Value =
        serde_json::from_str(value).map_err(|_| wrong("Redrive policy is not a valid JSON map."))?;
    let target = fields["deadLetterTargetArn"]
        .as_str()
        .ok_or_else(|| wrong("Redrive policy does not contain mandatory attribute: deadLetterTargetArn."))?;
    // Tools send the number as text as often as not.
    let count = &fields["maxReceiveCount"];
    let count = count
        .as_u64()
        .or_else(|| count.as_str().and_then(|text| text.parse().ok()))
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=1000).contains(count))
        .ok_or_else(|| wrong("Invalid value for maxReceiveCount: it must be between 1 and 1000."))?;
    Ok(Some(RedrivePolicy {
        target_arn: target.to_owned(),
        receive_count_max: count,
    }))
}

/// Refuses what is no name of a queue.
pub(super) fn check_name(name: &str, fifo: bool) -> Result<(), QueueError> {
    let bare = name.strip_suffix(".fifo").unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if bare.is_empty() || name.len() > 80 || !bare.bytes().all(allowed) {
        return Err(QueueError::InvalidName(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length".to_owned(),
        ));
    }
    if fifo != name.ends_with(".fifo") {
        return Err(QueueError::InvalidName(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end \
             with .fifo suffix and be 1 to 80 in length; and FifoQueue must be true for it."
                .to_owned(),
        ));
    }
    Ok(())
}
