//! The one thread that writes: it takes the batches that wait, commits them as one group, and answers them all.
//!
//! While a group is being synced the next one gathers in the queue, so the disk's slowness makes groups larger
//! instead of callers slower. After a failure nothing more is written, because what follows a lost write would be lost with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Shared;
use super::group::Group;
use super::mark::Mark;
use super::spaces::engine;
use crate::{Batch, Committed, StoreError};

/// The most batches in a group.
const GROUP_BATCHES_MAX: usize = 1024;
/// A group is closed at this size.
const GROUP_BYTES: u32 = 4 * 1024 * 1024;
/// After so long the engine's own limits decide.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is asked of the thread.
pub(super) enum Command {
    /// Commits a batch.
    Commit {
        batch: Batch,
        /// The batch's part of the queue's bytes.
        bytes: u32,
        permit: OwnedSemaphorePermit,
        reply: Reply<Committed>,
    },
    /// Syncs all that was asked before, and ends.
    Close { reply: Reply<()> },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// The thread's own things.
pub(super) struct Writer {
    shared: Arc<Shared>,
    mark: Mark,
    last: u64,
    failed: Option<StoreError>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, mark: Mark, last: u64) -> Self {
        Self {
            shared,
            mark,
            last,
            failed: None,
        }
    }

    /// Commits until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = commands.blocking_recv() else {
                break;
            };
            let mut waiting = Vec::new();
            let mut group_bytes: u32 = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Commit {
                        batch,
                        bytes,
                        permit,
                        reply,
                    } => {
                        group_bytes = group_bytes.saturating_add(bytes);
                        waiting.push((batch, permit, reply));
                    }
                    Command::Close { reply } => {
                        closing = Some(reply);
                        break;
                    }
                }
                let full = waiting.len() >= GROUP_BATCHES_MAX || group_bytes >= GROUP_BYTES;
                next = if full { None } else { commands.try_recv().ok() };
            }
            self.commit(waiting);
        }
        let closed = self.close();
        match (closing, closed) {
            // Whoever asked may be gone, which changes nothing.
            (Some(reply), closed) => drop(reply.send(closed)),
            (None, Err(error)) => tracing::error!(%error, "could not close the store in order"),
            (None, Ok(())) => {}
        }
    }

    fn commit(&mut self, waiting: Vec<(Batch, OwnedSemaphorePermit, Reply<Committed>)>) {
        let mut group = Group::behind(self.last);
        let mut answers = Vec::with_capacity(waiting.len());
        for (batch, permit, reply) in waiting {
            let answer = match &self.failed {
                Some(failed) => Err(failed.clone()),
                None => group.add(batch, &self.shared.spaces),
            };
            answers.push((reply, answer, permit));
        }
        let written = self.write(&group);
        for (reply, answer, _permit) in answers {
            // A refusal, too, may rest on what this group did not get written.
            let answer = match &written {
                Ok(()) => answer,
                Err(error) => Err(error.clone()),
            };
            let _ = reply.send(answer);
        }
    }

    fn write(&mut self, group: &Group) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let last = group.next - 1;
        let written = self
            .make_room(group)
            .and_then(|()| self.shared.spaces.write(group))
            .and_then(|()| self.mark.advance(last, group.durable))
            .and_then(|()| self.shared.spaces.seal_full_memtables(group));
        match &written {
            Ok(()) => self.last = last,
            Err(error) => {
                tracing::error!(%error, "the store takes no more writes until it is opened again");
                self.failed = Some(error.clone());
            }
        }
        written
    }

    /// Waits until the engine's background thread has caught up, or has failed.
    fn make_room(&self, group: &Group) -> Result<(), StoreError> {
        let db = &self.shared.spaces.db;
        let started = Instant::now();
        while self.shared.spaces.is_crowded(group) {
            // This is how the engine says that the background thread has failed.
            db.persist(fjall::PersistMode::Buffer)
                .map_err(engine("write in the background"))?;
            if started.elapsed() > WAIT_MAX {
                tracing::warn!("the store's background thread is behind");
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let persisted = self.shared.spaces.db.persist(fjall::PersistMode::SyncAll);
        persisted.map_err(engine("sync the journal"))?;
        self.mark.advance(self.last, true)?;
        self.mark.sync()
    }
}
