//! Actions on messages.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use squall_events::queue::{
    AttributeValue, MessageAttribute, MessageAttributes, NewMessage, QueueError, Receive, Received, Sent,
    md5_of_attributes, md5_of_body,
};

use super::error::SqsError;
use super::{Answer, Call};

/// What a whole batch may hold.
const BATCH_BYTES_MAX: usize = 1_048_576;

/// The sums that a client verifies.
struct Sums {
    body: String,
    attributes: Option<String>,
    system: Option<String>,
}

impl Sums {
    fn of(message: &NewMessage) -> Self {
        let system = message.trace_header.clone().map(|text| {
            let attribute = MessageAttribute {
                data_type: "String".to_owned(),
                value: AttributeValue::Text(text),
            };
            MessageAttributes::from([("AWSTraceHeader".to_owned(), attribute)])
        });
        Self {
            body: md5_of_body(&message.body),
            attributes: md5_of_attributes(&message.attributes),
            system: system.as_ref().and_then(md5_of_attributes),
        }
    }

    fn answer(self, sent: &Sent) -> Value {
        let mut shape = json!({ "MessageId": sent.id.to_string(), "MD5OfMessageBody": self.body });
        let optional = [
            ("MD5OfMessageAttributes", self.attributes),
            ("MD5OfMessageSystemAttributes", self.system),
            (
                "SequenceNumber",
                sent.sequence.map(|number| format!("{number:020}")),
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                shape[name] = Value::from(value);
            }
        }
        shape
    }
}

/// What of a message a receiver wants to see beside its body.
struct Shown {
    system: Vec<String>,
    attributes: Vec<String>,
}

impl Call<'_> {
    pub(super) async fn send_message(&self) -> Answer {
        let message = self.input.message()?;
        let sums = Sums::of(&message);
        let sent = self.queues.send(&self.queue()?, message, &self.sender).await?;
        Ok(sums.answer(&sent))
    }

    pub(super) async fn send_message_batch(&self) -> Answer {
        let queue = self.queue()?;
        let entries = self.input.entries()?;
        let mut failed = Vec::new();
        let (mut ids, mut sums, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        for (id, entry) in entries {
            match entry.message() {
                Ok(message) => {
                    ids.push(id);
                    sums.push(Sums::of(&message));
                    messages.push(message);
                }
                Err(error) => failed.push(error.entry(&id)),
            }
        }
        let bytes: usize = messages.iter().map(NewMessage::bytes).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(SqsError::new(
                "BatchRequestTooLong",
                format!(
                    "Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. You have sent {bytes} bytes."
                ),
            ));
        }
        let sent = self.queues.send_all(&queue, messages, &self.sender).await?;
        let mut successful = Vec::new();
        for ((id, sums), sent) in ids.into_iter().zip(sums).zip(sent) {
            match sent {
                Ok(sent) => {
                    let mut shape = sums.answer(&sent);
                    shape["Id"] = Value::from(id);
                    successful.push(shape);
                }
                Err(error) => failed.push(SqsError::from(error).entry(&id)),
            }
        }
        Ok(batch_answer(successful, failed))
    }

    pub(super) async fn receive_message(&self) -> Answer {
        let input = &self.input;
        let how = Receive {
            messages_max: input.number("MaxNumberOfMessages", 1, 10)?.unwrap_or(1) as usize,
            wait: input
                .number("WaitTimeSeconds", 0, 20)?
                .map(|secs| Duration::from_secs(secs.into())),
            visibility_secs: input.number("VisibilityTimeout", 0, 43_200)?,
            ..Receive::default()
        };
        let mut system = input.texts("AttributeNames")?;
        system.extend(input.texts("MessageSystemAttributeNames")?);
        let shown = Shown {
            system,
            attributes: input.texts("MessageAttributeNames")?,
        };
        let received = self.queues.receive(&self.queue()?, &how).await?;
        if received.is_empty() {
            return Ok(json!({}));
        }
        let messages: Vec<Value> = received.iter().map(|one| shown.message(one)).collect();
        Ok(json!({ "Messages": messages }))
    }

    pub(super) async fn delete_message(&self) -> Answer {
        let handle = self.input.required("ReceiptHandle")?;
        self.queues.delete(&self.queue()?, handle).await?;
        Ok(json!({}))
    }

    pub(super) async fn delete_message_batch(&self) -> Answer {
        let queue = self.queue()?;
        let entries = self.input.entries()?;
        let handles: Vec<&str> = entries
            .iter()
            .map(|(_, entry)| entry.required("ReceiptHandle"))
            .collect::<Result<_, _>>()?;
        let deleted = self.queues.delete_all(&queue, &handles).await?;
        Ok(settled(entries.iter().map(|(id, _)| id.as_str()).zip(deleted)))
    }

    pub(super) async fn change_visibility(&self) -> Answer {
        let handle = self.input.required("ReceiptHandle")?;
        let secs = self.input.number("VisibilityTimeout", 0, 43_200)?;
        let secs = secs.ok_or_else(|| SqsError::missing("VisibilityTimeout"))?;
        self.queues
            .change_visibility(&self.queue()?, handle, secs)
            .await?;
        Ok(json!({}))
    }

    pub(super) async fn change_visibility_batch(&self) -> Answer {
        let queue = self.queue()?;
        self.queues.view(&queue)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, entry) in self.input.entries()? {
            let changed = async {
                let secs = entry.number("VisibilityTimeout", 0, 43_200)?.unwrap_or(0);
                let handle = entry.required("ReceiptHandle")?;
                Ok::<_, SqsError>(self.queues.change_visibility(&queue, handle, secs).await?)
            };
            match changed.await {
                Ok(()) => successful.push(json!({ "Id": id })),
                Err(error) => failed.push(error.entry(&id)),
            }
        }
        Ok(batch_answer(successful, failed))
    }
}

