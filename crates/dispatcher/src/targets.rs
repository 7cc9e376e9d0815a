//! Functions as targets: what a destination or a dead-letter queue hands to a function becomes an accepted event.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use squall_types::{Deliver, DeliverError, Delivery, FunctionRef, Invocation, InvokeError};

use crate::dispatcher::{Dispatcher, Inner};

/// The functions that the dispatcher runs. Does not keep it alive: the dispatcher holds its targets itself.
pub(crate) struct FunctionTargets {
    inner: Weak<Inner>,
}

impl FunctionTargets {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        let inner = Arc::downgrade(inner);
        Self { inner }
    }

    fn dispatcher(&self) -> Result<Dispatcher, DeliverError> {
        let gone = || DeliverError::Unavailable("the server is shutting down".to_owned());
        self.inner.upgrade().map(Dispatcher::from).ok_or_else(gone)
    }
}

#[async_trait]
impl Deliver for FunctionTargets {
    fn check(&self, arn: &str) -> Result<(), DeliverError> {
        let inner = self.inner.upgrade();
        match inner.map(|inner| inner.resolver.resolve(&target(arn)?).map_err(refusal(arn))) {
            // A function that cannot run yet can be named already.
            Some(Err(DeliverError::NotFound(arn))) => Err(DeliverError::NotFound(arn)),
            _ => Ok(()),
        }
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        let mut invocation = Invocation::new(target(arn)?, message.body);
        invocation.request_id = message.id.unwrap_or(invocation.request_id);
        if message.attributes.contains_key("RequestID") {
            // Lambda has no functions as dead-letter queues; here the attributes are in the context, as a client's own.
            let context = serde_json::json!({ "custom": message.attributes });
            invocation.client_context = Some(Bytes::from(context.to_string()));
        }
        // A sender that crashed before it knew sends again: the event must not run for that.
        let accepted = self
            .dispatcher()?
            .accept_with(invocation, Vec::new(), message.id)
            .await;
        accepted.map_err(refusal(arn))
    }
}

fn target(arn: &str) -> Result<FunctionRef, DeliverError> {
    arn.parse().map_err(|_| DeliverError::NotFound(arn.to_owned()))
}

fn refusal(arn: &str) -> impl FnOnce(InvokeError) -> DeliverError {
    let arn = arn.to_owned();
    move |error| match error {
        InvokeError::NotFound(_) => DeliverError::NotFound(arn),
        InvokeError::PayloadTooLarge { .. } => DeliverError::Refused(error.to_string()),
        error => DeliverError::Unavailable(error.to_string()),
    }
}
