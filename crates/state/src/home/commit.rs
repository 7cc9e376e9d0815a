//! One commit: all its writes together or none, durable before it is answered, each id of a transaction once.

use std::sync::Arc;

use squall_store::{Batch, Durability};

use super::{Home, layout};
use crate::bucket::{Bucket, Keeping};
use crate::lattice::{Capsule, Clock, Dependencies, Dependency, Dot, Observed, Stamp, Update, Writer};
use crate::value::VALUE_BYTES_MAX;
use crate::{Key, StateError};

/// What is asked of a home.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// What to write, each key once.
    pub writes: Vec<KeyWrite>,
    /// What everything written depends on.
    pub dependencies: Dependencies,
    /// Whether the writes depend on each other too, and are ordered by when they are committed.
    pub together: bool,
    /// The transaction's id, so that a repetition does nothing.
    pub transaction: Option<Arc<str>>,
}

/// The writes to one key.
#[derive(Debug, Clone)]
pub struct KeyWrite {
    /// Which.
    pub key: Key,
    /// What to do to it, in this order.
    pub updates: Vec<Update>,
    /// For a write at a causal level: the version that it replaces. What is concurrent to it stays as sibling.
    pub observed: Option<Observed>,
    /// For a last-writer-wins write: when it was made.
    pub stamp: Option<Stamp>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The transaction was committed before, and nothing was done now.
    pub repeated: bool,
    /// The keys as they are now, in the order of the request, each with the write that changed it.
    pub capsules: Vec<(Key, Arc<Capsule>, Dot)>,
}

/// The keys that changed, as they are now.
pub(crate) type Changed = Vec<(Key, Arc<Capsule>)>;

/// A key on its way.
struct Ready {
    bucket: Arc<Bucket>,
    key: Key,
    before: Arc<Capsule>,
    after: Arc<Capsule>,
    dot: Dot,
}

impl Home {
    /// Commits, and says what caches must hear of. Goes on to the end when nobody waits for it any more.
    pub(crate) async fn commit(&self, request: CommitRequest) -> Result<(Committed, Changed), StateError> {
        let home = self.clone();
        let task = self.0.tasks.spawn(async move { home.commit_now(request).await });
        task.await.unwrap_or_else(|error| {
            Err(StateError::Unreachable {
                who: "the home of the keys".to_owned(),
                reason: error.to_string(),
            })
        })
    }

