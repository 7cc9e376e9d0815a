//! What functions write, kept by function and time, with a limit on size and age.
//!
//! The dispatcher appends one [`LogBatch`] per invocation (or per second of a long one); the gateway reads and follows.
//! One task writes them, many in a commit, so that an append costs a hand-over and never a wait for the disk.

mod groups;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::{FunctionName, RequestId};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

pub use self::groups::LogGroup;
pub use self::read::{LogRecord, Place, RecordPage, RecordQuery, StreamView};

use self::groups::Groups;
use self::record::{LOGS, Record};
use self::writer::{Command, Reply, Until, Usages, Writer};
use crate::{Scan, Store, StoreError};

/// The most batches that wait to be written.
const QUEUE_BATCHES_MAX: usize = 1024;
/// The most bytes that wait to be written.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most batches that a follower may be behind.
const FOLLOW_BATCHES_MAX: usize = 1024;
/// The most batches that one read looks at, whatever its limit.
const READ_BATCHES_MAX: usize = 10_000;
/// A read stops, with a cursor, when it has found about this many bytes.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records that are fetched from the store at once.
const READ_STEP_RECORDS: usize = 64;
/// The most removals of one [`LogStore::enforce`].
const ENFORCE_STEPS_MAX: usize = 1024;

/// One kept line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The text, without its line end.
    pub message: String,
}

/// The lines of one invocation on one instance (or a part of them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Whose they are.
    pub function: FunctionName,
    /// The log stream: Lambda's `YYYY/MM/DD/[VERSION]INSTANCE`.
    pub stream: Arc<str>,
    /// The invocation; `None` for lines outside of any (a zygote's, a background thread's).
    pub request_id: Option<RequestId>,
    /// The lines, in order.
    pub events: Vec<LogEvent>,
}

/// How much is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The most bytes per function; the oldest batches go first. With none, nothing is written, and only followers see
    /// lines.
    pub bytes_per_function_max: u64,
    /// Batches older than this go.
    pub retention: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            bytes_per_function_max: 64 * 1024 * 1024,
            retention: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// A question for kept lines.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Whose.
    pub function: FunctionName,
    /// Only this invocation's.
    pub request_id: Option<RequestId>,
    /// Only batches behind this cursor, as [`LogPage::cursor`] gave it.
    pub after: Option<Bytes>,
    /// Only lines at or after this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// The most batches to look at; a page may look at fewer, and then has a cursor.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// In the order in which they were appended. A very large batch comes in several parts.
    pub batches: Vec<LogBatch>,
    /// Where to go on; `None` when the end was reached.
    pub cursor: Option<Bytes>,
}

/// The log store. A cheap handle.
///
/// What was appended is written before the last handle's task ends; [`LogStore::flush`] waits for it.
#[derive(Clone)]
pub struct LogStore {
    store: Arc<dyn Store>,
    config: LogConfig,
    usages: Usages,
    groups: Groups,
    commands: mpsc::Sender<Command>,
    queue_bytes: Arc<Semaphore>,
    followers: broadcast::Sender<Arc<LogBatch>>,
}

impl LogStore {
    /// Opens the logs that the store holds. One at a time: it alone keeps count of their sizes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open(store: Arc<dyn Store>, config: LogConfig) -> Result<Self, StoreError> {
        let rows = store.scan(Scan::prefix(record::USAGE, Bytes::new())).await?;
        let rows = rows
            .iter()
            .map(|(key, row)| record::decode_usage(key, &row.value));
        let usages = Usages::new(Mutex::new(rows.collect::<Result<_, _>>()?));
        let groups = groups::read(&store).await?;
        let (commands, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
        // It ends by itself, once every handle is gone and all that they handed over is written.
        tokio::spawn(Writer::new(store.clone(), usages.clone()).run(queue));
        Ok(Self {
            store,
            config,
            usages,
            groups,
            commands,
            queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            followers: broadcast::Sender::new(FOLLOW_BATCHES_MAX),
        })
    }

    /// Hands a batch over to be written (buffered: once written, it survives the process). Waits when too much is
    /// under way. A read that starts after this returned sees the batch. When the future is dropped before,
    /// the batch may be missing.
    pub async fn append(&self, batch: LogBatch) {
        if self.config.bytes_per_function_max > 0 {
            self.write(&batch).await;
        }
        if self.followers.receiver_count() > 0 {
            // Fails only when the last follower left just now.
            let _ = self.followers.send(Arc::new(batch));
        }
    }

