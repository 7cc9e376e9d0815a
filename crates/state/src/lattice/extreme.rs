//! Numbers that only grow or only shrink, and a flag that is only ever set.

use serde::{Deserialize, Serialize};

/// The greatest or the least of the numbers that were offered. NaN is refused before it comes here.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Extreme(f64);

impl PartialEq for Extreme {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for Extreme {}

impl Extreme {
    /// From one number.
    pub fn new(number: f64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    pub(super) fn raise(&mut self, other: Self) {
        if other.0.total_cmp(&self.0).is_gt() {
            *self = other;
        }
    }

    pub(super) fn lower(&mut self, other: Self) {
        if other.0.total_cmp(&self.0).is_lt() {
            *self = other;
        }
    }
}

/// A bool that is false until somebody sets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag(pub bool);
