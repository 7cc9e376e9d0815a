//! Actions on queues themselves.

use serde_json::{Value, json};

use super::error::SqsError;
use super::{Answer, Call};

const PAGE_ITEMS_MAX: u32 = 1000;
/// What can be asked for by name.
const ATTRIBUTE_NAMES: [&str; 22] = [
    "All",
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "ApproximateNumberOfMessagesDelayed",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

impl Call<'_> {
    pub(super) async fn create_queue(&self) -> Answer {
        let name = self.input.required("QueueName")?;
        let tags = self.input.map("tags")?;
        self.queues
            .create(name, &self.input.map("Attributes")?, tags)
            .await?;
        Ok(json!({ "QueueUrl": self.url(name) }))
    }

    pub(super) fn get_queue_url(&self) -> Answer {
        let name = self.input.required("QueueName")?;
        self.queues.view(name)?;
        Ok(json!({ "QueueUrl": self.url(name) }))
    }

    pub(super) fn list_queues(&self) -> Answer {
        let prefix = self.input.text("QueueNamePrefix")?.unwrap_or("");
        self.page("QueueUrls", self.queues.names(prefix))
    }

    pub(super) fn list_dead_letter_sources(&self) -> Answer {
        self.page("queueUrls", self.queues.dead_letter_sources(&self.queue()?)?)
    }

    /// A page of URLs. The token is the last name of the page before; it comes only when a size was asked for.
    fn page(&self, member: &str, names: Vec<String>) -> Answer {
        let max = self.input.number("MaxResults", 1, PAGE_ITEMS_MAX)?;
        let after = self.input.text("NextToken")?.unwrap_or("");
        let rest: Vec<String> = names.into_iter().filter(|name| name.as_str() > after).collect();
        let size = max.unwrap_or(PAGE_ITEMS_MAX) as usize;
        let urls: Vec<String> = rest.iter().take(size).map(|name| self.url(name)).collect();
        let mut answer = json!({});
        if rest.len() > size && max.is_some() {
            answer["NextToken"] = Value::from(rest[size - 1].clone());
        }
        if !urls.is_empty() || member == "queueUrls" {
            answer[member] = Value::from(urls);
        }
        Ok(answer)
    }

    pub(super) async fn delete_queue(&self) -> Answer {
        self.queues.remove_queue(&self.queue()?).await?;
        Ok(json!({}))
    }

    pub(super) async fn purge_queue(&self) -> Answer {
        self.queues.purge(&self.queue()?).await?;
        Ok(json!({}))
    }

    pub(super) fn get_queue_attributes(&self) -> Answer {
        let view = self.queues.view(&self.queue()?)?;
        let asked = self.input.texts("AttributeNames")?;
        if let Some(unknown) = asked
            .iter()
            .find(|name| !ATTRIBUTE_NAMES.contains(&name.as_str()))
        {
            return Err(SqsError::new(
                "InvalidAttributeName",
                format!("Unknown Attribute {unknown}."),
            ));
        }
        let all = asked.iter().any(|name| name == "All");
        let mut shown = view.shown();
        shown.retain(|name, _| all || asked.contains(name));
        match shown.is_empty() {
            true => Ok(json!({})),
            false => Ok(json!({ "Attributes": shown })),
        }
    }

    pub(super) async fn set_queue_attributes(&self) -> Answer {
        let attributes = self.input.map("Attributes")?;
        if attributes.is_empty() {
            return Err(SqsError::missing("Attributes"));
        }
        self.queues.set_attributes(&self.queue()?, &attributes).await?;
        Ok(json!({}))
    }

    pub(super) fn list_queue_tags(&self) -> Answer {
        let tags = self.queues.view(&self.queue()?)?.tags;
        match tags.is_empty() {
            true => Ok(json!({})),
            false => Ok(json!({ "Tags": tags })),
        }
    }

    pub(super) async fn tag_queue(&self) -> Answer {
        let tags = self.input.map("Tags")?;
        if tags.is_empty() {
            return Err(SqsError::missing("Tags"));
        }
        self.queues.tag(&self.queue()?, tags, &[]).await?;
        Ok(json!({}))
    }

    pub(super) async fn untag_queue(&self) -> Answer {
        let keys = self.input.texts("TagKeys")?;
        if keys.is_empty() {
            return Err(SqsError::missing("TagKeys"));
        }
        self.queues.tag(&self.queue()?, Default::default(), &keys).await?;
        Ok(json!({}))
    }

    pub(super) fn start_move(&self) -> Answer {
        let source = self.input.required("SourceArn")?;
        let destination = self.input.text("DestinationArn")?.map(str::to_owned);
        let rate = self.input.number("MaxNumberOfMessagesPerSecond", 1, 500)?;
        let handle = self.queues.start_move(source, destination, rate)?;
        Ok(json!({ "TaskHandle": handle }))
    }

    pub(super) fn cancel_move(&self) -> Answer {
        let moved = self.queues.cancel_move(self.input.required("TaskHandle")?)?;
        Ok(json!({ "ApproximateNumberOfMessagesMoved": moved }))
    }

    pub(super) fn list_moves(&self) -> Answer {
        let max = self.input.number("MaxResults", 1, 10)?.unwrap_or(1) as usize;
        let tasks = self.queues.moves(self.input.required("SourceArn")?, max);
        let results: Vec<Value> = tasks
            .into_iter()
            .map(|task| {
                let mut shape = json!({
                    "Status": task.status,
                    "SourceArn": task.source_arn,
                    "ApproximateNumberOfMessagesMoved": task.moved,
                    "ApproximateNumberOfMessagesToMove": task.to_move,
                    "StartedTimestamp": task.started_ms,
                });
                let optional = [
                    ("DestinationArn", task.destination_arn.map(Value::from)),
                    (
                        "MaxNumberOfMessagesPerSecond",
                        task.per_second_max.map(Value::from),
                    ),
                    ("FailureReason", task.failure.map(Value::from)),
                    (
                        "TaskHandle",
                        (task.status == "RUNNING").then(|| task.handle.into()),
                    ),
                ];
                for (name, value) in optional {
                    if let Some(value) = value {
                        shape[name] = value;
                    }
                }
                shape
            })
            .collect();
        Ok(json!({ "Results": results }))
    }
}
