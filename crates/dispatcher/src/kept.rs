//! Records that are kept for a time: what calls with an idempotency key came to, and what came of accepted events.
//!
//! The store holds the records; in memory is only when each one's time is over, and its size. A record's key is its
//! kind, the end of its time, its id; beside it is a small one, `x` before the same, which opening reads instead of the
//! records. With the end in the key, what removes an old record never meets one that was written anew under its id.
//! Bounded by their number and their bytes: at the bound a kind either takes no more or lets its oldest go.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Batch, Op, Scan, Space, Store, StoreError};

use crate::log::unix_ms;

const OUTCOMES: Space = Space("outcomes");
/// What the keys of ends start with.
const END: u8 = b'x';
/// Ends that are read at once when it is opened.
const OPEN_PAGE_RECORDS: usize = 10_000;
/// Records that are removed in one batch.
const REMOVED_AT_ONCE_MAX: usize = 1000;
const HEADER_BYTES: usize = 5;

/// Names a record among those of its kind: a UUID, or the beginning of a hash.
pub(crate) type KeptId = [u8; 16];

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) retention: Duration,
    pub(crate) records_max: usize,
    pub(crate) bytes_max: u64,
}

/// The records of one kind.
pub(crate) struct Kept {
    store: Arc<dyn Store>,
    /// The first byte of its records' keys.
    kind: u8,
    limits: Limits,
    ends: Mutex<Ends>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    at_ms: i64,
    bytes: u32,
}

#[derive(Debug, Default)]
struct Ends {
    by_id: HashMap<KeptId, End>,
    by_time: BTreeSet<(i64, KeptId)>,
    bytes: u64,
}

impl Ends {
    /// Gives what it replaces.
    fn insert(&mut self, id: KeptId, end: End) -> Option<End> {
        let before = self.remove(id);
        self.by_id.insert(id, end);
        self.by_time.insert((end.at_ms, id));
        self.bytes += u64::from(end.bytes);
        before
    }

    fn remove(&mut self, id: KeptId) -> Option<End> {
        let end = self.by_id.remove(&id)?;
        self.by_time.remove(&(end.at_ms, id));
        self.bytes -= u64::from(end.bytes);
        Some(end)
    }

    fn pop_first(&mut self) -> Option<(KeptId, End)> {
        let (_, id) = *self.by_time.first()?;
        self.remove(id).map(|end| (id, end))
    }
}

/// A record that is about to be written, in a batch that its caller commits.
pub(crate) struct Put {
    /// Moved out by who commits them.
    pub(crate) ops: Vec<Op>,
    id: KeptId,
    end: End,
}

