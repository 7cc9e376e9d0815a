//! The store on this machine's disk: [`Embedded`], on the engine fjall.
//!
//! Reads go to the engine directly. Writes go through a bounded queue to one thread that commits what waits as a group:
//! one write of the journal and, if any batch asks for it, one sync. See [`Writer`] for the order of things,
//! [`mark`] and [`journal`] for what is checked when it opens.

mod directory;
mod envelope;
mod group;
mod journal;
mod mark;
mod spaces;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::directory::{Directory, io};
use self::mark::{Floor, Mark};
use self::spaces::{Spaces, engine};
use self::writer::{Command, Writer};
use crate::batch::check_limits;
use crate::{BATCH_BYTES_MAX, Batch, Committed, Entry, Scan, Space, Store, StoreError};

/// Scans for more than this many entries do not run on the caller's thread.
const SCAN_INLINE_MAX: usize = 256;
/// About what an operation costs in memory beside its key and value.
const OP_OVERHEAD_BYTES: usize = 64;

/// What [`Embedded`] may use.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Bytes of the cache of what was read.
    pub cache_bytes: u64,
    /// Bytes that a space gathers in memory before they are sorted into a file.
    pub memtable_bytes: u64,
    /// The most batches that wait to be committed; further callers wait for room.
    pub queue_batches_max: usize,
    /// The most bytes that wait to be committed.
    pub queue_bytes_max: usize,
    /// Called first of all on the thread that commits, which everybody who writes waits for.
    pub on_writer_start: fn(),
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 4 * 1024 * 1024,
            memtable_bytes: 2 * 1024 * 1024,
            queue_batches_max: 1024,
            queue_bytes_max: 16 * 1024 * 1024,
            on_writer_start: || {},
        }
    }
}

/// A store on disk. One process has a directory open at a time.
///
/// Dropping it finishes what was asked of it, and blocks until that is done.
pub struct Embedded {
    commands: Option<mpsc::Sender<Command>>,
    queue_bytes: Arc<Semaphore>,
    queue_bytes_max: usize,
    writer: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What readers and the writer share. The directory goes last: it stays locked until the engine has closed.
struct Shared {
    spaces: Spaces,
    _directory: Directory,
}

impl Embedded {
    /// Opens the store in a directory, which is made when there is none. Blocks, usually for less than a second.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Format`], [`StoreError::Io`]; and [`StoreError::Corrupt`] when something
    /// that was acknowledged is not there any more.
    pub fn open(dir: impl AsRef<Path>, config: EmbeddedConfig) -> Result<Self, StoreError> {
        let directory = Directory::open(dir.as_ref())?;
        let floor = mark::read(&directory.mark())?;
        let advised = |error| match error {
            StoreError::Corrupt(what) => {
                StoreError::Corrupt(format!("{what}; {}", mark::advice(&directory.mark())))
            }
            other => other,
        };
        prepare(&directory, floor).map_err(&advised)?;
        let spaces = Spaces::open(&directory.db(), &config).map_err(&advised)?;
        let last = spaces.last_sequence()?;
        check_floor(floor, last).map_err(&advised)?;
        spaces
            .db
            .persist(fjall::PersistMode::SyncAll)
            .map_err(engine("sync the journal"))?;
        let mark = Mark::create(&directory.mark(), last)?;

        let shared = Arc::new(Shared {
            spaces,
            _directory: directory,
        });
        let (commands, queue) = mpsc::channel(config.queue_batches_max);
        let writer = Writer::new(shared.clone(), mark, last);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let writer = thread
            .spawn(move || {
                (config.on_writer_start)();
                writer.run(queue);
            })
            .map_err(io("start the writer"))?;
        Ok(Self {
            commands: Some(commands),
            queue_bytes: Arc::new(Semaphore::new(config.queue_bytes_max)),
            queue_bytes_max: config.queue_bytes_max,
            writer: Some(writer),
            shared,
        })
    }

    /// Commits what was asked before, syncs it and stops writing: later commits fail, reads still answer.
    /// The directory is free when the store is dropped.
    ///
    /// # Errors
    /// [`StoreError::Io`] when what was acknowledged as buffered could not be synced, or a write failed before.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Close { reply }).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn ask(&self, command: Command) -> Result<(), StoreError> {
        let commands = self.commands.as_ref().expect("it is there until the drop");
        commands.send(command).await.map_err(|_| closed())
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.shared.spaces.get(space, key)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        check_limits(&batch)?;
        let bytes = batch.ops.iter().map(|op| {
            let (key, value) = op.lengths();
            key + value + OP_OVERHEAD_BYTES
        });
        let bytes = bytes.sum::<usize>().min(self.queue_bytes_max);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = self.queue_bytes.clone().acquire_many_owned(bytes).await;
        let permit = permit.expect("the semaphore is never closed");
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit {
            batch,
            bytes,
            permit,
            reply,
        };
        self.ask(command).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        if scan.limit <= SCAN_INLINE_MAX {
            return self.shared.spaces.scan(&scan);
        }
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || shared.spaces.scan(&scan));
        task.await.unwrap_or_else(|error| {
            Err(StoreError::Io {
                attempted: "scan",
                reason: error.to_string(),
            })
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.commands.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Looks at what the engine will find, before it can change it.
fn prepare(directory: &Directory, floor: Floor) -> Result<(), StoreError> {
    let db = directory.db();
    match floor {
        Floor::At(sequence) => journal::check(&db, Some(sequence)),
        Floor::Waived => journal::check(&db, None),
        // A first start that was interrupted: the engine does not take up what it began itself.
        Floor::None if !db.join("version").exists() && journal::is_blank(&db)? => {
            match fs::remove_dir_all(&db) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(io("remove an unfinished database")(error))
                }
                _ => Ok(()),
            }
        }
        Floor::None => Ok(()),
    }
}

fn check_floor(floor: Floor, last: u64) -> Result<(), StoreError> {
    match floor {
        Floor::At(floor) if last < floor => Err(StoreError::Corrupt(format!(
            "commits up to {floor} were acknowledged, but only those up to {last} are there"
        ))),
        Floor::None if last > 0 => Err(StoreError::Corrupt(
            "the high-water mark is missing, so it is not known whether all commits are there".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn closed() -> StoreError {
    StoreError::Io {
        attempted: "commit a batch",
        reason: "the store is closed".to_owned(),
    }
}

// A batch must fit into the queue's permits, which count in 32 bits.
const _: () = assert!(BATCH_BYTES_MAX < u32::MAX as usize / 2);
