//! A [`Store`] in memory: the twin that other crates' tests run on.
//!
//! It keeps nothing past its own life and is bounded only by what is put into it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::batch::{append_key, check_limits};
use crate::{Batch, Committed, Entry, Expect, Op, Scan, Space, Store, StoreError};

/// A store in memory, with the same answers as one on disk.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sequence: u64,
    spaces: BTreeMap<Space, BTreeMap<Bytes, Entry>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below panics between two changes of one batch, so a poisoned lock still guards whole batches.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.state().get(space, key).cloned())
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        check_limits(&batch)?;
        let mut state = self.state();
        state.check(&batch)?;
        Ok(state.apply(batch))
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        let state = self.state();
        let Some(entries) = state.spaces.get(&scan.space) else {
            return Ok(Vec::new());
        };
        let keep = |(key, entry): (&Bytes, &Entry)| (key.clone(), entry.clone());
        let Some(bounds) = scan.bounds() else {
            return Ok(Vec::new());
        };
        let range = entries.range::<Bytes, (Bound<Bytes>, Bound<Bytes>)>(bounds);
        Ok(if scan.reverse {
            range.rev().take(scan.limit).map(keep).collect()
        } else {
            range.take(scan.limit).map(keep).collect()
        })
    }
}

impl State {
    fn get(&self, space: Space, key: &[u8]) -> Option<&Entry> {
        self.spaces.get(&space)?.get(key)
    }

    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        for op in &batch.ops {
            if let Op::Check { space, key, expect } = op {
                let found = self.get(*space, key).map(|entry| entry.revision);
                if !expect.holds(found) {
                    return Err(StoreError::Conflict);
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: Batch) -> Committed {
        self.sequence += 1;
        let sequence = self.sequence;
        let entry = |value| Entry {
            value,
            revision: sequence,
        };
        let mut appended = Vec::new();
        for (place, op) in batch.ops.into_iter().enumerate() {
            match op {
                Op::Put { space, key, value } => {
                    self.spaces.entry(space).or_default().insert(key, entry(value));
                }
                Op::Delete { space, key } => {
                    self.spaces.entry(space).or_default().remove(&key);
                }
                Op::Append { space, prefix, value } => {
                    let key = append_key(&prefix, sequence, place);
                    appended.push(key.clone());
                    self.spaces.entry(space).or_default().insert(key, entry(value));
                }
                Op::Check { .. } => {}
            }
        }
        Committed { sequence, appended }
    }
}

impl Expect {
    /// Whether it holds for a key whose entry has the revision `found`.
    pub(crate) fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_the_contract() {
        crate::contract::run(|| async { Memory::new() }).await;
    }
}
