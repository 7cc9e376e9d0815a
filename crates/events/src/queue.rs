//! Queues of messages: embedded, durable, with SQS's rules.
//!
//! [`Queues`] is the handle: the gateway speaks SQS's protocols for it, mappings take from it, and what delivers to an
//! ARN sends to it. A message is written before it is acknowledged. The store holds the messages, a shelf per queue in
//! memory holds their order: nothing scans past the remains of removed ones, except once when the queues are opened.
//! Bounded by the messages of all queues together, by the number of queues, and by SQS's own limits.
//!
//! What a delivery changes (how often a message was received, until when it is hidden) is written buffered: it survives
//! the process, and a power loss takes back only that. Removals from standard queues are buffered too: after a power
//! loss a removed message may come again, as SQS allows. Removals from FIFO queues are durable.

mod admin;
mod attributes;
mod carry;
mod clock;
mod deliver;
mod error;
mod message;
mod receipt;
mod receive;
mod record;
mod send;
mod settle;
mod shelf;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use squall_store::once::{Once, OnceConfig};
use squall_store::{Batch, Entry, Scan, Space, Store, StoreError};
use squall_types::Home;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::admin::QueueView;
pub use self::attributes::{Attributes, RedrivePolicy};
pub use self::error::QueueError;
pub use self::message::{
    AttributeValue, Content, MessageAttribute, MessageAttributes, NewMessage, Received, md5_of_attributes,
    md5_of_body,
};
pub use self::receive::Receive;
pub use self::send::Sent;
pub use self::shelf::Counts;
pub use self::tasks::MoveTask;

use self::attributes::Definition;
use self::clock::Clock;
use self::record::Seen;
use self::shelf::{Shelf, State};
use self::tasks::MoveTasks;

/// Records that are read at once when the queues are opened.
const OPEN_PAGE_RECORDS: usize = 4096;
/// How often old messages are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How many removals are committed together.
const REMOVED_AT_ONCE: usize = 5_000;

/// What queues may use.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Account and region, for ARNs.
    pub home: Home,
    /// The most messages of all queues together.
    pub messages_max: usize,
    /// The most queues.
    pub queues_max: usize,
    /// The most messages of a standard queue that may be in flight.
    pub in_flight_max: usize,
    /// The same, of a FIFO queue.
    pub in_flight_fifo_max: usize,
}

impl QueueConfig {
    /// The defaults for a server at `home`.
    pub fn new(home: Home) -> Self {
        Self {
            home,
            messages_max: 4_000_000,
            queues_max: 10_000,
            in_flight_max: 120_000,
            in_flight_fifo_max: 20_000,
        }
    }
}

/// All queues of a server. Cheap to clone.
#[derive(Clone)]
pub struct Queues(Arc<Inner>);

struct Inner {
    config: QueueConfig,
    store: Arc<dyn Store>,
    clock: Clock,
    queues: RwLock<HashMap<String, Arc<Queue>>>,
    /// Creating, changing and deleting queues happens one at a time.
    changing: tokio::sync::Mutex<()>,
    /// The last number that was given to a message or a queue.
    last_number: AtomicU64,
    messages: AtomicUsize,
    /// What must end once it has begun, whether or not its caller still waits.
    tasks: TaskTracker,
    moves: MoveTasks,
    stop: CancellationToken,
    /// Deliveries that were taken: their senders may repeat them.
    delivered: Once,
}

/// One queue.
struct Queue {
    name: String,
    id: u64,
    definition: RwLock<Definition>,
    shelf: Mutex<Shelf>,
    /// What a FIFO queue has been sent in the last minutes; `None` while it is being written.
    seen: Mutex<HashMap<String, Option<Seen>>>,
    /// Something may be there to receive.
    wake: Notify,
    /// A send has ended, well or not.
    sent: Notify,
    purged_ms: AtomicU64,
}

