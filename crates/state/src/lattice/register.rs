//! The register: last-writer-wins and causal in one.
//!
//! It holds the writes that no other write it has seen replaces. A write at a causal level replaces what its session
//! had read; what it had not read stays beside it, as a sibling. A write at `lww` replaces everything earlier.
//! With writes of the second kind alone there is one sibling, the latest: a last-writer-wins register.

use serde::{Deserialize, Serialize};

use super::{Clock, Dot, Observed, Writer};
use crate::Value;

/// One of the concurrent values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// The write that it is.
    pub dot: Dot,
    /// What was written; `None` when that was a deletion.
    pub value: Option<Value>,
}

/// Concurrent values, in the order of their dots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    siblings: Vec<Sibling>,
}

impl Register {
    /// The value that everybody sees first: that of the latest sibling.
    pub fn value(&self) -> Option<&Value> {
        self.winner().and_then(|sibling| sibling.value.as_ref())
    }

    /// All values that no later write replaces, latest first. A deletion among them is not one.
    pub fn values(&self) -> Vec<&Value> {
        let mut siblings: Vec<&Sibling> = self.siblings.iter().collect();
        siblings.sort_by_key(|sibling| std::cmp::Reverse(sibling.dot.stamp));
        siblings
            .iter()
            .filter_map(|sibling| sibling.value.as_ref())
            .collect()
    }

    /// All siblings.
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    fn winner(&self) -> Option<&Sibling> {
        self.siblings.iter().max_by_key(|sibling| sibling.dot.stamp)
    }

    /// Writes. `observed` is what the writer had read, for a write that leaves the rest as siblings.
    pub(super) fn write(&mut self, dot: Dot, value: Option<Value>, observed: Option<&Observed>) {
        match (dot.writer, observed) {
            (Writer::Anyone, _) | (_, None) => {
                if self.winner().is_some_and(|winner| winner.dot.stamp > dot.stamp) {
                    return;
                }
                self.siblings.clear();
            }
            (_, Some(observed)) => self.siblings.retain(|sibling| !observed.contains(&sibling.dot)),
        }
        self.siblings.push(Sibling { dot, value });
        self.siblings.sort_by_key(|sibling| sibling.dot);
    }

    /// `own` and `others` are what the two sides have seen.
    pub(super) fn merge(&mut self, other: &Self, own: &Clock, others: &Clock) {
        let has = |side: &Self, dot: &Dot| side.siblings.iter().any(|sibling| sibling.dot == *dot);
        let new = other.siblings.iter();
        let new: Vec<Sibling> = new
            .filter(|sibling| !has(self, &sibling.dot) && !own.contains(&sibling.dot))
            .cloned()
            .collect();
        self.siblings
            .retain(|sibling| has(other, &sibling.dot) || !others.contains(&sibling.dot));
        self.siblings.extend(new);
        self.siblings.sort_by_key(|sibling| sibling.dot);
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |sibling: &Sibling| sibling.value.as_ref().map_or(0, |value| value.bytes.len());
        self.siblings.iter().map(of).sum()
    }
}
