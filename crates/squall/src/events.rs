//! The engines of events that do not come as a call, opened, run and ended together.

use std::sync::Arc;

use squall_events::queue::{QueueConfig, Queues};
use squall_store::Store;
use squall_types::Home;
use tokio_util::sync::CancellationToken;

/// Handles to the engines.
#[derive(Clone)]
pub(crate) struct Events {
    /// Queues, for the gateway and for deliveries.
    pub(crate) queues: Queues,
}

impl Events {
    /// Reads what they hold.
    ///
    /// # Errors
    /// When the store fails or holds something damaged.
    pub(crate) async fn open(store: Arc<dyn Store>, home: Home) -> anyhow::Result<Self> {
        let queues = Queues::open(store, QueueConfig::new(home)).await?;
        Ok(Self { queues })
    }

    /// Takes no new work: nobody waits for messages any more.
    pub(crate) fn drain(&self) {
        self.queues.drain();
    }

    /// Runs them until `stop`, and then until what they began is done.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.queues.run(stop).await;
    }
}
