//! What functions write, kept by function and time, with a limit on size and age.
//!
//! The dispatcher appends one [`LogBatch`] per invocation (or per second of a long one); the gateway reads and follows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::{FunctionName, RequestId};
use tokio::sync::broadcast;

use crate::{Store, StoreError};

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
    pub stream: String,
    /// The invocation; `None` for lines outside of any (a zygote's, a background thread's).
    pub request_id: Option<RequestId>,
    /// The lines, in order.
    pub events: Vec<LogEvent>,
}

/// How much is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The most bytes per function; the oldest batches go first.
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
    /// The most batches to look at.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// In the order in which they were appended.
    pub batches: Vec<LogBatch>,
    /// Where to go on; `None` when the end was reached.
    pub cursor: Option<Bytes>,
}

/// The log store. A cheap handle.
#[derive(Clone)]
pub struct LogStore {}

#[allow(unused_variables)]
impl LogStore {
    /// Opens the logs that the store holds; sizes are counted anew from it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open(store: Arc<dyn Store>, config: LogConfig) -> Result<Self, StoreError> {
        unimplemented!()
    }
    /// Hands a batch over to be written (buffered: it survives the process). Waits when too much is under way.
    /// A read that starts after this returned sees the batch.
    pub async fn append(&self, batch: LogBatch) {
        unimplemented!()
    }
    /// Answers a query, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        unimplemented!()
    }
    /// Batches of every function from now on, as they are appended; a slow reader is told how many it missed.
    pub fn follow(&self) -> broadcast::Receiver<Arc<LogBatch>> {
        unimplemented!()
    }
    /// Removes what is too old or too much. Called by its owner now and then.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn enforce(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Removes all of a function's lines.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget(&self, function: &FunctionName) -> Result<(), StoreError> {
        unimplemented!()
    }
}
