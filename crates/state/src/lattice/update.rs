//! What a user does to a key, before it is known what the key holds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Value;

/// One change of one key. Each is for one lattice, except the deletion, which is for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Update {
    /// Writes a register.
    Put(Value),
    /// Removes what is there, whatever it is.
    Delete,
    /// Adds to a counter; takes from it when negative.
    Add(i64),
    /// Adds elements to a set.
    SetAdd(Vec<Bytes>),
    /// Removes elements from a set.
    SetRemove(Vec<Bytes>),
    /// Gives elements of an ordered set their scores.
    OrderedAdd(Vec<(f64, Bytes)>),
    /// Removes elements from an ordered set.
    OrderedRemove(Vec<Bytes>),
    /// Writes fields of a map.
    MapPut(Vec<(Bytes, Value)>),
    /// Removes fields of a map.
    MapRemove(Vec<Bytes>),
    /// Raises a maximum.
    Max(f64),
    /// Lowers a minimum.
    Min(f64),
    /// Sets a flag.
    Raise,
}

impl Update {
    /// About how many bytes it brings.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put(value) => value.bytes.len(),
            Self::SetAdd(elements) | Self::SetRemove(elements) => elements.iter().map(Bytes::len).sum(),
            Self::OrderedRemove(elements) | Self::MapRemove(elements) => {
                elements.iter().map(Bytes::len).sum()
            }
            Self::OrderedAdd(elements) => elements.iter().map(|(_, element)| 8 + element.len()).sum(),
            Self::MapPut(fields) => fields
                .iter()
                .map(|(field, value)| field.len() + value.bytes.len())
                .sum(),
            Self::Delete | Self::Add(_) | Self::Max(_) | Self::Min(_) | Self::Raise => 8,
        }
    }

    /// How many elements or fields it names.
    pub fn elements(&self) -> usize {
        match self {
            Self::SetAdd(of) | Self::SetRemove(of) | Self::OrderedRemove(of) | Self::MapRemove(of) => {
                of.len()
            }
            Self::OrderedAdd(of) => of.len(),
            Self::MapPut(of) => of.len(),
            _ => 1,
        }
    }

    /// The lattice that it is for; `None` for a deletion.
    pub fn lattice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Put(_) => "register",
            Self::Delete => return None,
            Self::Add(_) => "counter",
            Self::SetAdd(_) | Self::SetRemove(_) => "set",
            Self::OrderedAdd(_) | Self::OrderedRemove(_) => "ordered set",
            Self::MapPut(_) | Self::MapRemove(_) => "map",
            Self::Max(_) => "maximum",
            Self::Min(_) => "minimum",
            Self::Raise => "flag",
        })
    }

    /// Whether it carries a number that no order has a place for.
    pub fn is_nan(&self) -> bool {
        match self {
            Self::Max(number) | Self::Min(number) => number.is_nan(),
            Self::OrderedAdd(elements) => elements.iter().any(|(score, _)| score.is_nan()),
            _ => false,
        }
    }
}
