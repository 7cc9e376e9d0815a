//! Checks of recorded histories against what the levels promise.
//!
//! The checkers see operations only: which function of which run read which writes of which key, and wrote what. They
//! know nothing of versions, caches or clocks, except for the order of two writes of one key where a reader was told it.
//! Every write carries a number of its own as its value, so that a read says which writes it has seen.
//! [`workload`] makes such histories; the tests and the measurements use both.

mod causal;
mod past;
mod session;
pub mod workload;

use std::collections::BTreeMap;

pub use self::causal::{lost_updates, multi_key_cuts, session_cuts};
pub use self::session::{dirty_reads, fractured_reads, read_your_writes, repeatable_reads};

/// The number of a write.
pub type WriteId = u64;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Which run.
    pub run: u64,
    /// Which function of it, from 0.
    pub step: u32,
    /// Which key.
    pub key: u32,
    /// What was done.
    pub action: Action,
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Saw these writes: none, one, or several that were concurrent.
    Read(Vec<Seen>),
    /// Wrote this.
    Wrote(WriteId),
}

/// A write as a reader saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Its number.
    pub id: WriteId,
    /// Where it stands among the writes of its key, as the reader was told.
    pub order: (u64, u64),
}

/// What happened: reads in the order in which they were answered, writes in that in which they were asked for. So a
/// write stands before every read that saw it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All operations of runs that came to their end.
    pub operations: Vec<Operation>,
    /// What each key held when everything was over.
    pub last: BTreeMap<u32, Vec<Seen>>,
}

/// Something that a level forbids: the run, and the key that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// The run that could have noticed; for a lost update, the run that lost it.
    pub run: u64,
    /// The key.
    pub key: u32,
}

impl History {
    /// The operations of each run, in order.
    pub(crate) fn runs(&self) -> BTreeMap<u64, Vec<&Operation>> {
        let mut runs: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            runs.entry(operation.run).or_default().push(operation);
        }
        runs
    }

    /// The order of the writes that somebody else has seen: a run that reads what it has not committed is told none.
    pub(crate) fn orders(&self) -> BTreeMap<WriteId, (u64, u64)> {
        let mut writer = BTreeMap::new();
        for operation in &self.operations {
            if let Action::Wrote(id) = operation.action {
                writer.insert(id, operation.run);
            }
        }
        let mut orders = BTreeMap::new();
        for operation in &self.operations {
            let Action::Read(seen) = &operation.action else {
                continue;
            };
            let others = seen
                .iter()
                .filter(|seen| writer.get(&seen.id) != Some(&operation.run));
            orders.extend(others.map(|seen| (seen.id, seen.order)));
        }
        orders.extend(self.last.values().flatten().map(|seen| (seen.id, seen.order)));
        orders
    }
}
