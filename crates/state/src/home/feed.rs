//! Changes of a bucket, kept in order in the store until whoever watches it trims them. Written in the same batch as
//! the change itself, so that none is missed and none is told that did not happen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Batch, Committed, Op, Scan, Space, Store};
use tokio::sync::watch;

use super::Home;
use super::layout::store_key;
use crate::bucket::{Bucket, Buckets};
use crate::lattice::{Capsule, Dot};
use crate::{Key, StateError};

const CHANGES: Space = Space("state_changes");
const VERSION: u8 = 1;
const PAGE: usize = 1000;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It was written.
    Written,
    /// It was deleted.
    Deleted,
}

/// One change. Changes of one key are in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it stands among the bucket's changes: what to read on from, and what to trim up to.
    pub cursor: Cursor,
    /// Which key, in its bucket.
    pub key: Bytes,
    /// What happened.
    pub kind: ChangeKind,
    /// What the key holds: `register`, `counter`, …
    pub lattice: String,
    /// When, in microseconds since 1970.
    pub time: u64,
}

/// A place among a bucket's changes. Ordered as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(Bytes);

impl Cursor {
    /// As bytes, to be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Behind all changes up to that commit of the store, and before all later ones.
    pub fn behind(commit: u64) -> Self {
        let mut bytes = commit.to_be_bytes().to_vec();
        // Then the place in the batch, as an append has it: no batch has so many operations.
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        Self(bytes.into())
    }

    /// What [`Cursor::as_bytes`] gave.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    key: Bytes,
    kind: ChangeKind,
    lattice: String,
    time: u64,
}

/// How many changes each bucket keeps, and how its watchers are woken.
pub(super) struct Feeds {
    changes_max: u64,
    of: Mutex<HashMap<u64, Feed>>,
}

struct Feed {
    kept: u64,
    last: watch::Sender<u64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            kept: 0,
            last: watch::Sender::new(0),
        }
    }
}

impl Feeds {
    pub(super) async fn open(
        store: &dyn Store,
        buckets: &Buckets,
        changes_max: u64,
    ) -> Result<Self, StateError> {
        let mut of = HashMap::new();
        for bucket in buckets.list() {
            if !bucket.settings.keeps_changes {
                continue;
            }
            let mut feed = Feed::default();
            let mut after = None;
            loop {
                let mut scan = Scan::prefix(CHANGES, store_key(bucket.id, b"")).limit(PAGE);
                scan.after = after;
                let page = store.scan(scan).await?;
                feed.kept += page.len() as u64;
                after = page.last().map(|(key, _)| key.clone());
                if after.is_none() {
                    break;
                }
            }
            of.insert(bucket.id, feed);
        }
        Ok(Self {
            changes_max,
            of: Mutex::new(of),
        })
    }

    fn of(&self) -> MutexGuard<'_, HashMap<u64, Feed>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What writes a change down.
    ///
    /// # Errors
    /// [`StateError::Full`] when nobody has trimmed for too long: the write must wait for whoever watches.
    pub(super) fn append(
        &self,
        bucket: &Bucket,
        key: &Key,
        after: &Capsule,
        dot: Dot,
    ) -> Result<Op, StateError> {
        let mut feeds = self.of();
        if feeds.entry(bucket.id).or_default().kept >= self.changes_max {
            return Err(StateError::Full {
                what: format!("the list of changes of bucket `{}`", bucket.name),
                max: self.changes_max,
            });
        }
        let record = Record {
            key: key.key.clone(),
            kind: if after.is_tombstone() {
                ChangeKind::Deleted
            } else {
                ChangeKind::Written
            },
            lattice: after.body().name().to_owned(),
            time: dot.stamp.time,
        };
        let value = postcard::to_extend(&record, vec![VERSION]);
        Ok(Op::Append {
            space: CHANGES,
            prefix: store_key(bucket.id, b""),
            value: value.expect("a change is made of what postcard writes").into(),
        })
    }

    /// Wakes the watchers of buckets that have changed.
    pub(super) fn committed<'a>(&self, buckets: impl Iterator<Item = &'a Bucket>, committed: &Committed) {
        let mut feeds = self.of();
        for bucket in buckets.filter(|bucket| bucket.settings.keeps_changes) {
            let feed = feeds.entry(bucket.id).or_default();
            feed.kept += 1;
            feed.last.send_replace(committed.sequence);
        }
    }
}

impl Home {
    /// Changes behind a cursor, or from the first that is kept.
    pub(crate) async fn read_changes(
        &self,
        bucket: &Bucket,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Change>, StateError> {
        let mut scan = Scan::prefix(CHANGES, store_key(bucket.id, b"")).limit(limit);
        scan.after = after.map(|cursor| store_key(bucket.id, &cursor.0));
        let found = self.0.store.scan(scan).await?;
        found
            .into_iter()
            .map(|(key, entry)| {
                let record: Record = match entry.value.split_first() {
                    Some((&VERSION, rest)) => {
                        postcard::from_bytes(rest).map_err(|error| StateError::Corrupt(error.to_string()))?
                    }
                    _ => return Err(StateError::Corrupt("a change has a format of its own".to_owned())),
                };
                Ok(Change {
                    cursor: Cursor(key.slice(8..)),
                    key: record.key,
                    kind: record.kind,
                    lattice: record.lattice,
                    time: record.time,
                })
            })
            .collect()
    }

    /// Forgets changes up to and with a cursor.
    pub(crate) async fn trim_changes(&self, bucket: &Bucket, upto: &Cursor) -> Result<(), StateError> {
        loop {
            let scan = Scan::prefix(CHANGES, store_key(bucket.id, b"")).limit(PAGE);
            let page = self.0.store.scan(scan).await?;
            let last = store_key(bucket.id, &upto.0);
            let mut batch = Batch::buffered();
            for (key, _) in page.into_iter().take_while(|(key, _)| *key <= last) {
                batch = batch.delete(CHANGES, key);
            }
            if batch.ops.is_empty() {
                return Ok(());
            }
            let count = batch.ops.len() as u64;
            self.0.store.commit(batch).await?;
            let mut feeds = self.0.feeds.of();
            let feed = feeds.entry(bucket.id).or_default();
            feed.kept = feed.kept.saturating_sub(count);
        }
    }

    /// Turns when the bucket has changed. Also forgets nothing: who looks after turning has not missed anything.
    pub(crate) fn changed(&self, bucket: &Bucket) -> watch::Receiver<u64> {
        self.0.feeds.of().entry(bucket.id).or_default().last.subscribe()
    }
}
