//! What rules and schedules send: written in the batch that decides to send it, delivered at least once, tried again,
//! in the end given to a dead-letter queue.
//!
//! Buses and schedules write into it; `run` is the one loop that delivers. Memory holds an entry of some forty bytes
//! per parcel, bodies stay in the store. Its bound is on parcels: who finds no room waits or is throttled.

mod attempt;
mod parcel;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use squall_store::{Batch, Scan, Space, Store, StoreError};
use squall_types::{Deliver, DeliverError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use parcel::{GivenUp, Parcel};

use crate::clock::Clock;

const PARCELS: Space = Space("parcels");
const PREFIX: &[u8] = b"p";
const OPEN_PAGE_RECORDS: usize = 256;
/// How long the loop sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// The outbox's bounds.
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// The most parcels that wait.
    pub parcels_max: usize,
    /// The most attempts at once.
    pub attempts_max: usize,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            parcels_max: 200_000,
            attempts_max: 64,
        }
    }
}

/// The outbox. A cheap handle.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    config: OutboxConfig,
    deliver: OnceLock<Arc<dyn Deliver>>,
    index: Mutex<Index>,
    /// Something may be ready.
    wake: Notify,
    /// There may be room again.
    room: Notify,
    is_draining: AtomicBool,
}

#[derive(Default)]
struct Index {
    ready: VecDeque<Bytes>,
    delayed: BTreeMap<(Instant, Bytes), ()>,
    /// Ready, delayed, under way, or about to be written.
    total: usize,
}

/// Places for parcels that are about to be written; those that are not used are given back.
pub struct Room {
    outbox: Outbox,
    places: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.outbox.release(self.places);
    }
}

impl Outbox {
    /// Reads what was to be delivered before.
    ///
    /// # Errors
    /// When the store cannot be read, or a record is damaged.
    pub async fn open(store: Arc<dyn Store>, clock: Clock, config: OutboxConfig) -> Result<Self, StoreError> {
        let mut index = Index::default();
        let mut scan = Scan::prefix(PARCELS, PREFIX).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = store.scan(scan.clone()).await?;
            for (key, entry) in &page {
                Parcel::decode(&entry.value)
                    .map_err(|reason| StoreError::Corrupt(format!("a parcel: {reason}")))?;
                index.ready.push_back(key.clone());
                index.total += 1;
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        let inner = Inner {
            store,
            clock,
            config,
            deliver: OnceLock::new(),
            index: Mutex::new(index),
            wake: Notify::new(),
            room: Notify::new(),
            is_draining: AtomicBool::new(false),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Says who delivers. The first call counts; until then nothing is delivered and no target is known.
    pub fn connect(&self, deliver: Arc<dyn Deliver>) {
        // A second deliverer would be a mistake of the composition root, and the first one works.
        let _ = self.inner.deliver.set(deliver);
        self.inner.wake.notify_one();
    }

    /// Whether a target is there and takes messages.
    ///
    /// # Errors
    /// As [`Deliver::check`].
    pub fn check(&self, arn: &str) -> Result<(), DeliverError> {
        match self.inner.deliver.get() {
            Some(deliver) => deliver.check(arn),
            None => Err(DeliverError::Unavailable("the server is starting".to_owned())),
        }
    }

    /// Places for so many parcels, or `None` when the outbox is full.
    pub fn reserve(&self, places: usize) -> Option<Room> {
        let mut index = self.index();
        if index.total + places > self.inner.config.parcels_max {
            return None;
        }
        index.total += places;
        Some(Room {
            outbox: self.clone(),
            places,
        })
    }

    /// Places for so many parcels, as soon as there are. One that wants more than there can be gets them when the
    /// outbox is empty: else it would wait for ever.
    pub async fn wait_for_room(&self, places: usize) -> Room {
        let mut has_complained = false;
        loop {
            let freed = self.inner.room.notified();
            tokio::pin!(freed);
            // Before it looks: what is freed between the look and the wait must wake it.
            freed.as_mut().enable();
            if let Some(room) = self.reserve(places.min(self.inner.config.parcels_max)) {
                return room;
            }
            if !has_complained {
                tracing::warn!("schedules wait: too many messages are on their way");
                has_complained = true;
            }
            freed.await;
        }
    }

    /// Begins no more attempts. What fails from now on fails with the server, and does not count.
    pub fn drain(&self) {
        self.inner.is_draining.store(true, Ordering::Relaxed);
    }

    /// Adds the parcels to a batch.
    #[must_use]
    pub fn write(batch: Batch, parcels: &[Parcel]) -> Batch {
        parcels.iter().fold(batch, |batch, parcel| {
            batch.append(PARCELS, PREFIX, parcel.encode())
        })
    }

    /// Takes over parcels that were written: `keys` are those that the batch's appends were given.
    pub fn posted(&self, mut room: Room, keys: Vec<Bytes>) {
        let more = keys.len().saturating_sub(room.places);
        room.places = room.places.saturating_sub(keys.len());
        let mut index = self.index();
        index.total += more;
        index.ready.extend(keys);
        drop(index);
        self.inner.wake.notify_one();
    }

    /// Parcels that wait or are under way.
    pub fn len(&self) -> usize {
        self.index().total
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Delivers until `shutdown`; attempts under way then are finished.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut attempts = JoinSet::new();
        loop {
            while attempts.len() < self.inner.config.attempts_max
                && let Some((key, deliver)) = self.next()
            {
                attempts.spawn(attempt::attempt(self.clone(), deliver, key));
            }
            let due = self.index().delayed.first_key_value().map(|((due, _), ())| *due);
            let is_draining = self.inner.is_draining.load(Ordering::Relaxed);
            let due = due
                .filter(|_| !is_draining)
                .unwrap_or_else(|| Instant::now() + NOTHING_DUE);
            let has_place = attempts.len() < self.inner.config.attempts_max;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.inner.wake.notified(), if has_place => {}
                () = tokio::time::sleep_until(due), if has_place => {}
                Some(_) = attempts.join_next() => {}
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    fn next(&self) -> Option<(Bytes, Arc<dyn Deliver>)> {
        let deliver = self.inner.deliver.get()?;
        if self.inner.is_draining.load(Ordering::Relaxed) {
            return None;
        }
        let mut index = self.index();
        let now = Instant::now();
        while let Some(entry) = index.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((_, key), ()) = entry.remove_entry();
            index.ready.push_back(key);
        }
        let key = index.ready.pop_front()?;
        Some((key, deliver.clone()))
    }

    fn release(&self, places: usize) {
        if places > 0 {
            self.index().total -= places;
            self.inner.room.notify_waiters();
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic under this lock is a bug in counting; the parcels are in the store whatever the index says.
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
