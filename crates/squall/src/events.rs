//! The engines of events that do not come as a call, opened, run and ended together.

use std::sync::Arc;

use squall_events::mapping::{Mappings, QueueSource, Source};
use squall_events::queue::{QueueConfig, Queues};
use squall_store::Store;
use squall_types::{Home, Invoke};
use tokio_util::sync::CancellationToken;

/// Handles to the engines.
#[derive(Clone)]
pub(crate) struct Events {
    /// Queues, for the gateway and for deliveries.
    pub(crate) queues: Queues,
    /// What brings events to functions.
    pub(crate) mappings: Mappings,
}

impl Events {
    /// Reads what they hold.
    ///
    /// # Errors
    /// When the store fails or holds something damaged.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        home: Home,
        invoke: Arc<dyn Invoke>,
    ) -> anyhow::Result<Self> {
        let queues = Queues::open(store.clone(), QueueConfig::new(home)).await?;
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(QueueSource::new(queues.clone()))];
        let mappings = Mappings::open(store, invoke, sources).await?;
        Ok(Self { queues, mappings })
    }

    /// Takes no new work: nobody waits for messages any more.
    pub(crate) fn drain(&self) {
        self.mappings.drain();
        self.queues.drain();
    }

    /// Runs them until `stop`, and then until what they began is done.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Mappings settle their last batches with their queues: those end after them.
        let settled = CancellationToken::new();
        let mapping = async {
            self.mappings.run(stop).await;
            settled.cancel();
        };
        tokio::join!(mapping, self.queues.run(settled.clone()));
    }
}
