//! The map, field by field a register, and the ordered set, a map from element to score.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Clock, Dot, Register};
use crate::Value;

/// Fields, each a register of its own: two who write different fields both find theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// A field whose register is empty or deleted is kept no longer than its deletion is news to somebody.
    of: BTreeMap<Bytes, Register>,
}

impl Map {
    /// The fields that are there, in bytewise order.
    pub fn fields(&self) -> impl Iterator<Item = (&Bytes, &Value)> {
        self.of
            .iter()
            .filter_map(|(field, register)| Some((field, register.value()?)))
    }

    /// One field.
    pub fn field(&self, field: &[u8]) -> Option<&Value> {
        self.of.get(field)?.value()
    }

    pub(super) fn put(&mut self, dot: Dot, field: Bytes, value: Value) {
        self.of.entry(field).or_default().write(dot, Some(value), None);
    }

    /// Takes the field out. The map's clock has seen what it held, so a merge does not bring it back.
    pub(super) fn remove(&mut self, field: &[u8]) {
        self.of.remove(field);
    }

    pub(super) fn merge(&mut self, other: &Self, own: &Clock, others: &Clock) {
        let none = Register::default();
        for (field, register) in &mut self.of {
            register.merge(other.of.get(field).unwrap_or(&none), own, others);
        }
        for (field, register) in &other.of {
            if !self.of.contains_key(field) {
                let mut fresh = Register::default();
                fresh.merge(register, own, others);
                self.of.insert(field.clone(), fresh);
            }
        }
        self.of.retain(|_, register| !register.siblings().is_empty());
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |(field, register): (&Bytes, &Register)| field.len() + register.bytes() + 32;
        self.of.iter().map(of).sum()
    }
}

/// Elements with a score, ordered by it. The latest score of an element wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedSet {
    of: Map,
}

impl OrderedSet {
    /// The elements with their scores, least first; elements of one score in bytewise order.
    pub fn elements(&self) -> Vec<(f64, Bytes)> {
        let score = |value: &Value| value.bytes[..].try_into().ok().map(f64::from_le_bytes);
        let scored = self.of.fields();
        let mut all: Vec<(f64, Bytes)> = scored
            .filter_map(|(element, value)| Some((score(value)?, element.clone())))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        all
    }

    pub(super) fn add(&mut self, dot: Dot, score: f64, element: Bytes) {
        let score = Value::bytes(score.to_le_bytes().to_vec());
        self.of.put(dot, element, score);
    }

    pub(super) fn remove(&mut self, element: &[u8]) {
        self.of.remove(element);
    }

    pub(super) fn merge(&mut self, other: &Self, own: &Clock, others: &Clock) {
        self.of.merge(&other.of, own, others);
    }

    pub(super) fn bytes(&self) -> usize {
        self.of.bytes()
    }
}
