//! The counter: each writer's additions and subtractions, added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Writer;

/// A counter that many add to and take from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What each writer has added and taken: both only grow.
    of: BTreeMap<Writer, (u64, u64)>,
}

impl Counter {
    /// The sum, held at the ends of its range.
    pub fn value(&self) -> i64 {
        let sum: i128 = self
            .of
            .values()
            .map(|(added, taken)| i128::from(*added) - i128::from(*taken))
            .sum();
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
    }

    pub(super) fn add(&mut self, writer: Writer, by: i64) {
        let (added, taken) = self.of.entry(writer).or_default();
        if by < 0 {
            *taken = taken.saturating_add(by.unsigned_abs());
        } else {
            *added = added.saturating_add(by.unsigned_abs());
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (writer, (added, taken)) in &other.of {
            let own = self.of.entry(*writer).or_default();
            *own = (own.0.max(*added), own.1.max(*taken));
        }
    }
}
