//! Capsules in memory, bounded in bytes, the longest unused going first. Homes and caches each have one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::Key;
use crate::lattice::{Capsule, Merged};

/// About what an entry costs beside key and capsule.
const OVERHEAD_BYTES: usize = 160;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shelf {
    bytes_max: usize,
    bytes: usize,
    tick: u64,
    slots: HashMap<Key, Slot>,
    by_use: BTreeMap<u64, Key>,
}

#[derive(Debug)]
struct Slot {
    capsule: Arc<Capsule>,
    bytes: usize,
    used: u64,
    /// The only copy there is: not to be evicted, and not counted.
    pinned: bool,
    /// Whether everything that it depends on is on the shelf or not there at all.
    covered: bool,
}

impl Shelf {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            tick: 0,
            slots: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// Looks, and counts as use.
    pub(crate) fn get(&mut self, key: &Key) -> Option<&Arc<Capsule>> {
        let slot = self.slots.get_mut(key)?;
        if !slot.pinned && slot.used != self.tick {
            self.tick += 1;
            let name = self.by_use.remove(&slot.used);
            slot.used = self.tick;
            self.by_use.insert(self.tick, name.unwrap_or_else(|| key.clone()));
        }
        Some(&slot.capsule)
    }

    /// Looks, and does not count as use.
    pub(crate) fn peek(&self, key: &Key) -> Option<&Arc<Capsule>> {
        self.slots.get(key).map(|slot| &slot.capsule)
    }

    pub(crate) fn is_covered(&self, key: &Key) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.covered)
    }

    /// Says that a version is covered, if it is still the one here.
    pub(crate) fn set_covered(&mut self, key: &Key, capsule: &Arc<Capsule>) {
        if let Some(slot) = self.slots.get_mut(key)
            && Arc::ptr_eq(&slot.capsule, capsule)
        {
            slot.covered = true;
        }
    }

    /// Puts it there in place of what was.
    pub(crate) fn put(&mut self, key: Key, capsule: Arc<Capsule>, pinned: bool) {
        self.remove(&key);
        let bytes = capsule.bytes() + key.key.len() + OVERHEAD_BYTES;
        if !pinned && bytes > self.bytes_max {
            return;
        }
        self.tick += 1;
        if !pinned {
            self.bytes += bytes;
            self.by_use.insert(self.tick, key.clone());
        }
        let covered = capsule.dependencies().is_empty();
        let slot = Slot {
            capsule,
            bytes,
            used: self.tick,
            pinned,
            covered,
        };
        self.slots.insert(key, slot);
        self.evict();
    }

    /// Merges it into what is there, or puts it there; the result.
    pub(crate) fn merge(&mut self, key: &Key, capsule: &Arc<Capsule>) -> Arc<Capsule> {
        let Some(slot) = self.slots.get(key) else {
            self.put(key.clone(), capsule.clone(), false);
            return capsule.clone();
        };
        let pinned = slot.pinned;
        // A home's versions of a key are one history: the one that covers another comes after it.
        if capsule.version().covers(slot.capsule.version()) {
            if capsule.version() != slot.capsule.version() {
                self.put(key.clone(), capsule.clone(), pinned);
            }
            return self
                .slots
                .get(key)
                .map_or_else(|| capsule.clone(), |slot| slot.capsule.clone());
        }
        if slot.capsule.version().covers(capsule.version()) {
            return slot.capsule.clone();
        }
        let mut merged = Capsule::clone(&slot.capsule);
        if merged.merge(capsule) == Merged::Known {
            return slot.capsule.clone();
        }
        let merged = Arc::new(merged);
        self.put(key.clone(), merged.clone(), pinned);
        merged
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key)
            && !slot.pinned
        {
            self.bytes -= slot.bytes;
            self.by_use.remove(&slot.used);
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        let gone: Vec<Key> = self.slots.keys().filter(|key| !keep(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Capsule>)> {
        self.slots.iter().map(|(key, slot)| (key, &slot.capsule))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, key)) = self.by_use.pop_first() else {
                return;
            };
            if let Some(slot) = self.slots.remove(&key) {
                self.bytes -= slot.bytes;
            }
        }
    }
}
