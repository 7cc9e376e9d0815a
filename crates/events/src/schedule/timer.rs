//! When which schedule is due: one ordered set for all of them. Pure, in memory only.
//!
//! Bounded by the number of schedules: some 150 bytes each beside its name.

use std::collections::{BTreeSet, HashMap};

use super::record::ScheduleKey;

/// The schedules that will fire, by when they do.
#[derive(Debug, Default)]
pub(super) struct Timer {
    due: BTreeSet<(i64, ScheduleKey)>,
    /// All schedules, also those that never fire again.
    of: HashMap<ScheduleKey, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The commit that said so: two changes may arrive here in another order than they were written.
    revision: u64,
    due_ms: Option<i64>,
}

impl Timer {
    /// Says when a schedule is due as of a revision. An older revision than the one known says nothing.
    pub(super) fn set(&mut self, key: ScheduleKey, revision: u64, due_ms: Option<i64>) {
        if self.of.get(&key).is_some_and(|place| place.revision > revision) {
            return;
        }
        self.remove(&key);
        if let Some(due_ms) = due_ms {
            self.due.insert((due_ms, key.clone()));
        }
        self.of.insert(key, Place { revision, due_ms });
    }

    pub(super) fn remove(&mut self, key: &ScheduleKey) {
        if let Some(Place {
            due_ms: Some(due_ms), ..
        }) = self.of.remove(key)
        {
            self.due.remove(&(due_ms, key.clone()));
        }
    }

    /// The first that are due, at most `limit`.
    pub(super) fn due(&self, now_ms: i64, limit: usize) -> Vec<ScheduleKey> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now_ms);
        due.take(limit).map(|(_, key)| key.clone()).collect()
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// All of them.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// Those that will fire.
    pub(super) fn pending(&self) -> usize {
        self.due.len()
    }
}
