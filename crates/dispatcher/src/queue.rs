//! Accepted events: written before they are acknowledged, run at least once, tried again, handed on in the end.
//!
//! The store holds the events, the index in memory only their order. An event is read by its key when its turn comes;
//! nothing ever scans past the remains of removed ones. Removing a finished event is buffered: after a power loss it may
//! run once more.

mod attempt;
mod document;
mod ending;
mod index;
mod places;
pub(crate) mod record;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use squall_store::once::{Once, OnceConfig, Taken};
use squall_store::{Batch, Committed, Op, Scan, Space, Store, StoreError};
use squall_types::{FunctionName, FunctionRef, Invocation, InvokeError, RequestId, ThrottleReason};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::index::{Bounds, Index, Item};
use self::places::{Place, Places};
use self::record::Event;
use crate::config::{DispatcherConfig, OpenError};
use crate::dispatcher::Inner;
use crate::log::unix_ms;
use crate::resolve::Resolve;
use crate::stats::Stats;

pub(crate) use attempt::{forget, read};
pub(crate) use ending::{discard, expire};

/// Names the queue among those that take deliveries once.
const RECEIVER: &str = "functions";
/// Where accepted events are.
pub(crate) const EVENTS: Space = Space("events");
/// Records that are read at once when the queue is opened; each may carry a payload of a mebibyte.
const OPEN_PAGE_RECORDS: usize = 64;
/// What a caller is told to wait when the queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the loop sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// The queue of accepted events.
pub(crate) struct Queue {
    store: Arc<dyn Store>,
    /// Deliveries that were taken: their senders may repeat them.
    delivered: Once,
    index: Mutex<Index>,
    /// Those on their way.
    places: Mutex<Places>,
    /// Those that were given up.
    failed: Mutex<Places>,
    /// Something may be ready to run.
    wake: Notify,
    is_closed: AtomicBool,
}

