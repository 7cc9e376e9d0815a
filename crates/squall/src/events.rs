//! The engines of events that do not come as a call, opened, run and ended together.

use std::sync::Arc;

use squall_events::Clock;
use squall_events::bus::{Buses, BusesConfig};
use squall_events::mapping::{BucketSource, Mappings, QueueSource, Source};
use squall_events::outbox::{Outbox, OutboxConfig};
use squall_events::queue::{QueueConfig, Queues};
use squall_events::schedule::{Schedules, SchedulesConfig};
use squall_state::State;
use squall_store::Store;
use squall_types::{Deliver, Home, Invoke};
use tokio_util::sync::CancellationToken;

/// Handles to the engines.
#[derive(Clone)]
pub(crate) struct Events {
    /// Queues, for the gateway and for deliveries.
    pub(crate) queues: Queues,
    /// What brings events to functions.
    pub(crate) mappings: Mappings,
    /// Event buses, for the gateway and for deliveries.
    pub(crate) buses: Buses,
    /// Schedules.
    pub(crate) schedules: Schedules,
    /// What rules and schedules send.
    outbox: Outbox,
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
        state: &State,
    ) -> anyhow::Result<Self> {
        let queues = Queues::open(store.clone(), QueueConfig::new(home.clone())).await?;
        let clock = Clock::host();
        let outbox = Outbox::open(store.clone(), clock.clone(), OutboxConfig::default()).await?;
        let config = BusesConfig {
            home: home.clone(),
            ..BusesConfig::default()
        };
        let buses = Buses::open(store.clone(), outbox.clone(), clock.clone(), config).await?;
        let config = SchedulesConfig {
            home: home.clone(),
            ..SchedulesConfig::default()
        };
        let rules = Arc::new(buses.clone());
        let schedules = Schedules::open(store.clone(), outbox.clone(), rules, clock, config).await?;
        let buckets = BucketSource::open(store.clone(), state.clone(), home).await?;
        let sources: Vec<Arc<dyn Source>> =
            vec![Arc::new(QueueSource::new(queues.clone())), Arc::new(buckets)];
        let mappings = Mappings::open(store, invoke, sources).await?;
        Ok(Self {
            queues,
            mappings,
            buses,
            schedules,
            outbox,
        })
    }

    /// Says who takes what rules and schedules send. Until then nothing is sent.
    pub(crate) fn deliver_through(&self, deliver: Arc<dyn Deliver>) {
        self.outbox.connect(deliver);
    }

    /// Where what is to be told is written with what it tells of.
    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Takes no new work: nobody waits for messages any more.
    pub(crate) fn drain(&self) {
        self.outbox.drain();
        self.mappings.drain();
        self.queues.drain();
    }

    /// Runs them until `stop`, and then until what they began is done.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Mappings settle their last batches with their queues, and deliveries may be to queues: those end after them.
        // What schedules write last is delivered at the next start, if not before.
        let (fired, settled) = (CancellationToken::new(), CancellationToken::new());
        let firing = async {
            self.schedules.run(stop.clone()).await;
            fired.cancel();
        };
        let working = async {
            tokio::join!(
                firing,
                self.outbox.run(fired.clone()),
                self.mappings.run(stop.clone())
            );
            settled.cancel();
        };
        tokio::join!(working, self.queues.run(settled.clone()));
    }
}
