//! A message, and the sums by which SDKs check that it arrived as it was sent.
//!
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a message carries beside its body, typed by its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, each with an optional `.custom` behind it.
    pub data_type: String,
    /// What it holds.
    pub value: AttributeValue,
}

/// An attribute's value, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Of `String` and `Number`.
    Text(String),
    /// Of `Binary`.
    Binary(Vec<u8>),
}

/// Attributes by name: the order in which they are summed.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// What a sender hands over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// Text of the characters that XML allows.
    pub body: String,
    /// Up to ten.
    pub attributes: MessageAttributes,
    /// `AWSTraceHeader`, the one system attribute that a sender may set.
    pub trace_header: Option<String>,
    /// Instead of the queue's own delay.
    pub delay_secs: Option<u32>,
    /// The group, for FIFO queues; for standard queues it is kept and given back.
    pub group: Option<String>,
    /// What makes two sends the same, for FIFO queues.
    pub deduplication_id: Option<String>,
}

/// What is kept of a message: everything that does not change while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Given by the queue.
    pub id: Uuid,
    /// As it was sent.
    pub body: String,
    /// As they were sent.
    pub attributes: MessageAttributes,
    /// `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// Who sent it: an access key's name, or the platform.
    pub sender: String,
    /// When it came to its first queue, in milliseconds of the Unix epoch.
    pub sent_ms: u64,
    /// Its group.
    pub group: Option<String>,
    /// What made it itself, in a FIFO queue.
    pub deduplication_id: Option<String>,
    /// The queue that gave it up, when this one is its dead-letter queue.
    pub dead_letter_source: Option<String>,
}

/// A message that somebody has received and has not deleted yet.
#[derive(Debug, Clone)]
pub struct Received {
    /// What was sent.
    pub content: Content,
    /// Names this delivery, for deleting and for changing its visibility.
    pub receipt: String,
    /// Its place in the queue; for FIFO queues it is shown.
    pub sequence: u64,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was first received, in milliseconds of the Unix epoch.
    pub first_received_ms: u64,
}

impl NewMessage {
    /// Bytes that count against the limit: body, and names, types and values of attributes.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            let value = match &attribute.value {
                AttributeValue::Text(text) => text.len(),
                AttributeValue::Binary(bytes) => bytes.len(),
            };
            name.len() + attribute.data_type.len() + value
        });
        self.body.len() + attributes.sum::<usize>()
    }
}

/// `MD5OfMessageBody`.
pub fn md5_of_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// `MD5OfMessageAttributes`: of length-prefixed names, types and values; `None` where there are none.
pub fn md5_of_attributes(attributes: &MessageAttributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut sum = Md5::new();
    for (name, attribute) in attributes {
        add(&mut sum, name.as_bytes());
        add(&mut sum, attribute.data_type.as_bytes());
        match &attribute.value {
            AttributeValue::Text(text) => {
                sum.update([1]);
                add(&mut sum, text.as_bytes());
            }
            AttributeValue::Binary(bytes) => {
                sum.update([2]);
                add(&mut sum, bytes);
            }
        }
    }
    Some(hex(&sum.finalize()))
}

fn add(sum: &mut Md5, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("attributes are bounded by their message");
    sum.update(length.to_be_bytes());
    sum.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_sdks_verify() {
        assert_eq!(md5_of_body("hello"), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(md5_of_attributes(&MessageAttributes::new()), None);
        let text = |data_type: &str, value: &str| MessageAttribute {
            data_type: data_type.to_owned(),
            value: AttributeValue::Text(value.to_owned()),
        };
        // The sum of the one attribute of this name, type and value, as moto's and the SDKs' tests have it.
        let one = MessageAttributes::from([(
            "timestamp".to_owned(),
            text("Number.java.lang.Long", "1493147359900"),
        )]);
        assert_eq!(
            md5_of_attributes(&one).as_deref(),
            Some("2e2e4876d8e0bd6b8c2c8f556831c349")
        );
    }
}