    async fn commit_now(&self, request: CommitRequest) -> Result<(Committed, Changed), StateError> {
        let buckets = request
            .writes
            .iter()
            .map(|write| self.0.buckets.get(&write.key.bucket));
        let buckets = buckets.collect::<Result<Vec<_>, _>>()?;
        let mut stripes: Vec<usize> = request
            .writes
            .iter()
            .map(|write| self.stripe(&write.key))
            .collect();
        if let Some(id) = &request.transaction {
            stripes.push(self.stripe_of(id.as_bytes()));
        }
        // In one order everywhere, so that no two commits wait for each other.
        stripes.sort_unstable();
        stripes.dedup();
        let mut guards = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            guards.push(self.0.stripes[stripe].lock().await);
        }
        if let Some(id) = &request.transaction
            && layout::transaction(&*self.0.store, id).await?.is_some()
        {
            let committed = Committed {
                repeated: true,
                capsules: Vec::new(),
            };
            return Ok((committed, Vec::new()));
        }
        let stamp = {
            let mut held = self.held();
            let stamp = self.clock().tick(self.now());
            held.in_flight.insert(stamp.time);
            stamp
        };
        let done = self.write(request, buckets, stamp).await;
        self.held().in_flight.remove(&stamp.time);
        let ready = done?;
        let changed = ready.iter().map(|ready| (ready.key.clone(), ready.after.clone()));
        let changed = changed.collect();
        let capsules = ready.into_iter().map(|ready| (ready.key, ready.after, ready.dot));
        let committed = Committed {
            repeated: false,
            capsules: capsules.collect(),
        };
        Ok((committed, changed))
    }

    async fn write(
        &self,
        request: CommitRequest,
        buckets: Vec<Arc<Bucket>>,
        stamp: Stamp,
    ) -> Result<Vec<Ready>, StateError> {
        let mut ready = Vec::with_capacity(request.writes.len());
        for (write, bucket) in request.writes.into_iter().zip(buckets) {
            let before = self.load(&bucket, &write.key).await?;
            let key = write.key.clone();
            let (after, dot) = self.apply(write, &before, stamp)?;
            let after = Arc::new(after);
            ready.push(Ready {
                bucket,
                key,
                before,
                after,
                dot,
            });
        }
        let shared = shared_dependencies(request.dependencies, &ready, request.together, stamp);
        let horizon = Self::horizon(&self.held());
        for one in &mut ready {
            let after = Arc::make_mut(&mut one.after);
            after.depend_on(shared.iter().filter(|(key, _)| **key != one.key));
            after.forget_before(horizon);
        }
        self.check_memory(&ready)?;
        self.store(&ready, request.transaction.as_deref(), stamp.time)
            .await?;
        self.install(&ready, stamp.time);
        Ok(ready)
    }

    fn apply(&self, write: KeyWrite, before: &Capsule, stamp: Stamp) -> Result<(Capsule, Dot), StateError> {
        let mut after = before.clone();
        let home = Writer::Home(self.clock().node());
        let mut last = Dot { writer: home, stamp };
        for update in write.updates {
            let is_register = matches!(update, Update::Put(_))
                || (matches!(update, Update::Delete)
                    && matches!(after.body().name(), "register" | "nothing"));
            let dot = if is_register && write.observed.is_none() {
                Dot {
                    writer: Writer::Anyone,
                    stamp: write.stamp.unwrap_or(stamp),
                }
            } else {
                Dot { writer: home, stamp }
            };
            let asked = update.lattice().unwrap_or("deletion");
            after
                .apply(update, dot, write.observed.as_ref())
                .map_err(|found| StateError::OtherLattice {
                    key: write.key.to_string(),
                    found,
                    asked,
                })?;
            last = dot;
        }
        let bytes = after.body().bytes();
        if bytes > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge {
                what: "a value",
                bytes,
                max: VALUE_BYTES_MAX,
            });
        }
        Ok((after, last))
    }

    async fn store(&self, ready: &[Ready], transaction: Option<&str>, time: u64) -> Result<(), StateError> {
        let mut batch = Batch::buffered();
        for one in ready {
            let keeping = one.bucket.settings.keeping;
            if keeping == Keeping::Memory {
                continue;
            }
            if keeping == Keeping::Durable {
                batch.durability = Durability::Durable;
            }
            let ops = layout::replace(&*self.0.store, one.bucket.id, &one.key, &one.after).await?;
            batch.ops.extend(ops);
            if one.bucket.settings.keeps_changes {
                batch
                    .ops
                    .push(self.0.feeds.append(&one.bucket, &one.key, &one.after, one.dot)?);
            }
        }
        if let Some(id) = transaction {
            layout::put_transaction(&mut batch.ops, id, time);
            batch.durability = Durability::Durable;
        }
        if batch.ops.is_empty() {
            return Ok(());
        }
        layout::put_time(&mut batch.ops, time);
        let stored = self.0.store.commit(batch).await;
        if stored.is_err() {
            // Whether it was written is not known: the store says, when somebody reads.
            let mut held = self.held();
            for one in ready
                .iter()
                .filter(|one| one.bucket.settings.keeping != Keeping::Memory)
            {
                held.table.remove(&one.key);
            }
        }
        let committed = stored?;
        self.0
            .feeds
            .committed(ready.iter().map(|one| &*one.bucket), &committed);
        Ok(())
    }

    fn check_memory(&self, ready: &[Ready]) -> Result<(), StateError> {
        let held = self.held();
        for one in ready
            .iter()
            .filter(|one| one.bucket.settings.keeping == Keeping::Memory)
        {
            let used = held.memory.get(&one.bucket.id).map_or(0, |memory| memory.bytes);
            let max = one.bucket.settings.memory_bytes_max;
            let grows = one.after.bytes().saturating_sub(one.before.bytes()) as u64;
            if grows > 0 && used + grows > max {
                return Err(StateError::Full {
                    what: format!("bucket `{}`", one.bucket.name),
                    max,
                });
            }
        }
        Ok(())
    }

    fn install(&self, ready: &[Ready], time: u64) {
        let mut held = self.held();
        let horizon = Self::horizon(&held);
        held.history.forget_before(horizon);
        for one in ready {
            held.history.keep(&one.key, one.before.clone(), time);
            held.ring.push(one.key.clone());
            if one.bucket.settings.keeping == Keeping::Memory {
                held.install_memory(one);
            } else {
                held.table.put(one.key.clone(), one.after.clone(), false);
            }
            if one.after.is_tombstone() {
                held.tombstones.push_back((time, one.key.clone()));
            }
        }
    }

    pub(super) fn stripe(&self, key: &Key) -> usize {
        self.stripe_of(&key.key)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is below the number of stripes"
    )]
    fn stripe_of(&self, bytes: &[u8]) -> usize {
        (xxhash_rust::xxh3::xxh3_64(bytes) % self.0.stripes.len() as u64) as usize
    }
}

impl super::Held {
    fn install_memory(&mut self, one: &Ready) {
        let memory = self.memory.entry(one.bucket.id).or_default();
        let bytes = one.after.bytes();
        let had = memory.keys.remove(&one.key.key).unwrap_or(0);
        memory.bytes -= had as u64;
        if one.after.is_tombstone() {
            // Caches and runs may still have to hear of it, so it stays until the sweep.
        } else {
            memory.bytes += bytes as u64;
            memory.keys.insert(one.key.key.clone(), bytes);
        }
        self.table.put(one.key.clone(), one.after.clone(), true);
    }
}

/// What every key of a commit depends on: what the session has read, and, written together, each other.
fn shared_dependencies(
    mut shared: Dependencies,
    ready: &[Ready],
    together: bool,
    stamp: Stamp,
) -> Dependencies {
    // What the session has read is a dependency from now on; what that depended on keeps its time.
    for dependency in shared.values_mut().filter(|dependency| dependency.since == 0) {
        dependency.since = stamp.time;
    }
    if together && ready.len() > 1 {
        for one in ready {
            let written = Dependency {
                version: Clock::from(one.dot),
                since: stamp.time,
            };
            shared.entry(one.key.clone()).or_default().merge(&written);
        }
    }
    shared
}