impl Queues {
    /// Reads the queues and where their messages stand. `run` must be running for old messages to be removed.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store fails or holds something damaged.
    pub async fn open(store: Arc<dyn Store>, config: QueueConfig) -> Result<Self, QueueError> {
        let inner = Inner {
            delivered: Once::open(store.clone(), "queues", OnceConfig::default()).await?,
            config,
            store,
            clock: Clock::start(),
            queues: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            last_number: AtomicU64::new(0),
            messages: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            moves: MoveTasks::default(),
            stop: CancellationToken::new(),
        };
        inner.read_queues().await?;
        let by_id: HashMap<u64, Arc<Queue>> =
            inner.all().into_iter().map(|queue| (queue.id, queue)).collect();
        inner.read_places(&by_id).await?;
        inner.read_seen(&by_id).await?;
        Ok(Self(Arc::new(inner)))
    }

    /// Removes what is too old, until `stop`; then ends long polls and waits for what has begun.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            if let Err(error) = self.sweep().await {
                tracing::error!(%error, "could not remove old messages");
            }
        }
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Ends all long polls: nobody waits for messages any more.
    pub fn drain(&self) {
        self.0.stop.cancel();
    }

    async fn sweep(&self) -> Result<(), QueueError> {
        for queue in self.0.all() {
            let retention_ms = u64::from(queue.attributes().retention_secs) * 1000;
            let before = self.0.clock.wall_ms().saturating_sub(retention_ms);
            loop {
                let old = {
                    let mut shelf = queue.shelf();
                    let old = shelf.sent_before(before, REMOVED_AT_ONCE);
                    for sequence in &old {
                        shelf.set(*sequence, State::Leaving);
                    }
                    old
                };
                if old.is_empty() {
                    break;
                }
                self.0.remove(&queue, &old, Batch::buffered()).await?;
            }
            self.0.forget_seen(&queue).await?;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Arc<Queue>, QueueError> {
        self.0.find(name)
    }
}

impl Inner {
    fn all(&self) -> Vec<Arc<Queue>> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.values().cloned().collect()
    }

    fn find(&self, name: &str) -> Result<Arc<Queue>, QueueError> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(name).cloned().ok_or(QueueError::NoSuchQueue)
    }

    fn arn(&self, name: &str) -> String {
        let home = &self.config.home;
        format!("arn:aws:sqs:{}:{}:{name}", home.region, home.account)
    }

    /// The name in an ARN of one of our queues.
    fn name_in<'a>(&self, arn: &'a str) -> Option<&'a str> {
        let (head, name) = arn.rsplit_once(':')?;
        (format!("{head}:") == self.arn("")).then_some(name)
    }

    /// Numbers that only grow, also over restarts, as long as the machine's clock was not set back between two.
    fn numbers(&self, count: usize) -> u64 {
        let floor = self.clock.wall_ms() << 20;
        let mut last = self.last_number.load(Ordering::Relaxed);
        loop {
            let first = (last + 1).max(floor);
            let new = first + count as u64 - 1;
            match self
                .last_number
                .compare_exchange_weak(last, new, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return first,
                Err(seen) => last = seen,
            }
        }
    }

    fn saw_number(&self, number: u64) {
        self.last_number.fetch_max(number, Ordering::Relaxed);
    }

    /// Removes messages that are leaving, in the store and then in memory; on failure they are visible again.
    async fn remove(&self, queue: &Queue, sequences: &[u64], mut batch: Batch) -> Result<(), QueueError> {
        for sequence in sequences {
            let key = record::key(queue.id, *sequence);
            batch = batch
                .delete(record::PLACES, key.clone())
                .delete(record::CONTENTS, key);
        }
        let committed = self.store.commit(batch).await;
        let mut shelf = queue.shelf();
        for sequence in sequences {
            match &committed {
                Ok(_) => {
                    if shelf.remove(*sequence).is_some() {
                        self.messages.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                Err(_) => shelf.set(*sequence, State::Ready),
            }
        }
        // A group may have become free.
        let ready = shelf.has_ready();
        drop(shelf);
        if ready {
            queue.wake.notify_one();
        }
        committed?;
        Ok(())
    }

    /// Forgets what was sent too long ago to count as the same.
    async fn forget_seen(&self, queue: &Queue) -> Result<(), QueueError> {
        let now = self.clock.wall_ms();
        let mut batch = Batch::buffered();
        queue.seen().retain(|name, seen| {
            let stays = seen.as_ref().is_none_or(|seen| seen.expires_ms > now);
            if !stays {
                let key = record::seen_key(queue.id, name);
                batch = std::mem::replace(&mut batch, Batch::buffered()).delete(record::SEEN, key);
            }
            stays
        });
        for ops in batch.ops.chunks(REMOVED_AT_ONCE) {
            let part = Batch {
                ops: ops.to_vec(),
                durability: batch.durability,
            };
            self.store.commit(part).await?;
        }
        Ok(())
    }

    async fn read_queues(&self) -> Result<(), QueueError> {
        for (key, entry) in self
            .store
            .scan(Scan::prefix(record::QUEUES, Bytes::new()))
            .await?
        {
            let name = String::from_utf8_lossy(&key).into_owned();
            let definition = record::decode_definition(&entry.value)
                .map_err(|reason| damaged(&format!("the queue `{name}`"), &reason))?;
            self.saw_number(definition.id);
            let queue = Arc::new(Queue::new(&name, definition));
            let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
            queues.insert(name, queue);
        }
        Ok(())
    }

    /// Puts every message on its queue's shelf. What belongs to no queue was deleted with it, and goes.
    async fn read_places(&self, queues: &HashMap<u64, Arc<Queue>>) -> Result<(), QueueError> {
        let now = self.clock.now_ms();
        self.each(record::PLACES, |key, entry| {
            let (id, sequence) = record::numbers(key)?;
            let queue = queues.get(&id)?;
            self.saw_number(sequence);
            let place = match record::decode_place(&entry.value) {
                Ok(place) => place,
                Err(reason) => return Some(Err(damaged(&format!("the message {sequence}"), &reason))),
            };
            let state = match (place.visible_ms > now, place.receive_count) {
                (false, _) => State::Ready,
                // However far the clock was set back: nobody hides a message for longer than that.
                (true, 0) => State::Delayed(place.visible_ms.min(now + 900_000)),
                (true, _) => State::InFlight(place.visible_ms.min(now + 43_200_000)),
            };
            queue.shelf().insert(sequence, &place, state);
            self.messages.fetch_add(1, Ordering::Relaxed);
            Some(Ok(()))
        })
        .await
    }

    async fn read_seen(&self, queues: &HashMap<u64, Arc<Queue>>) -> Result<(), QueueError> {
        self.each(record::SEEN, |key, entry| {
            let (id, name) = key.split_first_chunk::<8>()?;
            let queue = queues.get(&u64::from_be_bytes(*id))?;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            match record::decode_seen(&entry.value) {
                Ok(seen) => {
                    self.saw_number(seen.sequence);
                    queue.seen().insert(name, Some(seen));
                    Some(Ok(()))
                }
                Err(reason) => Some(Err(damaged("a deduplication record", &reason))),
            }
        })
        .await
    }

    /// Reads a whole space page by page; removes the records for which `keep` has no place.
    async fn each(
        &self,
        space: Space,
        mut keep: impl FnMut(&[u8], &Entry) -> Option<Result<(), QueueError>>,
    ) -> Result<(), QueueError> {
        let mut scan = Scan::prefix(space, Bytes::new()).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = self.store.scan(scan.clone()).await?;
            let mut batch = Batch::buffered();
            for (key, entry) in &page {
                match keep(key, entry) {
                    Some(kept) => kept?,
                    None => {
                        batch = batch.delete(space, key.clone());
                        if space == record::PLACES {
                            batch = batch.delete(record::CONTENTS, key.clone());
                        }
                    }
                }
            }
            if !batch.ops.is_empty() {
                self.store.commit(batch).await?;
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => return Ok(()),
            }
        }
    }
}

impl Queue {
    fn new(name: &str, definition: Definition) -> Self {
        Self {
            name: name.to_owned(),
            id: definition.id,
            shelf: Mutex::new(Shelf::new(definition.attributes.fifo)),
            definition: RwLock::new(definition),
            seen: Mutex::default(),
            wake: Notify::new(),
            sent: Notify::new(),
            purged_ms: AtomicU64::new(0),
        }
    }

    fn attributes(&self) -> Attributes {
        let definition = self.definition.read().unwrap_or_else(PoisonError::into_inner);
        definition.attributes.clone()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic under this lock is a bug in counting; messages are in the store whatever the shelf says.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Option<Seen>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn damaged(what: &str, reason: &str) -> QueueError {
    QueueError::Store(StoreError::Corrupt(format!("{what} is damaged: {reason}")))
}
