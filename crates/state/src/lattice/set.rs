//! The set: an element is there while an addition of it is that no removal has seen. Additions win over concurrent
//! removals.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Clock, Dot};

/// A set of byte strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Each element with the additions that nobody has removed.
    of: BTreeMap<Bytes, BTreeSet<Dot>>,
}

impl Set {
    /// The elements, in bytewise order.
    pub fn elements(&self) -> impl Iterator<Item = &Bytes> {
        self.of.keys()
    }

    /// Whether an element is there.
    pub fn contains(&self, element: &[u8]) -> bool {
        self.of.contains_key(element)
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    pub(super) fn add(&mut self, dot: Dot, element: Bytes) {
        self.of.insert(element, BTreeSet::from([dot]));
    }

    pub(super) fn remove(&mut self, element: &[u8]) {
        self.of.remove(element);
    }

    pub(super) fn merge(&mut self, other: &Self, own: &Clock, others: &Clock) {
        let none = BTreeSet::new();
        let elements: BTreeSet<Bytes> = self.of.keys().chain(other.of.keys()).cloned().collect();
        for element in elements {
            let here = self.of.get(&element).unwrap_or(&none);
            let there = other.of.get(&element).unwrap_or(&none);
            let kept = merge_dots(here, there, own, others);
            if kept.is_empty() {
                self.of.remove(&element);
            } else {
                self.of.insert(element, kept);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.of
            .iter()
            .map(|(element, dots)| element.len() + 24 * dots.len())
            .sum()
    }
}

/// The dots that both sides have, and those of one side that the other has not seen.
pub(super) fn merge_dots(
    here: &BTreeSet<Dot>,
    there: &BTreeSet<Dot>,
    own: &Clock,
    others: &Clock,
) -> BTreeSet<Dot> {
    let kept = here
        .iter()
        .filter(|dot| there.contains(dot) || !others.contains(dot));
    let new = there
        .iter()
        .filter(|dot| here.contains(dot) || !own.contains(dot));
    kept.chain(new).copied().collect()
}
