//! A started instance, and the right to run one event on it.

use std::sync::Arc;
use std::time::Duration;

use squall_runtime::{Instance, InstanceId, LogLine};
use squall_types::{Revision, RevisionId};
use tokio::time::Instant;

use crate::dispatcher::Inner;
use crate::pool::Member;

/// An instance that has been initialised, with what must be known of it.
pub(crate) struct Worker {
    pub(crate) instance: Box<dyn Instance>,
    pub(crate) id: InstanceId,
    pub(crate) revision: Arc<Revision>,
    /// Where its lines go: `YYYY/MM/DD/[VERSION]INSTANCE`.
    pub(crate) stream: Arc<str>,
    /// How it was started; the first event that it runs takes this into its report.
    pub(crate) start: Option<Start>,
    /// The most memory that it has told of, in bytes.
    pub(crate) memory_bytes_max: u64,
    /// It may not be used again and gets no time to end by itself.
    pub(crate) is_broken: bool,
}

/// A start, as reports tell it.
pub(crate) struct Start {
    pub(crate) duration: Duration,
    pub(crate) lines: Vec<LogLine>,
}

impl Member for Box<Worker> {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn revision(&self) -> RevisionId {
        self.revision.id
    }

    fn is_alive(&self) -> bool {
        !self.instance.has_ended()
    }
}

/// An instance for one event. Dropping the lease kills the instance; [`give_back`](Self::give_back) keeps it.
pub(crate) struct Lease {
    inner: Arc<Inner>,
    /// `None` only while the lease is being ended.
    worker: Option<Box<Worker>>,
}

impl Lease {
    pub(crate) fn new(inner: Arc<Inner>, worker: Box<Worker>) -> Self {
        Self {
            inner,
            worker: Some(worker),
        }
    }

    pub(crate) fn worker(&mut self) -> &mut Worker {
        self.worker
            .as_mut()
            .expect("a lease has its instance until it ends")
    }

    /// The instance runs the next event, or waits for one.
    pub(crate) fn give_back(mut self) {
        if let Some(worker) = self.worker.take() {
            let effects = self.inner.state().pools.give_back(worker, Instant::now());
            self.inner.carry_out(effects);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.is_broken = true;
            let effects = self.inner.state().pools.discard(worker);
            self.inner.carry_out(effects);
        }
    }
}
