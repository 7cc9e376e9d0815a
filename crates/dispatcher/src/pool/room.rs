//! Room on the host: which pool may start an instance, and which idle one must go for it. Reaping, for the same reason.

use std::time::Duration;

use squall_types::RevisionId;
use tokio::time::Instant;

use super::{Effects, Member, Pool, Pools};
use crate::stats::Stats;

impl<M: Member> Pools<M> {
    /// Begins the starts that a pool wants, as far as there is room; else it queues for room.
    pub(super) fn start_wanted(&mut self, revision: RevisionId, effects: &mut Effects<M>) {
        while self.pool(revision).starts_wanted() > 0 {
            // Who queues for room comes first.
            if self.instances >= self.instances_max || !self.starved.is_empty() {
                if !self.starved.contains(&revision) {
                    self.starved.push_back(revision);
                }
                self.feed_starved(effects);
                return;
            }
            self.start(revision, effects);
        }
    }

    /// Gives free room to the pools that queue for it, one start each in turn.
    pub(super) fn feed_starved(&mut self, effects: &mut Effects<M>) {
        while self.instances < self.instances_max
            && let Some(revision) = self.starved.pop_front()
        {
            let Some(pool) = self.pools.get(&revision) else {
                continue;
            };
            if pool.starts_wanted() == 0 {
                continue;
            }
            self.start(revision, effects);
            if self.pool(revision).starts_wanted() > 0 {
                self.starved.push_back(revision);
            }
        }
        self.make_room(effects);
    }

    fn start(&mut self, revision: RevisionId, effects: &mut Effects<M>) {
        self.instances += 1;
        let pool = self.pool(revision);
        pool.starting += 1;
        effects.starts.push(pool.revision.clone());
    }

    /// Stops instances that have been idle the longest, one for every start that finds no room otherwise.
    pub(super) fn make_room(&mut self, effects: &mut Effects<M>) {
        if self.starved.is_empty() {
            return;
        }
        let pools = &self.pools;
        let wanted = |revision: &RevisionId| pools.get(revision).map_or(0, |pool| pool.starts_wanted());
        let wanted: usize = self.starved.iter().map(wanted).sum();
        while self.stopping < wanted {
            let oldest = self
                .pools
                .iter()
                .filter_map(|(revision, pool)| Some((pool.idle.first()?.since, *revision)))
                .min();
            let Some((_, revision)) = oldest else { return };
            let idle = self.pool(revision).idle.remove(0);
            self.stop(idle.member, effects);
        }
    }

    /// Whether an instance of `revision` must go even though calls wait for it: calls of a revision that has no
    /// instance at all wait for room. So a function that keeps every instance busy starves no other.
    pub(super) fn is_owed(&self, revision: RevisionId) -> bool {
        let others = self.starved.iter().filter(|other| **other != revision);
        let destitute = others.filter(|other| self.pools.get(other).is_some_and(Pool::is_destitute));
        destitute.count() > self.stopping
    }

    /// Stops what has been idle for `idle_timeout`, and lets pools rest that have been empty for as long.
    /// Says when to look again.
    pub(crate) fn reap(&mut self, now: Instant, idle_timeout: Duration) -> (Effects<M>, Instant) {
        let mut effects = Effects::none();
        let mut next = now + idle_timeout;
        let mut expired = Vec::new();
        for (revision, pool) in &mut self.pools {
            let is_over = |since: Instant| since + idle_timeout <= now;
            let count = pool.idle.partition_point(|idle| is_over(idle.since));
            expired.extend(pool.idle.drain(..count).map(|idle| idle.member));
            if let Some(idle) = pool.idle.first() {
                next = next.min(idle.since + idle_timeout);
            }
            match pool.empty_since {
                Some(since) if is_over(since) && !pool.resting => {
                    pool.resting = true;
                    pool.empty_since = None;
                    effects.rests.push(*revision);
                }
                Some(since) => next = next.min(since + idle_timeout),
                None => {}
            }
        }
        for member in expired {
            self.stop(member, &mut effects);
        }
        (effects, next)
    }

    /// The revisions that have a pool and were not replaced.
    pub(crate) fn revisions(&self) -> Vec<RevisionId> {
        let live = self.pools.iter().filter(|(_, pool)| !pool.retired);
        live.map(|(revision, _)| *revision).collect()
    }

    /// Adds what it knows to `stats`.
    pub(crate) fn count(&self, stats: &mut Stats) {
        stats.instances = self.instances;
        for pool in self.pools.values() {
            let function = stats.functions.entry(pool.revision.name.clone()).or_default();
            function.idle += pool.idle.len();
            function.busy += pool.busy;
            function.starting += pool.starting;
            function.waiting += pool.waiting.len();
        }
    }
}
