//! Hybrid logical time: close to the wall clock, never backwards, never the same twice.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

/// A moment at a node. Two stamps of one node differ in `time`, two of different nodes in `node`: there are no ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Microseconds since 1970, moved forwards where the wall clock would repeat itself or go back.
    pub time: u64,
    /// Whose.
    pub node: u64,
}

/// A node's clock.
#[derive(Debug)]
pub struct HybridClock {
    node: u64,
    last: Mutex<u64>,
}

impl HybridClock {
    /// A clock whose stamps are all later than `after`: the last time that the node's former life is known to have
    /// given out.
    pub fn new(node: u64, after: u64) -> Self {
        Self {
            node,
            last: Mutex::new(after),
        }
    }

    /// The next stamp, not before `now` (microseconds since 1970).
    pub fn tick(&self, now: u64) -> Stamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now.max(*last + 1);
        Stamp {
            time: *last,
            node: self.node,
        }
    }

    /// Makes later stamps later than `seen`.
    pub fn observe(&self, seen: Stamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = seen.time.max(*last);
    }

    /// Whose clock it is.
    pub fn node(&self) -> u64 {
        self.node
    }
}
