//! What is asked of a store, and what it answers.

use std::ops::Bound;

use bytes::Bytes;

use crate::StoreError;

/// The most bytes of a key, and of what an append's key becomes.
pub const KEY_BYTES_MAX: usize = 1280;
/// The most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of a batch's keys and values.
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most operations of a batch.
pub const BATCH_OPS_MAX: usize = 100_000;
/// What an append adds to its prefix.
const APPEND_SUFFIX_BYTES: usize = 12;

/// A named, ordered set of keys. Each user of the store has its own, as a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(pub &'static str);

/// What a committed batch survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of the process (written, not synced). For logs and other records that may lose their last moments.
    Buffered,
    /// Power loss (synced, as part of a group). For everything that is acknowledged.
    Durable,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// The sequence number of the commit that wrote it.
    pub revision: u64,
}

/// What must hold for a batch to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key has no entry.
    Absent,
    /// The key's entry has this revision.
    Revision(u64),
}

/// One operation of a batch.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Where.
        space: Space,
        /// The key, 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes an entry; removing what is not there is not an error.
    Delete {
        /// Where.
        space: Space,
        /// The key.
        key: Bytes,
    },
    /// Writes a value under `prefix` followed by the commit's sequence number (8 bytes, big-endian) and the
    /// operation's place in its batch (4 bytes, big-endian): keys that only grow.
    Append {
        /// Where.
        space: Space,
        /// What the key starts with.
        prefix: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Writes nothing, but the batch is applied only if this holds.
    Check {
        /// Where.
        space: Space,
        /// The key.
        key: Bytes,
        /// What must hold.
        expect: Expect,
    },
}

/// Operations that are applied together or not at all, in their order.
///
/// Expectations are about what was there before the batch, wherever in it they stand.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What to do.
    pub ops: Vec<Op>,
    /// What it must survive.
    pub durability: Durability,
}

impl Batch {
    /// An empty batch that will survive power loss.
    pub fn durable() -> Self {
        Self {
            ops: Vec::new(),
            durability: Durability::Durable,
        }
    }

    /// An empty batch that will survive the end of the process.
    pub fn buffered() -> Self {
        Self {
            ops: Vec::new(),
            durability: Durability::Buffered,
        }
    }

    /// Adds a write.
    #[must_use]
    pub fn put(mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put {
            space,
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, space: Space, key: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Delete {
            space,
            key: key.into(),
        });
        self
    }

    /// Adds an append.
    #[must_use]
    pub fn append(mut self, space: Space, prefix: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Append {
            space,
            prefix: prefix.into(),
            value: value.into(),
        });
        self
    }

    /// Adds an expectation.
    #[must_use]
    pub fn expect(mut self, space: Space, key: impl Into<Bytes>, expect: Expect) -> Self {
        self.ops.push(Op::Check {
            space,
            key: key.into(),
            expect,
        });
        self
    }
}

/// A batch that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The commit's sequence number, which is the revision of all that it wrote.
    pub sequence: u64,
    /// The keys that appends were given, in their order.
    pub appended: Vec<Bytes>,
}

/// A question for entries in key order.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Where.
    pub space: Space,
    /// Only keys that start with this.
    pub prefix: Bytes,
    /// Only keys behind this one in the scan's direction, exclusive.
    pub after: Option<Bytes>,
    /// The most entries to return.
    pub limit: usize,
    /// From the last key to the first.
    pub reverse: bool,
}

impl Scan {
    /// All entries whose key starts with `prefix`, first to last.
    pub fn prefix(space: Space, prefix: impl Into<Bytes>) -> Self {
        Self {
            space,
            prefix: prefix.into(),
            after: None,
            limit: usize::MAX,
            reverse: false,
        }
    }

    /// Returns at most `limit` entries.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Starts behind `key`.
    #[must_use]
    pub fn after(mut self, key: impl Into<Bytes>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// Goes from the last key to the first.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

impl Scan {
    /// The range of keys that it asks for; `None` when that is empty.
    pub(crate) fn bounds(&self) -> Option<(Bound<Bytes>, Bound<Bytes>)> {
        let mut low = Bound::Included(self.prefix.clone());
        let mut high = prefix_end(&self.prefix).map_or(Bound::Unbounded, Bound::Excluded);
        match (&self.after, self.reverse) {
            (Some(after), false) if *after >= self.prefix => low = Bound::Excluded(after.clone()),
            (Some(after), true) if !matches!(&high, Bound::Excluded(end) if end <= after) => {
                high = Bound::Excluded(after.clone());
            }
            _ => {}
        }
        let empty = match (&low, &high) {
            (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
            _ => false,
        };
        (!empty).then_some((low, high))
    }
}

/// The first key behind all that start with `prefix`; `None` when there is none.
fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// The key that an append gets: see [`Op::Append`].
pub(crate) fn append_key(prefix: &[u8], sequence: u64, place: usize) -> Bytes {
    let place = u32::try_from(place).expect("a batch has at most BATCH_OPS_MAX operations");
    let mut key = Vec::with_capacity(prefix.len() + APPEND_SUFFIX_BYTES);
    key.extend_from_slice(prefix);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.extend_from_slice(&place.to_be_bytes());
    key.into()
}

/// Refuses a batch that is larger than any store takes.
pub(crate) fn check_limits(batch: &Batch) -> Result<(), StoreError> {
    let refuse = |what: &str, found: usize, max: usize| {
        let reason = format!("{what} of {found}, at most {max} are allowed");
        Err(StoreError::Refused { reason })
    };
    if batch.ops.len() > BATCH_OPS_MAX {
        return refuse("a number of operations", batch.ops.len(), BATCH_OPS_MAX);
    }
    let mut bytes = 0;
    for op in &batch.ops {
        let (key, value) = op.lengths();
        if key == 0 {
            let reason = "a key of no bytes".to_owned();
            return Err(StoreError::Refused { reason });
        }
        if key > KEY_BYTES_MAX {
            return refuse("key bytes", key, KEY_BYTES_MAX);
        }
        if value > VALUE_BYTES_MAX {
            return refuse("value bytes", value, VALUE_BYTES_MAX);
        }
        bytes += key + value;
    }
    if bytes > BATCH_BYTES_MAX {
        return refuse("batch bytes", bytes, BATCH_BYTES_MAX);
    }
    Ok(())
}

impl Op {
    /// Bytes of the key that it touches, and of its value.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        match self {
            Self::Put { key, value, .. } => (key.len(), value.len()),
            Self::Delete { key, .. } | Self::Check { key, .. } => (key.len(), 0),
            Self::Append { prefix, value, .. } => (prefix.len() + APPEND_SUFFIX_BYTES, value.len()),
        }
    }
}