impl Kept {
    /// Reads when each record ends.
    pub(crate) async fn open(store: Arc<dyn Store>, kind: u8, limits: Limits) -> Result<Self, StoreError> {
        let mut ends = Ends::default();
        let mut stale = Batch::buffered();
        let mut scan = Scan::prefix(OUTCOMES, vec![END, kind]).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = store.scan(scan.clone()).await?;
            for (key, entry) in &page {
                let (id, end) = read_end(key, &entry.value)?;
                // Ends come in their order, so what one replaces is the older of the two.
                if let Some(before) = ends.insert(id, end) {
                    stale = delete(stale, kind, before.at_ms, id);
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        if !stale.ops.is_empty() {
            store.commit(stale).await?;
        }
        let ends = Mutex::new(ends);
        Ok(Self {
            store,
            kind,
            limits,
            ends,
        })
    }

    /// The record, and until when it is kept in milliseconds since 1970; `None` when its time is over.
    pub(crate) async fn get(&self, id: KeptId, now: SystemTime) -> Result<Option<(Bytes, i64)>, StoreError> {
        let end = self.ends().by_id.get(&id).copied();
        let Some(end) = end.filter(|end| end.at_ms > unix_ms(now)) else {
            return Ok(None);
        };
        let entry = self
            .store
            .get(OUTCOMES, &record_key(self.kind, end.at_ms, id))
            .await?;
        Ok(entry.map(|entry| (entry.value, end.at_ms)))
    }

    /// Whether it takes no more, beside `more` that are on their way to it.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        let ends = self.ends();
        ends.by_id.len() + more >= self.limits.records_max || ends.bytes >= self.limits.bytes_max
    }

    /// What writes a record, whose time begins `from`. Call [`noted`](Self::noted) once that is committed.
    pub(crate) fn put(&self, id: KeptId, record: Bytes, from: SystemTime) -> Put {
        let end = End {
            at_ms: unix_ms(from + self.limits.retention),
            bytes: u32::try_from(record.len()).unwrap_or(u32::MAX),
        };
        let mut batch = Batch::buffered();
        let before = self.ends().by_id.get(&id).copied();
        if let Some(before) = before.filter(|before| before.at_ms != end.at_ms) {
            batch = delete(batch, self.kind, before.at_ms, id);
        }
        let ops = batch
            .put(OUTCOMES, record_key(self.kind, end.at_ms, id), record)
            .put(
                OUTCOMES,
                end_key(self.kind, end.at_ms, id),
                end.bytes.to_le_bytes().to_vec(),
            )
            .ops;
        Put { ops, id, end }
    }

    /// Knows a record that was written.
    pub(crate) fn noted(&self, put: &Put) {
        self.ends().insert(put.id, put.end);
    }

    /// Removes what is past its time, or over the bounds: the oldest go first.
    pub(crate) async fn sweep(&self, now: SystemTime) -> Result<(), StoreError> {
        loop {
            let gone = self.take_old(unix_ms(now));
            if gone.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::buffered();
            for (id, end) in &gone {
                batch = delete(batch, self.kind, end.at_ms, *id);
            }
            if let Err(error) = self.store.commit(batch).await {
                let mut ends = self.ends();
                for (id, end) in gone {
                    // One that was written anew meanwhile stays as it is.
                    if !ends.by_id.contains_key(&id) {
                        ends.insert(id, end);
                    }
                }
                return Err(error);
            }
        }
    }

    /// Whether the bounds ask for a sweep before the next one comes by itself.
    pub(crate) fn is_over(&self) -> bool {
        let ends = self.ends();
        self.limits.are_passed(&ends)
    }

    fn take_old(&self, now_ms: i64) -> Vec<(KeptId, End)> {
        let mut ends = self.ends();
        let mut gone = Vec::new();
        while gone.len() < REMOVED_AT_ONCE_MAX {
            let is_old = ends.by_time.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms);
            if !is_old && !self.limits.are_passed(&ends) {
                break;
            }
            let Some(first) = ends.pop_first() else { break };
            gone.push(first);
        }
        gone
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    fn are_passed(&self, ends: &Ends) -> bool {
        ends.by_id.len() > self.records_max || ends.bytes > self.bytes_max
    }
}

fn record_key(kind: u8, at_ms: i64, id: KeptId) -> Vec<u8> {
    let at_ms = u64::try_from(at_ms).unwrap_or(0);
    [&[kind][..], &at_ms.to_be_bytes(), &id].concat()
}

fn end_key(kind: u8, at_ms: i64, id: KeptId) -> Vec<u8> {
    let mut key = record_key(kind, at_ms, id);
    key.insert(0, END);
    key
}

fn delete(batch: Batch, kind: u8, at_ms: i64, id: KeptId) -> Batch {
    batch
        .delete(OUTCOMES, record_key(kind, at_ms, id))
        .delete(OUTCOMES, end_key(kind, at_ms, id))
}

fn read_end(key: &[u8], value: &[u8]) -> Result<(KeptId, End), StoreError> {
    let broken = || StoreError::Corrupt(format!("`{}` is no end of a kept record", key.escape_ascii()));
    let fields = key.get(2..).and_then(|rest| rest.split_first_chunk::<8>());
    let (at_ms, id) = fields.ok_or_else(broken)?;
    let end = End {
        at_ms: i64::try_from(u64::from_be_bytes(*at_ms)).map_err(|_| broken())?,
        bytes: u32::from_le_bytes(value.try_into().map_err(|_| broken())?),
    };
    Ok((id.try_into().map_err(|_| broken())?, end))
}

/// Writes a record: a format byte, the CRC-32 of the rest (little-endian), the rest in postcard.
pub(crate) fn seal(format: u8, record: &impl Serialize, bytes: usize) -> Bytes {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + 128 + bytes);
    sealed.extend_from_slice(&[format, 0, 0, 0, 0]);
    let mut sealed =
        postcard::to_extend(record, sealed).expect("strings, bytes and numbers always have a form");
    let sum = crc32fast::hash(&sealed[HEADER_BYTES..]);
    sealed[1..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    sealed.into()
}

/// Reads a record of the format that this version writes.
pub(crate) fn unseal<'a, T: Deserialize<'a>>(format: u8, record: &'a [u8]) -> Result<T, String> {
    let Some((&[found, ref sum @ ..], body)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err("it is cut off".to_owned());
    };
    if found != format {
        return Err(format!("its format is {found}; this version reads {format}"));
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return Err("its checksum is wrong".to_owned());
    }
    postcard::from_bytes(body).map_err(|error| error.to_string())
}
