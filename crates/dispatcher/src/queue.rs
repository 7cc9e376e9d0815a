//! Accepted events: written before they are acknowledged, run at least once, tried again, dropped in the end.
//!
//! The store holds the events, the index in memory only their order. An event is read by its key when its turn comes;
//! nothing ever scans past the remains of removed ones. Removing a finished event is buffered: after a power loss it may
//! run once more.

mod attempt;
mod index;
mod record;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use squall_store::{Batch, Scan, Space, Store, StoreError};
use squall_types::{FunctionName, Invocation, InvokeError, ThrottleReason};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::index::{Bounds, Index, Item};
use self::record::Event;
use crate::config::{DispatcherConfig, OpenError};
use crate::dispatcher::Inner;
use crate::stats::Stats;

pub(crate) use attempt::forget;

/// Where accepted events are.
const EVENTS: Space = Space("events");
/// Records that are read at once when the queue is opened; each may carry a payload of a mebibyte.
const OPEN_PAGE_RECORDS: usize = 64;
/// What a caller is told to wait when the queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the loop sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// The queue of accepted events.
pub(crate) struct Queue {
    store: Arc<dyn Store>,
    index: Mutex<Index>,
    /// Something may be ready to run.
    wake: Notify,
    is_closed: AtomicBool,
    event_age_max: Duration,
}

impl Queue {
    /// Reads what was accepted before.
    pub(crate) async fn open(store: Arc<dyn Store>, config: &DispatcherConfig) -> Result<Self, OpenError> {
        // Accepted events never take more than half of the host: calls have people waiting.
        let running_max = config.async_max.min(config.instances_max / 2).max(1);
        let bounds = Bounds {
            per_function_max: config.queued_per_function_max,
            total_max: config.queued_max,
            running_per_function_max: config.async_per_function_max.max(1),
            running_max,
        };
        let queue = Self {
            store,
            index: Mutex::new(Index::new(bounds)),
            wake: Notify::new(),
            is_closed: AtomicBool::new(false),
            event_age_max: config.event_age_max,
        };
        let mut scan = Scan::prefix(EVENTS, record::PREFIX).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = queue.store.scan(scan.clone()).await?;
            for (key, entry) in &page {
                let sequence = record::sequence(key)?;
                let event =
                    Event::decode(&entry.value).map_err(|reason| OpenError::Damaged { sequence, reason })?;
                queue.index().hold(&event.target.name);
                queue.insert(sequence, &event);
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => return Ok(queue),
            }
        }
    }

    /// Writes the event. When this returns `Ok`, it survives power loss. To be polled to its end.
    pub(crate) async fn accept(&self, invocation: Invocation) -> Result<(), InvokeError> {
        let event = Event::new(invocation, SystemTime::now());
        let name = &event.target.name;
        if !self.index().reserve(name) {
            return Err(InvokeError::Throttled {
                reason: ThrottleReason::CallerRateLimitExceeded,
                retry_after: RETRY_AFTER,
            });
        }
        match self.write(&event).await {
            Ok(sequence) => {
                self.insert(sequence, &event);
                self.wake.notify_one();
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

    async fn write(&self, event: &Event) -> Result<u64, StoreError> {
        let batch = Batch::durable().append(EVENTS, record::PREFIX, event.encode());
        let committed = self.store.commit(batch).await?;
        let key = committed.appended.first().map(|key| record::sequence(key));
        match key {
            Some(Ok(sequence)) => Ok(sequence),
            _ => Err(StoreError::Corrupt("an append did not give its key".to_owned())),
        }
    }

    /// Runs no more events; they stay in the store.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Adds what it knows to `stats`.
    pub(crate) fn count(&self, stats: &mut Stats, now: Instant) {
        for (name, events, first_expires) in self.index().counts() {
            let function = stats.functions.entry(name.clone()).or_default();
            function.queued_events = events;
            function.oldest_event_age =
                first_expires.map(|expires| self.event_age_max.saturating_sub(expires - now));
        }
    }

    /// Puts an event in its place in the index. Wall-clock times become moments of this process.
    fn insert(&self, sequence: u64, event: &Event) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let age = wall.duration_since(event.accepted).unwrap_or_default();
        let delay = event.due.duration_since(wall).unwrap_or_default();
        let item = Item {
            sequence,
            expires: now + self.event_age_max.saturating_sub(age),
            backoffs: 0,
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

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic under this lock is a bug in counting; events are in the store whatever the index says.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
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
