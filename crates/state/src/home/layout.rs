//! How keys lie in the store.
//!
//! Value records are under the bucket's id (8 bytes) and the key. A record is a capsule, or, when that is large, the
//! name and number of its chunks. A second, small record per key that is there makes listing cheap. Chunks are written
//! before the record that names them, and announced before that, so that what a crash leaves over is found and removed.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Batch, Op, Scan, Space, Store};

use crate::bucket::{Bucket, Buckets};
use crate::lattice::Capsule;
use crate::{Key, StateError};

const VALUES: Space = Space("state_values");
/// Keys that are there.
const KEYS: Space = Space("state_keys");
const CHUNKS: Space = Space("state_chunks");
/// Chunks that no record names yet.
const UNFINISHED: Space = Space("state_unfinished");
/// Keys that were deleted and whose record is still there.
const TOMBSTONES: Space = Space("state_tombstones");
/// Transactions that were committed, by their id.
const TRANSACTIONS: Space = Space("state_transactions");
/// Who this node is, and the last time that it gave out.
const NODE: Space = Space("state_node");

const CHUNK_BYTES: usize = 8 * 1024 * 1024;
const PAGE: usize = 256;

const WHOLE: u8 = 1;
const CHUNKED: u8 = 2;

/// A record whose capsule is elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chunked {
    id: [u8; 16],
    chunks: u32,
    checksum: u64,
}

impl Chunked {
    fn key(&self, chunk: u32) -> Bytes {
        let mut key = self.id.to_vec();
        key.extend_from_slice(&chunk.to_be_bytes());
        key.into()
    }

    fn deletions(&self) -> impl Iterator<Item = Op> + '_ {
        (0..self.chunks).map(|chunk| Op::Delete {
            space: CHUNKS,
            key: self.key(chunk),
        })
    }
}