fn settled<'a>(answers: impl Iterator<Item = (&'a str, Result<(), QueueError>)>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, answer) in answers {
        match answer {
            Ok(()) => successful.push(json!({ "Id": id })),
            Err(error) => failed.push(SqsError::from(error).entry(id)),
        }
    }
    batch_answer(successful, failed)
}

fn batch_answer(successful: Vec<Value>, failed: Vec<Value>) -> Value {
    json!({ "Successful": successful, "Failed": failed })
}

impl Shown {
    fn message(&self, received: &Received) -> Value {
        let content = &received.content;
        let mut shape = json!({
            "MessageId": content.id.to_string(),
            "ReceiptHandle": received.receipt,
            "MD5OfBody": md5_of_body(&content.body),
            "Body": content.body,
        });
        let all = self.system.iter().any(|name| name == "All");
        let mut system = system_attributes(received);
        system.retain(|name, _| all || self.system.contains(name));
        if !system.is_empty() {
            shape["Attributes"] = Value::from(system);
        }
        let attributes: MessageAttributes = content
            .attributes
            .iter()
            .filter(|(name, _)| self.wants(name))
            .map(|(name, attribute)| (name.clone(), attribute.clone()))
            .collect();
        if let Some(sum) = md5_of_attributes(&attributes) {
            shape["MD5OfMessageAttributes"] = Value::from(sum);
            let shown = attributes
                .iter()
                .map(|(name, one)| (name.clone(), attribute(one)));
            shape["MessageAttributes"] = Value::from(shown.collect::<Map<_, _>>());
        }
        shape
    }

    /// By name, `All`, or `prefix.*`.
    fn wants(&self, name: &str) -> bool {
        self.attributes.iter().any(|wanted| {
            let prefix = wanted.strip_suffix(".*");
            wanted == "All" || wanted == name || prefix.is_some_and(|prefix| name.starts_with(prefix))
        })
    }
}

fn system_attributes(received: &Received) -> Map<String, Value> {
    let content = &received.content;
    let is_fifo = content.deduplication_id.is_some();
    let all = [
        ("SenderId", Some(content.sender.clone())),
        ("SentTimestamp", Some(content.sent_ms.to_string())),
        (
            "ApproximateReceiveCount",
            Some(received.receive_count.to_string()),
        ),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(received.first_received_ms.to_string()),
        ),
        ("AWSTraceHeader", content.trace_header.clone()),
        ("MessageGroupId", content.group.clone()),
        ("MessageDeduplicationId", content.deduplication_id.clone()),
        (
            "SequenceNumber",
            is_fifo.then(|| format!("{:020}", received.sequence)),
        ),
        ("DeadLetterQueueSourceArn", content.dead_letter_source.clone()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
        .collect()
}

fn attribute(attribute: &MessageAttribute) -> Value {
    match &attribute.value {
        AttributeValue::Text(text) => json!({ "DataType": attribute.data_type, "StringValue": text }),
        AttributeValue::Binary(bytes) => {
            json!({ "DataType": attribute.data_type, "BinaryValue": STANDARD.encode(bytes) })
        }
    }
}
