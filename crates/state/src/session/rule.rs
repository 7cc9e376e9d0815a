//! The one rule by which sessions beyond `lww` choose what they read.
//!
//! A version fits a run when
//! 1. it has seen at least what any version read so far depends on at this key, and
//! 2. none of its own dependencies is newer than what the run has read at that key.
//!
//! Causal levels take as dependencies what a writer had read (Cloudburst's and HydroCache's causal cut); the keys that
//! one atomic commit wrote depend on each other, and then the same rule is AFT's: no fractured reads.
//! Dependencies are complete, not only the nearest: so no chain has to be followed, and one whose time is past what all
//! caches have and all runs began with is left out (see `home::runs`).
//! Where the newest version does not fit, an older one from the home's history may. Where none is left, the run must
//! start again.

use std::collections::BTreeMap;

use crate::Key;
use crate::lattice::{Capsule, Clock, Dependencies};

/// What a run has read, or written, at each key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads(BTreeMap<Key, Clock>);

impl Reads {
    /// Whether a version does not need anything newer than what was read: the second half of the rule.
    pub fn fit(&self, capsule: &Capsule) -> bool {
        let dependencies = capsule.dependencies();
        let newer = |read: &Clock, needed: &Clock| !read.covers(needed);
        if self.0.len() <= dependencies.len() {
            let mut both = self
                .0
                .iter()
                .filter_map(|(key, read)| Some((read, dependencies.get(key)?)));
            !both.any(|(read, needed)| newer(read, &needed.version))
        } else {
            let mut both = dependencies
                .iter()
                .filter_map(|(key, needed)| Some((self.0.get(key)?, needed)));
            !both.any(|(read, needed)| newer(read, &needed.version))
        }
    }

    pub(super) fn insert(&mut self, key: Key, version: Clock) {
        self.0.insert(key, version);
    }

    fn get(&self, key: &Key) -> Option<&Clock> {
        self.0.get(key)
    }
}

/// What further reads must fit.
#[derive(Debug, Clone, Default)]
pub(super) struct Enforced {
    pub(super) reads: Reads,
    pub(super) dependencies: Dependencies,
}

impl Enforced {
    /// What a version of the key must have seen: the first half of the rule.
    pub(super) fn at_least(&self, key: &Key) -> Clock {
        let mut least = self.reads.get(key).cloned().unwrap_or_default();
        if let Some(needed) = self.dependencies.get(key) {
            least.merge(&needed.version);
        }
        least
    }

    pub(super) fn fits(&self, key: &Key, capsule: &Capsule) -> bool {
        let enough = self
            .reads
            .get(key)
            .is_none_or(|read| capsule.version().covers(read));
        let needed = self.dependencies.get(key);
        let enough = enough && needed.is_none_or(|needed| capsule.version().covers(&needed.version));
        enough && self.reads.fit(capsule)
    }

    pub(super) fn take_in(&mut self, key: &Key, capsule: &Capsule) {
        self.reads.insert(key.clone(), capsule.version().clone());
        for (needed, dependency) in capsule.dependencies() {
            self.dependencies
                .entry(needed.clone())
                .or_default()
                .merge(dependency);
        }
    }
}
