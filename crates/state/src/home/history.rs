//! The near past: versions that were replaced, and which keys changed last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::Key;
use crate::lattice::Capsule;

/// The most changes that a cache may be behind before it starts anew.
const RING_MAX: usize = 65_536;

/// Replaced versions, the oldest going first when there are too many bytes of them.
#[derive(Debug)]
pub(super) struct History {
    bytes_max: usize,
    bytes: usize,
    of: HashMap<Key, VecDeque<Replaced>>,
    order: VecDeque<(u64, Key)>,
}

#[derive(Debug)]
struct Replaced {
    capsule: Arc<Capsule>,
    bytes: usize,
}

impl History {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            of: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps a version that was replaced at `time`.
    pub(super) fn keep(&mut self, key: &Key, capsule: Arc<Capsule>, time: u64) {
        let bytes = capsule.bytes() + 2 * key.key.len() + 96;
        self.bytes += bytes;
        let versions = self.of.entry(key.clone()).or_default();
        versions.push_back(Replaced { capsule, bytes });
        self.order.push_back((time, key.clone()));
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    /// The newest version of a key that fits.
    pub(super) fn newest(&self, key: &Key, fits: impl Fn(&Capsule) -> bool) -> Option<Arc<Capsule>> {
        let versions = self.of.get(key)?.iter().rev();
        let mut versions = versions.map(|replaced| &replaced.capsule);
        versions.find(|capsule| fits(capsule)).cloned()
    }

    /// Drops what was replaced before `time`.
    pub(super) fn forget_before(&mut self, time: u64) {
        while self.order.front().is_some_and(|(replaced, _)| *replaced < time) {
            self.drop_oldest();
        }
    }

    /// Versions of one key are replaced in the order in which they stand.
    fn drop_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_front() else {
            return;
        };
        let Some(versions) = self.of.get_mut(&key) else {
            return;
        };
        if let Some(replaced) = versions.pop_front() {
            self.bytes -= replaced.bytes;
        }
        if versions.is_empty() {
            self.of.remove(&key);
        }
    }
}

/// Which keys changed, in order.
#[derive(Debug, Default)]
pub(super) struct Ring {
    first: u64,
    keys: VecDeque<Key>,
}

impl Ring {
    pub(super) fn push(&mut self, key: Key) {
        self.keys.push_back(key);
        if self.keys.len() > RING_MAX {
            self.keys.pop_front();
            self.first += 1;
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.first + self.keys.len() as u64
    }

    /// The keys that changed since a position, each once; `None` when that is too long ago.
    pub(super) fn since(&self, position: u64) -> Option<Vec<Key>> {
        let skip = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let mut known = HashSet::new();
        let new = self.keys.iter().skip(skip);
        Some(new.filter(|key| known.insert(*key)).cloned().collect())
    }
}
