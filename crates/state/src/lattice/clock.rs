//! Vector clocks: which writes a version has seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Stamp;

/// Who writes. A node's home is a writer of its own; last-writer-wins writes of all nodes have one writer in common,
/// since their stamps are in one order anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Writer {
    /// All writers at the level `lww`.
    Anyone,
    /// One home. It applies the writes to a key one after the other, each to all that came before.
    Home(u64),
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Whose.
    pub writer: Writer,
    /// When; it is also what breaks ties between concurrent writes.
    pub stamp: Stamp,
}

/// A version: for each writer, the last write of it that was seen, with all before.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Clock(BTreeMap<Writer, Stamp>);

impl Clock {
    /// The version of what was never written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a write was seen.
    pub fn contains(&self, dot: &Dot) -> bool {
        self.0.get(&dot.writer).is_some_and(|seen| dot.stamp <= *seen)
    }

    /// Whether everything that `other` has seen was seen: `self >= other`.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(writer, stamp)| {
            self.contains(&Dot {
                writer: *writer,
                stamp: *stamp,
            })
        })
    }

    /// Adds a write.
    pub fn insert(&mut self, dot: Dot) {
        let seen = self.0.entry(dot.writer).or_default();
        *seen = dot.stamp.max(*seen);
    }

    /// The least clock that covers both.
    pub fn merge(&mut self, other: &Self) {
        for (writer, stamp) in &other.0 {
            self.insert(Dot {
                writer: *writer,
                stamp: *stamp,
            });
        }
    }

    /// When the last write that was seen was made.
    pub fn last(&self) -> Stamp {
        self.0.values().copied().max().unwrap_or_default()
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a writer has read of a key, and so replaces: a version, and what it has written itself since, which a version
/// alone cannot say without what others wrote in between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What it has read.
    pub version: Clock,
    /// What it has written.
    pub own: Vec<Dot>,
}

impl Observed {
    /// Whether a write was seen.
    pub fn contains(&self, dot: &Dot) -> bool {
        self.version.contains(dot) || self.own.contains(dot)
    }

    /// The least version that has all of it.
    pub fn bound(&self) -> Clock {
        let mut bound = self.version.clone();
        self.own.iter().for_each(|dot| bound.insert(*dot));
        bound
    }
}

impl From<Dot> for Clock {
    fn from(dot: Dot) -> Self {
        Self(BTreeMap::from([(dot.writer, dot.stamp)]))
    }
}