pub(super) fn store_key(bucket: u64, key: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(8 + key.len());
    bytes.extend_from_slice(&bucket.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.into()
}

/// This node's number, made at the first start, and a time that is not before any that it gave out.
pub(super) async fn node(store: &dyn Store) -> Result<(u64, u64), StateError> {
    let number = match store.get(NODE, b"number").await? {
        Some(entry) => number(&entry.value)?,
        None => {
            let fresh = uuid::Uuid::new_v4().as_u64_pair().0 | 1;
            let batch = Batch::durable().put(NODE, &b"number"[..], fresh.to_be_bytes().to_vec());
            store.commit(batch).await?;
            fresh
        }
    };
    let last = store.get(NODE, b"time").await?;
    let last = last.map_or(Ok(0), |entry| self::number(&entry.value))?;
    Ok((number, last))
}

fn number(bytes: &[u8]) -> Result<u64, StateError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StateError::Corrupt("a number of another size".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Says in the batch that this time was given out.
pub(super) fn put_time(ops: &mut Vec<Op>, time: u64) {
    ops.push(Op::Put {
        space: NODE,
        key: Bytes::from_static(b"time"),
        value: time.to_be_bytes().to_vec().into(),
    });
}

pub(super) async fn read(store: &dyn Store, bucket: u64, key: &Key) -> Result<Option<Capsule>, StateError> {
    // A value in chunks may be replaced between the two reads; then the record names others.
    for _ in 0..16 {
        let Some(entry) = store.get(VALUES, &store_key(bucket, &key.key)).await? else {
            return Ok(None);
        };
        match entry.value.split_first() {
            Some((&WHOLE, capsule)) => return decode(key, capsule).map(Some),
            Some((&CHUNKED, record)) => {
                if let Some(bytes) = read_chunks(store, &chunked(key, record)?).await? {
                    return decode(key, &bytes).map(Some);
                }
            }
            _ => return Err(corrupt(key, "a record of an unknown kind")),
        }
    }
    Err(corrupt(key, "its chunks are not there"))
}

fn decode(key: &Key, bytes: &[u8]) -> Result<Capsule, StateError> {
    Capsule::decode(bytes).map_err(|reason| corrupt(key, &reason))
}

fn chunked(key: &Key, record: &[u8]) -> Result<Chunked, StateError> {
    postcard::from_bytes(record).map_err(|error| corrupt(key, &error.to_string()))
}

fn corrupt(key: &Key, reason: &str) -> StateError {
    StateError::Corrupt(format!("`{key}`: {reason}"))
}

/// `None` when a chunk is missing or another's.
async fn read_chunks(store: &dyn Store, record: &Chunked) -> Result<Option<Vec<u8>>, StateError> {
    let mut bytes = Vec::new();
    for chunk in 0..record.chunks {
        match store.get(CHUNKS, &record.key(chunk)).await? {
            Some(entry) => bytes.extend_from_slice(&entry.value),
            None => return Ok(None),
        }
    }
    Ok((xxhash_rust::xxh3::xxh3_64(&bytes) == record.checksum).then_some(bytes))
}

/// What replaces a key's record: the operations for the batch. Writes chunks of a large capsule at once.
pub(super) async fn replace(
    store: &dyn Store,
    bucket: u64,
    key: &Key,
    capsule: &Capsule,
) -> Result<Vec<Op>, StateError> {
    let name = store_key(bucket, &key.key);
    let mut ops = Vec::new();
    if let Some(entry) = store.get(VALUES, &name).await?
        && let Some((&CHUNKED, record)) = entry.value.split_first()
    {
        ops.extend(chunked(key, record)?.deletions());
    }
    let bytes = capsule.encode();
    let record = if bytes.len() <= CHUNK_BYTES {
        let mut record = Vec::with_capacity(bytes.len() + 1);
        record.push(WHOLE);
        record.extend_from_slice(&bytes);
        record
    } else {
        let written = write_chunks(store, bytes).await?;
        ops.push(Op::Delete {
            space: UNFINISHED,
            key: Bytes::copy_from_slice(&written.id),
        });
        postcard::to_extend(&written, vec![CHUNKED]).expect("a record is made of what postcard writes")
    };
    ops.push(Op::Put {
        space: VALUES,
        key: name.clone(),
        value: record.into(),
    });
    if capsule.is_tombstone() {
        for space in [KEYS, TOMBSTONES] {
            let key = name.clone();
            ops.push(match space {
                KEYS => Op::Delete { space, key },
                _ => Op::Put {
                    space,
                    key,
                    value: Bytes::new(),
                },
            });
        }
    } else {
        ops.push(Op::Put {
            space: KEYS,
            key: name,
            value: Bytes::new(),
        });
    }
    Ok(ops)
}

async fn write_chunks(store: &dyn Store, bytes: Bytes) -> Result<Chunked, StateError> {
    let chunks = bytes.len().div_ceil(CHUNK_BYTES);
    let record = Chunked {
        id: *uuid::Uuid::new_v4().as_bytes(),
        chunks: u32::try_from(chunks).expect("a value has a few dozen chunks"),
        checksum: xxhash_rust::xxh3::xxh3_64(&bytes),
    };
    let announced = postcard::to_stdvec(&record).expect("a record is made of what postcard writes");
    let id = Bytes::copy_from_slice(&record.id);
    let announce = Batch::buffered().put(UNFINISHED, id, announced);
    store.commit(announce).await?;
    for chunk in 0..record.chunks {
        let from = chunk as usize * CHUNK_BYTES;
        let part = bytes.slice(from..bytes.len().min(from + CHUNK_BYTES));
        // Durable with the record that names them: a later sync covers what was written before it.
        store
            .commit(Batch::buffered().put(CHUNKS, record.key(chunk), part))
            .await?;
    }
    Ok(record)
}

/// Removes chunks that were announced and that no record names.
pub(super) async fn drop_unfinished(store: &dyn Store) -> Result<(), StateError> {
    for (id, entry) in store.scan(Scan::prefix(UNFINISHED, Bytes::new())).await? {
        let record: Chunked =
            postcard::from_bytes(&entry.value).map_err(|error| StateError::Corrupt(error.to_string()))?;
        let mut batch = Batch::buffered().delete(UNFINISHED, id);
        batch.ops.extend(record.deletions());
        store.commit(batch).await?;
    }
    Ok(())
}

pub(super) async fn tombstones(
    store: &dyn Store,
    buckets: &Buckets,
) -> Result<VecDeque<(u64, Key)>, StateError> {
    let mut found = VecDeque::new();
    for bucket in buckets.list() {
        let prefix = store_key(bucket.id, b"");
        for (name, _) in store.scan(Scan::prefix(TOMBSTONES, prefix)).await? {
            found.push_back((0, Key::new(bucket.name.clone(), name.slice(8..))?));
        }
    }
    Ok(found)
}

/// What removes a key for good.
pub(super) fn bury(bucket: u64, key: &Key) -> Batch {
    let name = store_key(bucket, &key.key);
    Batch::buffered()
        .delete(VALUES, name.clone())
        .delete(TOMBSTONES, name)
}

pub(super) async fn list(
    store: &dyn Store,
    bucket: u64,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Bytes>, StateError> {
    let mut scan = Scan::prefix(KEYS, store_key(bucket, prefix)).limit(limit);
    if let Some(after) = after {
        scan = scan.after(store_key(bucket, after));
    }
    let found = store.scan(scan).await?;
    Ok(found.into_iter().map(|(key, _)| key.slice(8..)).collect())
}

/// Removes all that a bucket holds.
pub(super) async fn clear(store: &dyn Store, bucket: &Bucket) -> Result<(), StateError> {
    let prefix = store_key(bucket.id, b"");
    for space in [KEYS, TOMBSTONES] {
        loop {
            let page = store
                .scan(Scan::prefix(space, prefix.clone()).limit(PAGE))
                .await?;
            if page.is_empty() {
                break;
            }
            let mut batch = Batch::durable();
            for (name, _) in page {
                if let Some(entry) = store.get(VALUES, &name).await?
                    && let Some((&CHUNKED, record)) = entry.value.split_first()
                {
                    let key = Key::new(bucket.name.clone(), name.slice(8..))?;
                    batch.ops.extend(chunked(&key, record)?.deletions());
                }
                batch = batch.delete(VALUES, name.clone()).delete(space, name);
            }
            store.commit(batch).await?;
        }
    }
    Ok(())
}

/// When a transaction was committed, if it was.
pub(super) async fn transaction(store: &dyn Store, id: &str) -> Result<Option<u64>, StateError> {
    let found = store.get(TRANSACTIONS, id.as_bytes()).await?;
    found.map(|entry| number(&entry.value)).transpose()
}

pub(super) fn put_transaction(ops: &mut Vec<Op>, id: &str, time: u64) {
    ops.push(Op::Put {
        space: TRANSACTIONS,
        key: Bytes::copy_from_slice(id.as_bytes()),
        value: time.to_be_bytes().to_vec().into(),
    });
}

/// Forgets transactions from before `time`, a page behind `after`; where the next page begins.
pub(super) async fn forget_transactions(
    store: &dyn Store,
    time: u64,
    after: Option<Bytes>,
) -> Result<Option<Bytes>, StateError> {
    let mut scan = Scan::prefix(TRANSACTIONS, Bytes::new()).limit(PAGE);
    if let Some(after) = after {
        scan = scan.after(after);
    }
    let page = store.scan(scan).await?;
    let next = page.last().map(|(id, _)| id.clone());
    let mut batch = Batch::buffered();
    for (id, entry) in page {
        if number(&entry.value)? < time {
            batch = batch.delete(TRANSACTIONS, id);
        }
    }
    if !batch.ops.is_empty() {
        store.commit(batch).await?;
    }
    Ok(next)
}
