//! A batch of queue messages as the function gets it, and what its answer says of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::pattern::Pattern;
use crate::queue::{AttributeValue, MessageAttribute, Received, md5_of_attributes, md5_of_body};

/// One message as a record of the event.
pub(super) fn record(received: &Received, source_arn: &str) -> Value {
    let content = &received.content;
    let region = source_arn.split(':').nth(3).unwrap_or_default();
    let attributes: Map<String, Value> = content
        .attributes
        .iter()
        .map(|(name, one)| (name.clone(), attribute(one)))
        .collect();
    let mut shape = json!({
        "messageId": content.id.to_string(),
        "receiptHandle": received.receipt,
        "body": content.body,
        "attributes": system_attributes(received),
        "messageAttributes": attributes,
        "md5OfBody": md5_of_body(&content.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": source_arn,
        "awsRegion": region,
    });
    if let Some(sum) = md5_of_attributes(&content.attributes) {
        shape["md5OfMessageAttributes"] = Value::from(sum);
    }
    shape
}

fn system_attributes(received: &Received) -> Map<String, Value> {
    let content = &received.content;
    let sequence = content
        .deduplication_id
        .as_ref()
        .map(|_| format!("{:020}", received.sequence));
    let all = [
        (
            "ApproximateReceiveCount",
            Some(received.receive_count.to_string()),
        ),
        ("SentTimestamp", Some(content.sent_ms.to_string())),
        ("SenderId", Some(content.sender.clone())),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(received.first_received_ms.to_string()),
        ),
        ("AWSTraceHeader", content.trace_header.clone()),
        ("MessageGroupId", content.group.clone()),
        ("MessageDeduplicationId", content.deduplication_id.clone()),
        ("SequenceNumber", sequence),
        ("DeadLetterQueueSourceArn", content.dead_letter_source.clone()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
        .collect()
}

fn attribute(attribute: &MessageAttribute) -> Value {
    let lists = json!({ "stringListValues": [], "binaryListValues": [], "dataType": attribute.data_type });
    let mut shape = lists;
    match &attribute.value {
        AttributeValue::Text(text) => shape["stringValue"] = Value::from(text.clone()),
        AttributeValue::Binary(bytes) => shape["binaryValue"] = Value::from(STANDARD.encode(bytes)),
    }
    shape
}

/// Whether one of the patterns wants the message. A pattern that looks into the body sees it as JSON, and does not
/// want one that is none; any other sees it as the text that it is.
pub(super) fn is_wanted(record: &Value, patterns: &[Pattern]) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| {
            if !pattern.looks_into("body") {
                return pattern.matches(record);
            }
            let body = record["body"].as_str().unwrap_or_default();
            let Ok(parsed) = serde_json::from_str::<Value>(body) else {
                return false;
            };
            let mut seen = record.clone();
            seen["body"] = parsed;
            pattern.matches(&seen)
        })
}

/// The event.
pub(super) fn event(records: &[Value]) -> Bytes {
    json!({ "Records": records }).to_string().into()
}

/// Which messages failed, by their places; `None` means all of them.
pub(super) fn failures(answer: &[u8], ids: &[String], is_fifo: bool) -> Option<Vec<usize>> {
    if answer.is_empty() {
        return Some(Vec::new());
    }
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let list = match &answer {
        Value::Null => return Some(Vec::new()),
        Value::Object(members) => match members.get("batchItemFailures") {
            None | Some(Value::Null) => return Some(Vec::new()),
            Some(list) => list.as_array()?,
        },
        _ => return None,
    };
    let mut failed = Vec::with_capacity(list.len());
    for item in list {
        let id = item.get("itemIdentifier")?.as_str()?;
        failed.push(ids.iter().position(|known| known == id)?);
    }
    failed.sort_unstable();
    failed.dedup();
    if let (true, Some(first)) = (is_fifo, failed.first().copied()) {
        // What came after the first failure must not overtake it.
        failed = (first..ids.len()).collect();
    }
    Some(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_what_failed() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let cases: [(&str, bool, Option<&[usize]>); 13] = [
            ("", false, Some(&[])),
            ("null", false, Some(&[])),
            ("{}", false, Some(&[])),
            ("{\"batchItemFailures\":null}", false, Some(&[])),
            ("{\"batchItemFailures\":[]}", false, Some(&[])),
            (
                "{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"}]}",
                false,
                Some(&[1]),
            ),
            (
                "{\"batchItemFailures\":[{\"itemIdentifier\":\"b\"}]}",
                true,
                Some(&[1, 2]),
            ),
            (
                "{\"batchItemFailures\":[{\"itemIdentifier\":\"x\"}]}",
                false,
                None,
            ),
            ("{\"batchItemFailures\":[{\"itemIdentifier\":\"\"}]}", false, None),
            ("{\"batchItemFailures\":[{\"id\":\"b\"}]}", false, None),
            ("{\"batchItemFailures\":\"b\"}", false, None),
            ("\"fine\"", false, None),
            ("{", false, None),
        ];
        for (answer, is_fifo, expected) in cases {
            let found = failures(answer.as_bytes(), &ids, is_fifo);
            assert_eq!(found.as_deref(), expected, "{answer}");
        }
    }

    #[test]
    fn a_filter_looks_into_json_bodies_and_drops_what_is_none() {
        let pattern = |text: &str| vec![Pattern::parse(text).expect("a good pattern")];
        let record = |body: &str| json!({ "body": body });
        let inside = pattern(r#"{"body":{"kind":["order"]}}"#);
        assert!(is_wanted(&record(r#"{"kind":"order"}"#), &inside));
        assert!(!is_wanted(&record(r#"{"kind":"other"}"#), &inside));
        assert!(!is_wanted(&record("order"), &inside));
        let plain = pattern(r#"{"body":["order"]}"#);
        assert!(is_wanted(&record("order"), &plain));
        assert!(!is_wanted(&record(r#"{"kind":"order"}"#), &plain));
        assert!(is_wanted(&record("anything"), &[]));
    }
}
