//! What the home does from time to time: forgets runs, deletions, replaced versions and transactions that nobody can
//! ask for any more, and empties memory buckets that nobody uses.

use bytes::Bytes;

use super::{Home, layout};
use crate::bucket::{Bucket, Keeping};
use crate::{BucketName, RunId, StateError};

/// What a round has ended, for the caches to follow.
pub(crate) struct Swept {
    /// Runs that were forgotten, with their snapshots.
    pub(crate) expired: Vec<RunId>,
    /// Memory buckets that were emptied.
    pub(crate) emptied: Vec<BucketName>,
}

impl Home {
    /// Remembers a run from now on.
    pub(crate) fn begin_run(&self, run: RunId) -> Result<(), StateError> {
        let now = self.now();
        let mut held = self.held();
        let floor = held.synced.iter().copied().min().unwrap_or(0);
        held.runs.begin(run, floor, now)
    }

    /// # Errors
    /// [`StateError::RunExpired`].
    pub(crate) fn hear_run(&self, run: RunId) -> Result<(), StateError> {
        let now = self.now();
        self.held().runs.hear(run, now)
    }

    pub(crate) fn end_run(&self, run: RunId) {
        self.held().runs.end(run);
    }

    /// One round.
    pub(crate) async fn sweep(&self) -> Result<Swept, StateError> {
        let expired = {
            let idle = u64::try_from(self.0.config.run_idle_max.as_micros()).unwrap_or(u64::MAX);
            let before = self.now().saturating_sub(idle);
            let mut held = self.held();
            let expired = held.runs.expire(before);
            let horizon = Self::horizon(&held);
            held.history.forget_before(horizon);
            expired
        };
        self.bury().await?;
        let emptied = self.empty_idle();
        Ok(Swept { expired, emptied })
    }

    /// Removes deletions that everybody has heard of.
    async fn bury(&self) -> Result<(), StateError> {
        loop {
            let key = {
                let mut held = self.held();
                let horizon = Self::horizon(&held);
                match held.tombstones.front() {
                    Some((time, _)) if *time < horizon => held.tombstones.pop_front().map(|(_, key)| key),
                    _ => None,
                }
            };
            let Some(key) = key else { return Ok(()) };
            let Ok(bucket) = self.0.buckets.get(&key.bucket) else {
                continue;
            };
            let _stripe = self.0.stripes[self.stripe(&key)].lock().await;
            if !self.load(&bucket, &key).await?.is_tombstone() {
                continue;
            }
            self.held().table.remove(&key);
            if bucket.settings.keeping != Keeping::Memory {
                self.0.store.commit(layout::bury(bucket.id, &key)).await?;
            }
        }
    }

    fn empty_idle(&self) -> Vec<BucketName> {
        let mut emptied = Vec::new();
        for bucket in self.0.buckets.list() {
            let Some(idle) = bucket.settings.idle_after else {
                continue;
            };
            let idle = u64::try_from(idle.as_micros()).unwrap_or(u64::MAX);
            let before = self.now().saturating_sub(idle);
            let mut held = self.held();
            if held
                .memory
                .get(&bucket.id)
                .is_some_and(|memory| memory.used < before)
            {
                held.memory.remove(&bucket.id);
                held.table.retain(|key| key.bucket != bucket.name);
                tracing::info!(bucket = %bucket.name, "emptied a memory bucket that nobody used");
                emptied.push(bucket.name.clone());
            }
        }
        emptied
    }

    /// Forgets transactions that are older than their time, a page at a time; where the next page begins.
    pub(crate) async fn forget_transactions(
        &self,
        after: Option<Bytes>,
    ) -> Result<Option<Bytes>, StateError> {
        let memory = u64::try_from(self.0.config.transaction_memory.as_micros()).unwrap_or(u64::MAX);
        let before = self.now().saturating_sub(memory);
        layout::forget_transactions(&*self.0.store, before, after).await
    }

    /// Removes all that a bucket held.
    pub(crate) async fn clear(&self, bucket: &Bucket) -> Result<(), StateError> {
        self.forget_bucket(&bucket.name, bucket.id);
        if bucket.settings.keeping != Keeping::Memory {
            layout::clear(&*self.0.store, bucket).await?;
        }
        // What was on its way meanwhile.
        self.forget_bucket(&bucket.name, bucket.id);
        Ok(())
    }

    fn forget_bucket(&self, name: &BucketName, id: u64) {
        let mut held = self.held();
        held.memory.remove(&id);
        held.table.retain(|key| key.bucket != *name);
    }

    /// Bytes that each memory bucket takes.
    pub(crate) fn memory_bytes(&self, bucket: &Bucket) -> u64 {
        self.held()
            .memory
            .get(&bucket.id)
            .map_or(0, |memory| memory.bytes)
    }
}