    async fn write(&self, batch: &LogBatch) {
        let records = record::encode(batch, now_ms());
        let bytes = records.iter().map(Bytes::len).sum::<usize>().min(QUEUE_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the queue's bytes fit");
        let permit = self.queue_bytes.clone().acquire_many_owned(bytes).await;
        let permit = permit.expect("the semaphore is never closed");
        let function = batch.function.clone();
        let command = Command::Append {
            function,
            records,
            permit,
        };
        if self.commands.send(command).await.is_err() {
            tracing::error!(
                function = batch.function.as_str(),
                "the log writer is gone; lines are lost"
            );
        }
    }

    /// Waits until all that was appended before is written.
    ///
    /// # Errors
    /// Those of the store, since [`LogStore::open`]: lines that could not be written are lost.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Flush { reply }).await
    }

    /// Answers a query, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        self.flush().await?;
        let prefix = record::prefix(&query.function);
        let mut page = LogPage {
            batches: Vec::new(),
            cursor: self.start(&query),
        };
        let mut left = query.limit.min(READ_BATCHES_MAX);
        let mut bytes = 0;
        while left > 0 && bytes < READ_BYTES_MAX {
            let mut scan = Scan::prefix(LOGS, prefix.clone()).limit(left.min(READ_STEP_RECORDS));
            let wanted = scan.limit;
            scan.after = page.cursor.clone();
            let found = self.store.scan(scan).await?;
            for (key, entry) in &found {
                bytes += entry.value.len();
                page.batches.extend(query.pick(key, &entry.value)?);
            }
            if found.len() < wanted {
                page.cursor = None;
                return Ok(page);
            }
            left -= found.len();
            page.cursor = found.into_iter().next_back().map(|(key, _)| key);
        }
        Ok(page)
    }

    /// Batches of every function from now on, as they are appended; a slow reader is told how many it missed.
    pub fn follow(&self) -> broadcast::Receiver<Arc<LogBatch>> {
        self.followers.subscribe()
    }

    /// Removes what is too old or too much, the oldest first, up to a bounded number of batches.
    /// Called by its owner now and then.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn enforce(&self) -> Result<(), StoreError> {
        self.flush().await?;
        let mut functions: Vec<_> = writer::lock(&self.usages).keys().cloned().collect();
        let mut steps = 0;
        // In rounds, so that one function's many lines do not keep the others' past their limits.
        while !functions.is_empty() {
            let mut unfinished = Vec::new();
            for function in functions {
                if steps == ENFORCE_STEPS_MAX {
                    return Ok(());
                }
                steps += 1;
                let until = Until::Limits {
                    bytes_max: self.config.bytes_per_function_max,
                    oldest_ms: now_ms().saturating_sub(self.retention_ms(&function)),
                };
                if self.remove(&function, until).await? {
                    unfinished.push(function);
                }
            }
            functions = unfinished;
        }
        Ok(())
    }

    /// Removes all of a function's lines that were appended before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget(&self, function: &FunctionName) -> Result<(), StoreError> {
        self.flush().await?;
        let last = Scan::prefix(LOGS, record::prefix(function)).reverse().limit(1);
        let Some((last, _)) = self.store.scan(last).await?.pop() else {
            return Ok(());
        };
        while self.remove(function, Until::Key(last.clone())).await? {}
        Ok(())
    }

    /// Removes the lines of one stream of a function that were appended before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget_stream(&self, function: &FunctionName, stream: &str) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (function, stream) = (function.clone(), stream.to_owned());
            let step = self.ask(|reply| Command::RemoveStream {
                function,
                stream,
                after,
                reply,
            });
            after = step.await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn remove(&self, function: &FunctionName, until: Until) -> Result<bool, StoreError> {
        let function = function.clone();
        self.ask(|reply| Command::Remove {
            function,
            until,
            reply,
        })
        .await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // Whether the hand-over or the answer fails, the writer is gone.
        let _ = self.commands.send(command(reply)).await;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Io {
                attempted: "write logs",
                reason: "the log writer is gone".to_owned(),
            })
        })
    }

    /// Where a query starts: behind what it has seen and behind what was removed.
    fn start(&self, query: &LogQuery) -> Option<Bytes> {
        let head = writer::lock(&self.usages)
            .get(&query.function)
            .and_then(|usage| usage.head.clone());
        head.map(Bytes::from).max(query.after.clone())
    }
}

impl LogQuery {
    /// What the query wants of a record.
    fn pick(&self, key: &[u8], record: &[u8]) -> Result<Option<LogBatch>, StoreError> {
        let record = Record::open(key, record)?;
        let header = &record.header;
        let other = self.request_id.is_some() && self.request_id != header.request_id;
        if other || self.since_ms.is_some_and(|since| header.newest_ms < since) {
            return Ok(None);
        }
        let mut events = record.events(key)?;
        if let Some(since) = self.since_ms {
            events.retain(|event| event.at_ms >= since);
        }
        Ok(Some(LogBatch {
            function: self.function.clone(),
            stream: header.stream.clone(),
            request_id: header.request_id,
            events,
        }))
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
