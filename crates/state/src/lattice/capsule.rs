//! A key's lattice with what sessions need to know of it: its version, and what it depends on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Body, Clock, Dot, Observed, Stamp, Update};
use crate::Key;

/// Versions of other keys that a reader of this one must find there, or newer.
pub type Dependencies = BTreeMap<Key, Dependency>;

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The version, at least.
    pub version: Clock,
    /// When a home wrote down that somebody depends on it, in microseconds: the version was there before. Once all
    /// caches and runs are past this time, the dependency says nothing any more.
    pub since: u64,
}

impl Dependency {
    /// The least that satisfies both.
    pub fn merge(&mut self, other: &Self) {
        self.version.merge(&other.version);
        self.since = self.since.max(other.since);
    }
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The other side brought something new.
    Changed,
    /// It was known already.
    Known,
}

/// What is kept under a key, and merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capsule {
    /// The last deletion of something other than a register. What is older than it is gone.
    epoch: Stamp,
    /// The version: all writes that went into it.
    seen: Clock,
    /// Those of them that were since the epoch began: what the body's merges go by.
    context: Clock,
    /// What was written since the epoch began.
    body: Body,
    /// Only for what readers elsewhere may not have yet: what everybody has is taken out.
    dependencies: Dependencies,
}

impl Capsule {
    /// The version.
    pub fn version(&self) -> &Clock {
        &self.seen
    }

    /// What it holds.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What must be found with it.
    pub fn dependencies(&self) -> &Dependencies {
        &self.dependencies
    }

    /// Changes it. `observed` is the version that the writer had read, for a write at a causal level.
    ///
    /// # Errors
    /// The name of the lattice that is here, when the update is for another; nothing has changed then.
    pub fn apply(
        &mut self,
        update: Update,
        dot: Dot,
        observed: Option<&Observed>,
    ) -> Result<(), &'static str> {
        let is_new_kind = !matches!(update, Update::Put(_) | Update::Delete);
        if matches!(self.body, Body::Register(_)) && !self.body.is_present() && is_new_kind {
            self.begin_epoch(dot);
        }
        match (&self.body, &update) {
            (Body::Absent | Body::Register(_), _) => self.body.apply(update, dot, observed)?,
            (_, Update::Delete) => self.begin_epoch(dot),
            _ => self.body.apply(update, dot, observed)?,
        }
        self.context.insert(dot);
        self.seen.insert(dot);
        Ok(())
    }

    fn begin_epoch(&mut self, dot: Dot) {
        self.epoch = dot.stamp;
        self.body = Body::Absent;
        self.context = Clock::new();
    }

    /// Takes in what another replica has.
    ///
    /// That one side's version covers the other's is no reason to skip the rest: a last-writer-wins write covers
    /// earlier ones that it has not seen, and so not what those have replaced.
    pub fn merge(&mut self, other: &Self) -> Merged {
        if self == other {
            return Merged::Known;
        }
        if other.epoch > self.epoch {
            self.epoch = other.epoch;
            self.body = other.body.clone();
            self.context = other.context.clone();
        } else if other.epoch == self.epoch {
            self.body.merge(&other.body, &self.context, &other.context);
            self.context.merge(&other.context);
        }
        self.seen.merge(&other.seen);
        for (key, dependency) in &other.dependencies {
            self.dependencies
                .entry(key.clone())
                .or_default()
                .merge(dependency);
        }
        Merged::Changed
    }

    /// Adds what must be found with it.
    pub fn depend_on<'a>(&mut self, dependencies: impl IntoIterator<Item = (&'a Key, &'a Dependency)>) {
        for (key, dependency) in dependencies {
            self.dependencies
                .entry(key.clone())
                .or_default()
                .merge(dependency);
        }
    }

    /// Forgets dependencies that every reader satisfies: those from before `time`.
    pub fn forget_before(&mut self, time: u64) {
        self.dependencies.retain(|_, dependency| dependency.since >= time);
    }

    /// Whether nothing is here but the memory of a deletion.
    pub fn is_tombstone(&self) -> bool {
        !self.body.is_present()
    }

    /// About how many bytes it takes, the metadata included.
    pub fn bytes(&self) -> usize {
        self.body.bytes() + self.metadata_bytes()
    }

    /// About how many of them are not the user's.
    pub fn metadata_bytes(&self) -> usize {
        let of = |key: &Key| key.key.len() + key.bucket.as_str().len() + 32;
        48 + self.dependencies.keys().map(of).sum::<usize>()
    }
}
