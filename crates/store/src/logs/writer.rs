//! The one task that writes logs: what waits becomes few commits, and the counts never race.
//!
//! [`LogStore`](super::LogStore) feeds it through a bounded queue; it ends when the last handle is gone and all is
//! written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use squall_types::FunctionName;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::record::{self, LOGS, Record, USAGE, Usage};
use crate::{Batch, Scan, Store, StoreError};

/// The most commands that are taken from the queue at once.
const TAKE_MAX: usize = 256;
/// How long the first append waits for others to share its commit. At one call after another, a commit for each would
/// take more CPU than the rest of the call; what a kill loses of the logs grows by this.
const GATHER: Duration = Duration::from_millis(10);
/// A commit is closed at about this size, so that no durable commit waits long behind it.
const COMMIT_BYTES: usize = 256 * 1024;
/// The most records that one removal looks at.
const REMOVE_RECORDS: usize = 128;

/// What the handles ask of the task.
pub(super) enum Command {
    /// Writes records.
    Append {
        function: FunctionName,
        records: Vec<Bytes>,
        /// The queue's bytes; free again once they are written.
        permit: OwnedSemaphorePermit,
    },
    /// Answers when all that was asked before is written.
    Flush { reply: Reply<()> },
    /// Removes some of a function's oldest records; answers whether there may be more to remove.
    Remove {
        function: FunctionName,
        until: Until,
        reply: Reply<bool>,
    },
    /// Removes some of a stream's records; answers up to where it has looked, if there is more behind.
    RemoveStream {
        function: FunctionName,
        stream: String,
        after: Option<Bytes>,
        reply: Reply<Option<Bytes>>,
    },
}

/// Where an answer goes. Whoever asked may be gone, which changes nothing.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// How far records are removed.
#[derive(Debug, Clone)]
pub(super) enum Until {
    /// Until the rest is small enough and young enough.
    Limits { bytes_max: u64, oldest_ms: i64 },
    /// Up to this key, inclusive; then the function is forgotten.
    Key(Bytes),
}

/// What each function has. Changed by the task alone.
pub(super) type Usages = Arc<Mutex<HashMap<FunctionName, Usage>>>;

