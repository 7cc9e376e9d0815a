//! Handing a message over to what an ARN names: a function, a queue, an event bus.
//!
//! The dispatcher calls it for destinations and dead-letter queues. Each kind of target has its own implementation;
//! the binary puts in front of them one that picks by the ARN's service, [`DeliverByService`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::RequestId;

/// A message for a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What it says, in most cases a JSON document.
    pub body: Bytes,
    /// Named strings beside it, where the target has a place for them; others ignore them.
    pub attributes: BTreeMap<String, String>,
    /// Names the delivery, where its sender may have to repeat it: every attempt has the same id.
    /// A function sees it as its request id, and a target that remembers ids takes each once.
    pub id: Option<RequestId>,
}

/// Takes messages for the targets of one kind, or of all kinds.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Whether the target is there and takes messages. In memory: configuration asks it before it names a target.
    ///
    /// # Errors
    /// [`DeliverError::NotFound`], [`DeliverError::Unsupported`] and [`DeliverError::Refused`].
    fn check(&self, arn: &str) -> Result<(), DeliverError>;

    /// Hands the message over. When this returns `Ok`, the target has it durably, at least once.
    ///
    /// # Errors
    /// Nothing is known to be at the target then; [`DeliverError::is_retryable`] says whether to try again.
    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError>;
}

/// Why a message is not at its target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The ARN names nothing that exists.
    #[error("there is no `{0}`")]
    NotFound(String),
    /// Nothing here delivers to that kind of target.
    #[error("deliveries to `{0}` are not supported")]
    Unsupported(String),
    /// The target will never take this message: it is too large, say.
    #[error("the target refused the message: {0}")]
    Refused(String),
    /// The target cannot take it now: it is full, the store failed, the server is shutting down.
    #[error("the target could not take the message: {0}")]
    Unavailable(String),
}

impl DeliverError {
    /// Whether the same delivery may succeed later, without anybody changing anything.
    /// A target that is missing may be made again, so only its owner can say.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Unavailable(_))
    }
}

/// Picks who delivers by the service in the ARN: `arn:aws:SERVICE:…`.
#[derive(Clone, Default)]
pub struct DeliverByService {
    services: BTreeMap<&'static str, Arc<dyn Deliver>>,
}

impl DeliverByService {
    /// One that knows no service yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds who delivers to a service's targets.
    #[must_use]
    pub fn with(mut self, service: &'static str, deliver: Arc<dyn Deliver>) -> Self {
        self.services.insert(service, deliver);
        self
    }

    fn of(&self, arn: &str) -> Result<&Arc<dyn Deliver>, DeliverError> {
        let service = arn.split(':').nth(2).unwrap_or_default();
        let known = self.services.get(service);
        known.ok_or_else(|| DeliverError::Unsupported(arn.to_owned()))
    }
}

#[async_trait]
impl Deliver for DeliverByService {
    fn check(&self, arn: &str) -> Result<(), DeliverError> {
        self.of(arn)?.check(arn)
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        self.of(arn)?.deliver(arn, message).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only(&'static str);

    #[async_trait]
    impl Deliver for Only {
        fn check(&self, arn: &str) -> Result<(), DeliverError> {
            match arn == self.0 {
                true => Ok(()),
                false => Err(DeliverError::NotFound(arn.to_owned())),
            }
        }

        async fn deliver(&self, arn: &str, _: Delivery) -> Result<(), DeliverError> {
            self.check(arn)
        }
    }

    #[test]
    fn the_service_in_the_arn_says_who_delivers() {
        let both = DeliverByService::new()
            .with("sqs", Arc::new(Only("arn:aws:sqs:r:a:q")))
            .with("lambda", Arc::new(Only("arn:aws:lambda:r:a:function:f")));
        assert_eq!(both.check("arn:aws:sqs:r:a:q"), Ok(()));
        assert_eq!(both.check("arn:aws:lambda:r:a:function:f"), Ok(()));
        let missing = "arn:aws:sqs:r:a:other".to_owned();
        assert_eq!(both.check(&missing), Err(DeliverError::NotFound(missing.clone())));
        for other in ["arn:aws:sns:r:a:t", "nonsense", ""] {
            assert_eq!(
                both.check(other),
                Err(DeliverError::Unsupported(other.to_owned()))
            );
        }
    }
}
