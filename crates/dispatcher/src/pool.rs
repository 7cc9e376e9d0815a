//! The pools: which instances there are, which are idle, who waits for one, and when another is started.
//!
//! Pure: it runs nothing. Every change returns [`Effects`] for the dispatcher to carry out after its lock is released,
//! and an instance is owned by exactly one of: this (idle), a lease (busy), a task that starts or stops it.
//! What must hold: no instance is leased twice, none of an older revision is leased, none that is known to be dead is;
//! a start begins only when more calls wait than starts are under way, and when there is room on the host.

mod room;
mod set;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use squall_runtime::InstanceId;
use squall_types::{Revision, RevisionId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::start::StartFailure;

pub(crate) use set::{Leased, Pools};

/// What a pool holds: a started instance.
pub(crate) trait Member {
    /// Names it.
    fn id(&self) -> InstanceId;
    /// The revision that it runs.
    fn revision(&self) -> RevisionId;
    /// Whether it has not ended, as far as can be seen without waiting.
    fn is_alive(&self) -> bool;
}

/// What a waiting call gets.
#[derive(Debug)]
pub(crate) enum Grant<M> {
    /// An instance to run on.
    Instance(M),
    /// The start that was made for it failed.
    Failed(StartFailure),
    /// The revision was replaced: resolve again.
    Stale,
}

/// Names a waiting call within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What the dispatcher has to do after a change.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<M> {
    /// Make an instance of each; then call `started` or `start_failed`.
    pub(crate) starts: Vec<Arc<Revision>>,
    /// Stop each; then call `stopped`.
    pub(crate) stops: Vec<M>,
    /// Free what is shared by the instances of each, then call `rested`.
    pub(crate) rests: Vec<RevisionId>,
    /// Free all that is kept for each.
    pub(crate) retires: Vec<RevisionId>,
}

impl<M> Effects<M> {
    pub(crate) fn none() -> Self {
        Self {
            starts: Vec::new(),
            stops: Vec::new(),
            rests: Vec::new(),
            retires: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.stops.is_empty() && self.rests.is_empty() && self.retires.is_empty()
    }
}

struct Idle<M> {
    member: M,
    since: Instant,
}

struct Waiter<M> {
    ticket: Ticket,
    grant: oneshot::Sender<Grant<M>>,
}

/// The instances of one revision, and the calls that wait for one.
struct Pool<M> {
    revision: Arc<Revision>,
    /// The longest idle first; leases take from the back, so that surplus instances grow old and are reaped.
    idle: Vec<Idle<M>>,
    busy: usize,
    starting: usize,
    stopping: usize,
    waiting: VecDeque<Waiter<M>>,
    /// Replaced: nothing is leased or started any more.
    retired: bool,
    /// Its shared resources are being freed: starts wait for the end of that.
    resting: bool,
    /// Since when it has had no instance and no call.
    empty_since: Option<Instant>,
}

impl<M> Pool<M> {
    fn new(revision: Arc<Revision>) -> Self {
        Self {
            revision,
            idle: Vec::new(),
            busy: 0,
            starting: 0,
            stopping: 0,
            waiting: VecDeque::new(),
            retired: false,
            resting: false,
            empty_since: None,
        }
    }

    fn instances(&self) -> usize {
        self.idle.len() + self.busy + self.starting + self.stopping
    }

    /// How many starts are missing: one for every waiting call that has none under way.
    fn starts_wanted(&self) -> usize {
        if self.retired || self.resting {
            return 0;
        }
        self.waiting.len().saturating_sub(self.starting)
    }

    /// Calls wait, and no instance of it is there or coming to serve them.
    fn is_destitute(&self) -> bool {
        self.starts_wanted() > 0 && self.busy + self.starting == 0
    }

    /// Nobody needs it, and nothing of it lives.
    fn is_empty(&self) -> bool {
        self.instances() == 0 && self.waiting.is_empty()
    }
}