/// The task's own things.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    usages: Usages,
    /// The first failure: what it lost stays lost, so every later answer says so.
    failed: Option<StoreError>,
    pending: Vec<(FunctionName, Bytes)>,
    pending_bytes: usize,
    /// Of all that is pending, given back at once.
    permit: Option<OwnedSemaphorePermit>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn Store>, usages: Usages) -> Self {
        Self {
            store,
            usages,
            failed: None,
            pending: Vec::new(),
            pending_bytes: 0,
            permit: None,
        }
    }

    /// Does what it is asked until nobody can ask any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::with_capacity(TAKE_MAX);
        while commands.recv_many(&mut taken, TAKE_MAX).await > 0 {
            if taken
                .iter()
                .all(|command| matches!(command, Command::Append { .. }))
            {
                tokio::time::sleep(GATHER).await;
                // Bounded by the queue's own capacity.
                while let Ok(command) = commands.try_recv() {
                    taken.push(command);
                }
            }
            for command in taken.drain(..) {
                self.handle(command).await;
            }
            self.write_pending().await;
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Append {
                function,
                records,
                permit,
            } => {
                for record in records {
                    self.pending_bytes += record.len();
                    self.pending.push((function.clone(), record));
                }
                match &mut self.permit {
                    Some(pending) => pending.merge(permit),
                    None => self.permit = Some(permit),
                }
                if self.pending_bytes >= COMMIT_BYTES {
                    self.write_pending().await;
                }
            }
            Command::Flush { reply } => {
                self.write_pending().await;
                let _ = reply.send(self.failed.clone().map_or(Ok(()), Err));
            }
            Command::Remove {
                function,
                until,
                reply,
            } => {
                self.write_pending().await;
                let _ = reply.send(self.remove(&function, &until).await);
            }
            Command::RemoveStream {
                function,
                stream,
                after,
                reply,
            } => {
                self.write_pending().await;
                let _ = reply.send(self.remove_stream(&function, &stream, after).await);
            }
        }
    }

    async fn write_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let count = self.pending.len();
        let mut changed: HashMap<FunctionName, (Usage, Bytes)> = HashMap::new();
        let mut batch = Batch::buffered();
        for (function, record) in std::mem::take(&mut self.pending) {
            let (usage, prefix) = match changed.get_mut(&function) {
                Some(known) => known,
                None => {
                    let known = (self.usage(&function), record::prefix(&function));
                    changed.entry(function).or_insert(known)
                }
            };
            usage.bytes += record_bytes(prefix.len() + record::APPEND_BYTES, record.len());
            batch = batch.append(LOGS, prefix.clone(), record);
        }
        self.pending_bytes = 0;
        for (function, (usage, _)) in &changed {
            batch = batch.put(USAGE, usage_key(function), record::encode_usage(usage));
        }
        let result = self.store.commit(batch).await;
        self.permit = None;
        match result {
            Ok(_) => {
                let usages = changed
                    .into_iter()
                    .map(|(function, (usage, _))| (function, usage));
                lock(&self.usages).extend(usages);
            }
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(batches = count, %error, "could not write logs; they are lost");
                }
                self.failed.get_or_insert(error);
            }
        }
    }

    async fn remove(&mut self, function: &FunctionName, until: &Until) -> Result<bool, StoreError> {
        let mut usage = self.usage(function);
        let mut scan = Scan::prefix(LOGS, record::prefix(function)).limit(REMOVE_RECORDS);
        scan.after = usage.head.clone().map(Bytes::from);
        let found = self.store.scan(scan).await?;
        let looked_at = found.len();
        let mut batch = Batch::buffered();
        for (key, entry) in found {
            let goes = match until {
                Until::Key(last) => key <= *last,
                Until::Limits { bytes_max, oldest_ms } => {
                    usage.bytes > *bytes_max
                        || Record::open(&key, &entry.value)?.header.newest_ms < *oldest_ms
                }
            };
            if !goes {
                break;
            }
            usage.bytes = usage
                .bytes
                .saturating_sub(record_bytes(key.len(), entry.value.len()));
            usage.head = Some(key.to_vec());
            batch = batch.delete(LOGS, key);
        }
        let more = looked_at == REMOVE_RECORDS && batch.ops.len() == looked_at;
        let forget = matches!(until, Until::Key(_)) && !more && usage.bytes == 0;
        if forget {
            self.store
                .commit(batch.delete(USAGE, usage_key(function)))
                .await?;
            lock(&self.usages).remove(function);
        } else if !batch.ops.is_empty() {
            let row = record::encode_usage(&usage);
            self.store
                .commit(batch.put(USAGE, usage_key(function), row))
                .await?;
            lock(&self.usages).insert(function.clone(), usage);
        }
        Ok(more)
    }

    async fn remove_stream(
        &mut self,
        function: &FunctionName,
        stream: &str,
        after: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut usage = self.usage(function);
        let mut scan = Scan::prefix(LOGS, record::prefix(function)).limit(REMOVE_RECORDS);
        scan.after = after.max(usage.head.clone().map(Bytes::from));
        let found = self.store.scan(scan).await?;
        let is_end = found.len() < REMOVE_RECORDS;
        // Somebody has asked for it, and is told that it is done.
        let mut batch = Batch::durable();
        let mut last = None;
        for (key, entry) in found {
            if Record::open(&key, &entry.value)?.header.stream.as_ref() == stream {
                usage.bytes = usage
                    .bytes
                    .saturating_sub(record_bytes(key.len(), entry.value.len()));
                batch = batch.delete(LOGS, key.clone());
            }
            last = Some(key);
        }
        if !batch.ops.is_empty() {
            let row = record::encode_usage(&usage);
            self.store
                .commit(batch.put(USAGE, usage_key(function), row))
                .await?;
            lock(&self.usages).insert(function.clone(), usage);
        }
        Ok(last.filter(|_| !is_end))
    }

    fn usage(&self, function: &FunctionName) -> Usage {
        lock(&self.usages).get(function).cloned().unwrap_or_default()
    }
}

/// The usages; no change of them can panic half done.
pub(super) fn lock(usages: &Usages) -> std::sync::MutexGuard<'_, HashMap<FunctionName, Usage>> {
    usages.lock().unwrap_or_else(PoisonError::into_inner)
}

fn usage_key(function: &FunctionName) -> Bytes {
    Bytes::copy_from_slice(function.as_str().as_bytes())
}

fn record_bytes(key: usize, value: usize) -> u64 {
    (key + value) as u64
}