impl Queue {
    /// Reads what was accepted before.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        config: &DispatcherConfig,
        resolver: &dyn Resolve,
    ) -> Result<Self, OpenError> {
        // Accepted events never take more than half of the host: calls have people waiting.
        let running_max = config.async_max.min(config.instances_max / 2).max(1);
        let bounds = Bounds {
            per_function_max: config.queued_per_function_max,
            total_max: config.queued_max,
            running_per_function_max: config.async_per_function_max.max(1),
            running_max,
        };
        let queue = Self {
            delivered: Once::open(store.clone(), RECEIVER, OnceConfig::default()).await?,
            store,
            index: Mutex::new(Index::new(bounds)),
            places: Mutex::default(),
            failed: Mutex::default(),
            wake: Notify::new(),
            is_closed: AtomicBool::new(false),
        };
        queue
            .read_all(record::PREFIX, |sequence, event| {
                queue.index().hold(&event.target.name);
                queue.insert(sequence, event, age_max(resolver, config, &event.target));
            })
            .await?;
        queue
            .read_all(record::FAILED, |sequence, event| {
                queue.failed().insert(sequence, place(event, event.born()));
            })
            .await?;
        Ok(queue)
    }

    /// Shows all records of one kind, in their order.
    async fn read_all(&self, prefix: &'static [u8], see: impl Fn(u64, &Event)) -> Result<(), OpenError> {
        let mut scan = Scan::prefix(EVENTS, prefix).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = self.store.scan(scan.clone()).await?;
            for (key, entry) in &page {
                let sequence = record::sequence(prefix, key)?;
                let event =
                    Event::decode(&entry.value).map_err(|reason| OpenError::Damaged { sequence, reason })?;
                see(sequence, &event);
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Writes the event, and in the same batch what is to be `beside` it. When this returns `Ok`, both survive power
    /// loss. To be polled to its end.
    ///
    /// `once` names the delivery that it came by, which its sender may repeat: only the first is written.
    pub(crate) async fn accept(
        &self,
        invocation: Invocation,
        age_max: Duration,
        beside: Vec<Op>,
        once: Option<RequestId>,
    ) -> Result<(), InvokeError> {
        let event = Event::new(invocation, SystemTime::now());
        let name = &event.target.name;
        if !self.index().reserve(name) {
            return Err(full());
        }
        let mut batch = Batch::durable().append(EVENTS, record::PREFIX, event.encode());
        batch.ops.extend(beside);
        let written = match once {
            None => self.commit_append(batch).await.map(Some),
            Some(id) => match self.delivered.commit(batch, id.0.as_bytes()).await {
                Ok(Taken::Now(committed)) => appended(&committed).map(Some),
                Ok(Taken::Before) => Ok(None),
                Err(error) => Err(error),
            },
        };
        match written {
            Ok(None) => {
                self.index().release(name);
                Ok(())
            }
            Ok(Some(sequence)) => {
                self.insert(sequence, &event, age_max);
                self.wake();
                Ok(())
            }
            Err(error) => {
                self.index().release(name);
                tracing::error!(function = %name, %error, "could not write an accepted event");
                Err(InvokeError::Platform(
                    "could not write the event to the queue".to_owned(),
                ))
            }
        }
    }

    /// Commits a batch whose first operation appends an event, and gives the event's sequence number.
    pub(crate) async fn commit_append(&self, batch: Batch) -> Result<u64, StoreError> {
        appended(&self.store.commit(batch).await?)
    }

    /// Runs no more events; they stay in the store.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Adds what it knows to `stats`.
    pub(crate) fn count(&self, stats: &mut Stats, now: Instant) {
        for (name, events, oldest_age) in self.index().counts(now) {
            let function = stats.functions.entry(name.clone()).or_default();
            function.queued_events = events;
            function.oldest_event_age = oldest_age;
        }
    }

    /// Puts an event in its place in the index. Wall-clock times become moments of this process.
    pub(crate) fn insert(&self, sequence: u64, event: &Event, age_max: Duration) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        self.places().insert(sequence, place(event, event.accepted));
        let age = wall.duration_since(event.born()).unwrap_or_default();
        // Where the clock was set back to before its birth, the event waits as long as it would have then, not until
        // the clock is there again.
        let delay = event
            .due
            .duration_since(wall.max(event.born()))
            .unwrap_or_default();
        let item = Item {
            sequence,
            expires: now + age_max.saturating_sub(age),
            age_max,
            backoffs: 0,
            refusal: None,
        };
        // A clock that was set back must not hold an event past its age.
        let due = (now + delay).min(item.expires);
        self.index().insert(&event.target.name, item, due, now);
    }

    fn next(&self) -> Option<(FunctionName, Item)> {
        if self.is_closed.load(Ordering::Relaxed) {
            return None;
        }
        self.index().next(Instant::now())
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failed(&self) -> MutexGuard<'_, Places> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        // A panic under this lock is a bug in counting; events are in the store whatever the index says.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sequence number of the event that a batch's first operation appended.
fn appended(committed: &Committed) -> Result<u64, StoreError> {
    let key = committed.appended.first();
    match key.map(|key| record::sequence(record::PREFIX, key)) {
        Some(Ok(sequence)) => Ok(sequence),
        _ => Err(StoreError::Corrupt("an append did not give its key".to_owned())),
    }
}

/// How long an event for `target` is kept.
pub(crate) fn age_max(resolver: &dyn Resolve, config: &DispatcherConfig, target: &FunctionRef) -> Duration {
    let policy = resolver.event_policy(target);
    policy.age_max.unwrap_or(config.event_age_max)
}

/// The queue takes no more.
pub(crate) fn full() -> InvokeError {
    InvokeError::Throttled {
        reason: ThrottleReason::CallerRateLimitExceeded,
        retry_after: RETRY_AFTER,
    }
}

fn place(event: &Event, at: SystemTime) -> Place {
    Place {
        id: event.request_id,
        function: event.target.name.clone(),
        at_ms: unix_ms(at),
    }
}

/// Starts what is due, until it is dropped.
pub(crate) async fn run(inner: &Arc<Inner>) {
    let queue = &inner.queue;
    loop {
        while let Some((name, item)) = queue.next() {
            let attempt = attempt::attempt(inner.clone(), name, item);
            inner.tasks.spawn_on(attempt, &inner.handle);
        }
        let due = queue.index().next_due();
        let due = due.unwrap_or_else(|| Instant::now() + NOTHING_DUE);
        tokio::select! {
            () = queue.wake.notified() => {}
            () = sleep_until(due), if !queue.is_closed.load(Ordering::Relaxed) => {}
        }
    }
}
