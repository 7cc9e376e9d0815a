//! The engine and its keyspaces: one for each [`Space`], made when it is first written to, and one of our own.
//!
//! Readers call it directly; only the writer thread writes. Reads go through a snapshot, because the engine's plain
//! reads see a batch that is being applied.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, Readable};

use super::group::{GROUP_KEY, Group};
use super::{EmbeddedConfig, envelope};
use crate::{Entry, Scan, Space, StoreError};

/// The keyspace of our own.
const OWN: &str = "squall";
/// What the other keyspaces' names start with.
const SPACE_PREFIX: &str = "space.";
/// More files than this are not kept open.
const OPEN_FILES_MAX: usize = 64;
/// The least that the engine accepts, so that a start has little to replay.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Above these, writing waits for the background thread. The engine waits by itself only at 4 and at 30, and then for
/// ever, if that thread has died.
const SEALED_MEMTABLES_MAX: usize = 2;
const UNMERGED_TABLES_MAX: usize = 16;

/// How a keyspace is made.
fn options() -> KeyspaceCreateOptions {
    // Memtables are sealed by us.
    KeyspaceCreateOptions::default().max_memtable_size(u64::MAX)
}

/// The engine, open.
pub(super) struct Spaces {
    keyspaces: RwLock<HashMap<String, Keyspace>>,
    own: Keyspace,
    pub(super) db: Database,
    memtable_bytes: u64,
}

impl Spaces {
    pub(super) fn open(path: &Path, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let builder = Database::builder(path)
            .cache_size(config.cache_bytes)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            // One: with two, the first spins while the second compacts.
            .worker_threads(1)
            .manual_journal_persist(true);
        let attempted = engine("open the engine");
        let db = builder.open().map_err(&attempted)?;
        let own = db.keyspace(OWN, options).map_err(&attempted)?;
        let mut keyspaces = HashMap::new();
        for name in db.list_keyspace_names() {
            if let Some(space) = name.strip_prefix(SPACE_PREFIX) {
                let keyspace = db.keyspace(&name, options).map_err(&attempted)?;
                keyspaces.insert(space.to_owned(), keyspace);
            }
        }
        Ok(Self {
            keyspaces: RwLock::new(keyspaces),
            own,
            db,
            memtable_bytes: config.memtable_bytes,
        })
    }

    /// The sequence number of the last commit; 0 when there is none.
    pub(super) fn last_sequence(&self) -> Result<u64, StoreError> {
        let stored = self
            .db
            .snapshot()
            .get(&self.own, GROUP_KEY)
            .map_err(engine("read"))?;
        let Some(stored) = stored else { return Ok(0) };
        envelope::open(GROUP_KEY, &stored).map(|entry| entry.revision)
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let Some(keyspace) = self.keyspace(space) else {
            return Ok(None);
        };
        let stored = self.db.snapshot().get(&keyspace, key).map_err(engine("read"))?;
        stored.map(|stored| envelope::open(key, &stored)).transpose()
    }

    pub(super) fn scan(&self, scan: &Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        let (Some(keyspace), Some(bounds)) = (self.keyspace(scan.space), scan.bounds()) else {
            return Ok(Vec::new());
        };
        let mut range = self.db.snapshot().range(&keyspace, bounds);
        let mut found = Vec::new();
        while found.len() < scan.limit {
            let next = if scan.reverse {
                range.next_back()
            } else {
                range.next()
            };
            let Some(next) = next else { break };
            let (key, stored) = next.into_inner().map_err(engine("read"))?;
            let entry = envelope::open(&key, &stored)?;
            found.push((Bytes::copy_from_slice(&key), entry));
        }
        Ok(found)
    }

    /// Writes a group as one batch of the engine. It is seen only after it is as durable as it asks to be.
    pub(super) fn write(&self, group: &Group) -> Result<(), StoreError> {
        let mode = if group.durable {
            fjall::PersistMode::SyncData
        } else {
            fjall::PersistMode::Buffer
        };
        let mut batch = self.db.batch().durability(Some(mode));
        // In the order of spaces: each is looked up once, however many records are written to it.
        let mut current: Option<(Space, Keyspace)> = None;
        for ((space, key), write) in &group.writes {
            let keyspace = match current.take_if(|(of, _)| of == space) {
                Some((_, keyspace)) => keyspace,
                None if write.is_some() => self.keyspace_or_new(*space)?,
                None => match self.keyspace(*space) {
                    Some(keyspace) => keyspace,
                    None => continue,
                },
            };
            match write {
                Some((revision, value)) => {
                    batch.insert(&keyspace, key.as_ref(), envelope::seal(key, *revision, value));
                }
                None => batch.remove(&keyspace, key.as_ref()),
            }
            current = Some((*space, keyspace));
        }
        let stored = envelope::seal(GROUP_KEY, group.next - 1, &group.encode_first());
        batch.insert(&self.own, GROUP_KEY, stored);
        batch.commit().map_err(engine("commit a batch"))
    }

    /// Whether the background thread is so far behind that writing the group now would make the engine wait.
    pub(super) fn is_crowded(&self, group: &Group) -> bool {
        self.touched(group).iter().any(|keyspace| {
            keyspace.tree.sealed_memtable_count() > SEALED_MEMTABLES_MAX
                || keyspace.l0_table_count() > UNMERGED_TABLES_MAX
        })
    }

    /// Seals what has gathered enough in memory, to be flushed in the background.
    ///
    /// The engine would do so itself, but asks its background thread to once per write, through a queue to which
    /// that thread itself sends: when it is behind, they stop each other for ever.
    pub(super) fn seal_full_memtables(&self, group: &Group) -> Result<(), StoreError> {
        for keyspace in self.touched(group) {
            if keyspace.tree.active_memtable().size() >= self.memtable_bytes {
                keyspace
                    .rotate_memtable()
                    .map_err(engine("seal what is in memory"))?;
            }
        }
        Ok(())
    }

    /// The keyspaces that a group writes to, as far as they exist.
    fn touched(&self, group: &Group) -> Vec<Keyspace> {
        let mut spaces: Vec<_> = group.writes.keys().map(|(space, _)| *space).collect();
        spaces.dedup();
        let keyspaces = spaces.into_iter().filter_map(|space| self.keyspace(space));
        keyspaces.chain([self.own.clone()]).collect()
    }

    fn keyspace(&self, space: Space) -> Option<Keyspace> {
        let keyspaces = self.keyspaces.read().unwrap_or_else(PoisonError::into_inner);
        keyspaces.get(space.0).cloned()
    }

    fn keyspace_or_new(&self, space: Space) -> Result<Keyspace, StoreError> {
        if let Some(keyspace) = self.keyspace(space) {
            return Ok(keyspace);
        }
        let name = format!("{SPACE_PREFIX}{}", space.0);
        let keyspace = self
            .db
            .keyspace(&name, options)
            .map_err(engine("create a space"))?;
        let mut keyspaces = self.keyspaces.write().unwrap_or_else(PoisonError::into_inner);
        keyspaces.insert(space.0.to_owned(), keyspace.clone());
        Ok(keyspace)
    }
}

/// Turns what the engine said into what the caller learns.
pub(super) fn engine(attempted: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |error| match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => StoreError::Io {
            attempted,
            reason: error.to_string(),
        },
        fjall::Error::Poisoned => StoreError::Io {
            attempted,
            reason: "writing in the background failed before".to_owned(),
        },
        fjall::Error::Locked => StoreError::Io {
            attempted,
            reason: "the engine's own lock is held".to_owned(),
        },
        other => StoreError::Corrupt(format!("could not {attempted}: {other:?}")),
    }
}
