//! A group of batches on its way to the disk: checked one after the other, written as one.
//!
//! Filled by the writer thread alone. A later batch of a group sees what the earlier ones are about to write.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::spaces::Spaces;
use crate::batch::append_key;
use crate::{Batch, Committed, Durability, Op, Space, StoreError};

/// Where each group leaves its sequence numbers, as the last item of its journal batch.
pub(super) const GROUP_KEY: &[u8] = b"\0squall-group";

/// What a group's batches come to.
#[derive(Debug)]
pub(super) struct Group {
    /// The first sequence number of the group.
    pub(super) first: u64,
    /// The next sequence number to be given.
    pub(super) next: u64,
    /// Whether any batch must survive power loss.
    pub(super) durable: bool,
    /// The last write of each key, with its revision; `None` removes it. One each, because the engine gives all of
    /// one batch the same number, and two writes of a key in it would not be told apart.
    pub(super) writes: BTreeMap<(Space, Bytes), Option<(u64, Bytes)>>,
}

impl Group {
    /// An empty group behind the commit `last`.
    pub(super) fn behind(last: u64) -> Self {
        Self {
            first: last + 1,
            next: last + 1,
            durable: false,
            writes: BTreeMap::new(),
        }
    }

    /// Whether no batch was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Takes a batch, when its expectations hold.
    pub(super) fn add(&mut self, batch: Batch, spaces: &Spaces) -> Result<Committed, StoreError> {
        for op in &batch.ops {
            if let Op::Check { space, key, expect } = op {
                let found = match self.writes.get(&(*space, key.clone())) {
                    Some(write) => write.as_ref().map(|(revision, _)| *revision),
                    None => spaces.get(*space, key)?.map(|entry| entry.revision),
                };
                if !expect.holds(found) {
                    return Err(StoreError::Conflict);
                }
            }
        }
        self.durable |= batch.durability == Durability::Durable;
        let sequence = self.next;
        self.next += 1;
        let mut appended = Vec::new();
        for (place, op) in batch.ops.into_iter().enumerate() {
            match op {
                Op::Put { space, key, value } => {
                    self.writes.insert((space, key), Some((sequence, value)));
                }
                Op::Delete { space, key } => {
                    self.writes.insert((space, key), None);
                }
                Op::Append { space, prefix, value } => {
                    let key = append_key(&prefix, sequence, place);
                    appended.push(key.clone());
                    self.writes.insert((space, key), Some((sequence, value)));
                }
                Op::Check { .. } => {}
            }
        }
        Ok(Committed { sequence, appended })
    }

    /// The value under [`GROUP_KEY`]; its revision is the group's last sequence number.
    pub(super) fn encode_first(&self) -> [u8; 8] {
        self.first.to_le_bytes()
    }
}

/// The first sequence number of the group that left this value.
pub(super) fn decode_first(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}
