//! The actions of SQS's API that the commands use, in its JSON protocol.

use anyhow::{Context, bail};
use http::Method;
use serde_json::{Value, json};

use super::{Call, Client};

impl Client {
    /// One action; its answer is JSON.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn sqs(&self, action: &str, input: &Value) -> anyhow::Result<Value> {
        let mut call = Call::new(Method::POST, "/")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .header("content-type", "application/x-amz-json-1.0");
        call.body = input.to_string().into();
        call.service = "sqs";
        self.send(call).await?.json()
    }

    /// The URL by which the other actions know a queue.
    pub(crate) async fn queue_url(&self, name: &str) -> anyhow::Result<String> {
        let answer = self.sqs("GetQueueUrl", &json!({ "QueueName": name })).await;
        let answer = answer.with_context(|| format!("could not find the queue `{name}`"))?;
        match answer["QueueUrl"].as_str() {
            Some(url) => Ok(url.to_owned()),
            None => bail!("could not read the server's answer: it has no `QueueUrl`"),
        }
    }

    /// All attributes of a queue: texts, by name.
    pub(crate) async fn queue_attributes(&self, url: &str) -> anyhow::Result<Value> {
        let input = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        let mut answer = self.sqs("GetQueueAttributes", &input).await?;
        Ok(answer["Attributes"].take())
    }

    /// A queue's ARN.
    pub(crate) async fn queue_arn(&self, name: &str) -> anyhow::Result<String> {
        let attributes = self.queue_attributes(&self.queue_url(name).await?).await?;
        match attributes["QueueArn"].as_str() {
            Some(arn) => Ok(arn.to_owned()),
            None => bail!("could not read the server's answer: it has no `QueueArn`"),
        }
    }
}
