//! The home of keys: it applies writes to a key one after the other, makes them durable, and keeps what a reader at a
//! level beyond `lww` may still need of the past.
//!
//! Caches and sessions reach it through a [`crate::transport::Transport`]. In memory it holds a bounded part of what is
//! in the store, all of memory buckets, the replaced versions that runs under way may need, and the last changes.

mod commit;
mod feed;
mod history;
mod layout;
mod runs;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use squall_store::Store;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::commit::{CommitRequest, Committed, KeyWrite};
pub use self::feed::{Change, ChangeKind, Cursor};
use self::history::{History, Ring};
use self::runs::Runs;
use crate::bucket::{Bucket, Buckets, Keeping};
use crate::lattice::{Capsule, Clock, HybridClock};
use crate::session::Reads;
use crate::shelf::Shelf;
use crate::transport::Changes;
use crate::{CacheId, Config, Key, StateError};

/// Writers of keys that share one of these wait for each other.
const STRIPES: usize = 1024;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Home(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    buckets: Arc<Buckets>,
    config: Config,
    clock: HybridClock,
    started: (Instant, u64),
    /// Held while a key is read, changed, stored and installed. A queue of writers, so held across waits.
    stripes: Vec<tokio::sync::Mutex<()>>,
    held: Mutex<Held>,
    /// Commits finish, whoever stops waiting for them.
    tasks: TaskTracker,
    feeds: feed::Feeds,
}

/// What the home holds in memory.
struct Held {
    table: Shelf,
    memory: HashMap<u64, MemoryBucket>,
    history: History,
    ring: Ring,
    runs: Runs,
    /// For each cache, the time before which it has everything.
    synced: Vec<u64>,
    /// Times of commits that are not installed yet.
    in_flight: BTreeSet<u64>,
    /// Deleted keys, with when.
    tombstones: VecDeque<(u64, Key)>,
}

/// A memory bucket's keys in order, its size, and its last use.
#[derive(Default)]
struct MemoryBucket {
    keys: BTreeMap<bytes::Bytes, usize>,
    bytes: u64,
    used: u64,
}

impl Home {
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        buckets: Arc<Buckets>,
        config: Config,
    ) -> Result<Self, StateError> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        let (node, last) = layout::node(&*store).await?;
        let tombstones = layout::tombstones(&*store, &buckets).await?;
        layout::drop_unfinished(&*store).await?;
        let feeds = feed::Feeds::open(&*store, &buckets, config.changes_max).await?;
        let held = Held {
            table: Shelf::new(config.home_bytes_max),
            memory: HashMap::new(),
            history: History::new(config.history_bytes_max),
            ring: Ring::default(),
            runs: Runs::new(config.runs_max),
            synced: vec![0; usize::from(config.caches)],
            in_flight: BTreeSet::new(),
            tombstones,
        };
        Ok(Self(Arc::new(Inner {
            store,
            buckets,
            clock: HybridClock::new(node, last),
            config,
            started: (Instant::now(), wall),
            stripes: (0..STRIPES).map(|_| tokio::sync::Mutex::new(())).collect(),
            held: Mutex::new(held),
            tasks: TaskTracker::new(),
            feeds,
        })))
    }

    /// Microseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let (instant, wall) = self.0.started;
        wall + u64::try_from(instant.elapsed().as_micros()).unwrap_or(0)
    }

    pub(crate) fn clock(&self) -> &HybridClock {
        &self.0.clock
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version that has seen `at_least` and fits `reads`.
    pub(crate) async fn fetch(
        &self,
        key: &Key,
        at_least: &Clock,
        reads: &Reads,
    ) -> Result<Option<Arc<Capsule>>, StateError> {
        let bucket = self.0.buckets.get(&key.bucket)?;
        let current = self.load(&bucket, key).await?;
        let fits = |capsule: &Capsule| capsule.version().covers(at_least) && reads.fit(capsule);
        if fits(&current) {
            return Ok(Some(current));
        }
        let held = self.held();
        // What was loaded may have been replaced meanwhile.
        let current = held.table.peek(key).filter(|capsule| fits(capsule)).cloned();
        Ok(current.or_else(|| held.history.newest(key, fits)))
    }

    /// Notes that a memory bucket is in use, where that decides how long it stays.
    pub(crate) fn touch(&self, bucket: &Bucket) {
        if bucket.settings.idle_after.is_some() {
            let now = self.now();
            self.held().memory.entry(bucket.id).or_default().used = now;
        }
    }

    /// The version of now; the empty capsule when there is none.
    async fn load(&self, bucket: &Bucket, key: &Key) -> Result<Arc<Capsule>, StateError> {
        {
            let mut held = self.held();
            if let Some(found) = held.table.get(key) {
                return Ok(found.clone());
            }
        }
        if bucket.settings.keeping == Keeping::Memory {
            return Ok(Arc::default());
        }
        let Some(capsule) = layout::read(&*self.0.store, bucket.id, key).await? else {
            return Ok(Arc::default());
        };
        Ok(self.held().table.merge(key, &Arc::new(capsule)))
    }

    /// The keys of a bucket behind `after` that start with `prefix` and are there, in order.
    pub(crate) async fn list(
        &self,
        bucket: &Bucket,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<bytes::Bytes>, StateError> {
        if bucket.settings.keeping != Keeping::Memory {
            return layout::list(&*self.0.store, bucket.id, prefix, after, limit).await;
        }
        let held = self.held();
        let Some(memory) = held.memory.get(&bucket.id) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(std::ops::Bound::Included(prefix), |after| {
            if after >= prefix {
                std::ops::Bound::Excluded(after)
            } else {
                std::ops::Bound::Included(prefix)
            }
        });
        let keys = memory.keys.range::<[u8], _>((from, std::ops::Bound::Unbounded));
        let keys = keys.map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        Ok(keys.take(limit).cloned().collect())
    }

    /// What a cache has missed.
    pub(crate) async fn changes(
        &self,
        cache: CacheId,
        since: u64,
        synced: u64,
    ) -> Result<Changes, StateError> {
        let (mut changes, keys) = {
            let mut held = self.held();
            if let Some(known) = held.synced.get_mut(usize::from(cache.0)) {
                *known = synced.max(*known);
            }
            let now = self.0.clock.tick(self.now()).time;
            let time = held.in_flight.first().copied().unwrap_or(now).min(now);
            let position = held.ring.position();
            let keys = held.ring.since(since);
            let changes = Changes {
                position,
                time,
                reset: keys.is_none(),
                capsules: Vec::new(),
            };
            (changes, keys.unwrap_or_default())
        };
        for key in keys {
            // A bucket that is gone has nothing to tell.
            if let Ok(bucket) = self.0.buckets.get(&key.bucket) {
                let capsule = self.load(&bucket, &key).await?;
                changes.capsules.push((key, capsule));
            }
        }
        Ok(changes)
    }

    /// Everything that all caches and all runs are past.
    fn horizon(held: &Held) -> u64 {
        let synced = held.synced.iter().copied().min().unwrap_or(0);
        held.runs.floor().map_or(synced, |floor| floor.min(synced))
    }
}
