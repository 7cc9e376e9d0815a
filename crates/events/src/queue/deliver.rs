//! Queues as targets of destinations, dead-letter configurations and rules.
//!
//! A FIFO queue wants the attribute `MessageGroupId`, which rules and schedules set; it is the message's group then.

use async_trait::async_trait;
use squall_types::{Deliver, DeliverError, Delivery};

use super::message::{AttributeValue, MessageAttribute, NewMessage};
use super::{QueueError, Queues};

/// Who sends what nobody's key has sent.
const SENDER: &str = "squall";

#[async_trait]
impl Deliver for Queues {
    fn check(&self, arn: &str) -> Result<(), DeliverError> {
        let absent = || DeliverError::NotFound(arn.to_owned());
        let name = self.0.name_in(arn).ok_or_else(absent)?;
        self.find(name).map_err(|_| absent())?;
        Ok(())
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        self.check(arn)?;
        let name = self
            .0
            .name_in(arn)
            .ok_or_else(|| DeliverError::NotFound(arn.to_owned()))?;
        let body = String::from_utf8(message.body.to_vec())
            .map_err(|_| DeliverError::Refused("its body is not text".to_owned()))?;
        let id = message.id;
        let mut attributes = message.attributes;
        let group = attributes.remove("MessageGroupId");
        // A delivery that is repeated has the same id, and is the same message.
        let deduplication_id = id.filter(|_| name.ends_with(".fifo"));
        let attributes = attributes.into_iter().map(|(name, text)| {
            let attribute = MessageAttribute {
                data_type: "String".to_owned(),
                value: AttributeValue::Text(text),
            };
            (name, attribute)
        });
        let message = NewMessage {
            body,
            attributes: attributes.collect(),
            group,
            deduplication_id: deduplication_id.map(|id| id.to_string()),
            ..NewMessage::default()
        };
        // A sender that crashed before it knew sends again: there must not be two messages for that.
        match self.send_once(name, message, SENDER, id).await {
            Ok(()) => Ok(()),
            Err(QueueError::NoSuchQueue) => Err(DeliverError::NotFound(arn.to_owned())),
            Err(error @ (QueueError::Store(_) | QueueError::OverLimit(_))) => {
                Err(DeliverError::Unavailable(error.to_string()))
            }
            Err(error) => Err(DeliverError::Refused(error.to_string())),
        }
    }
}
