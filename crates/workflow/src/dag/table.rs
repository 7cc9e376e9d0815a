//! The runs that are under way or have just ended, in memory, and the bounds on them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::run::Run;
use super::{Config, DagError, Ending, RunId};

/// Runs by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    runs: HashMap<RunId, Arc<Run>>,
    recorded: usize,
    argument_bytes: usize,
    /// Endings of direct runs, which others may refer to for a while.
    recent: HashMap<RunId, Arc<Ending>>,
    recent_order: VecDeque<(Instant, RunId)>,
    recent_bytes: usize,
    /// Endings in the store.
    pub(crate) endings: usize,
    pub(crate) ending_bytes: u64,
    pub(crate) is_closed: bool,
}

impl Table {
    /// Lets a run in.
    pub(crate) fn enter(&mut self, run: &Arc<Run>, config: &Config) -> Result<(), DagError> {
        if self.is_closed {
            return Err(DagError::ShuttingDown);
        }
        if self.runs.contains_key(&run.id) || self.recent.contains_key(&run.id) {
            return Err(DagError::Exists(run.id));
        }
        if self.argument_bytes + run.bytes > config.argument_bytes_max {
            return Err(throttled(
                "the arguments of all runs have as many bytes as they may",
            ));
        }
        if run.is_recorded {
            if self.recorded >= config.recorded_max {
                return Err(throttled("as many recorded runs wait as may"));
            }
            let endings = self.endings + self.recorded;
            if endings >= config.endings_max || self.ending_bytes >= config.ending_bytes_max {
                return Err(throttled(
                    "as many results are kept as may be: have them kept for a shorter time",
                ));
            }
        }
        self.admit(run);
        Ok(())
    }

    /// Lets a run in that was accepted before a restart: it counts, and is not refused.
    pub(crate) fn admit(&mut self, run: &Arc<Run>) {
        self.recorded += usize::from(run.is_recorded);
        self.argument_bytes += run.bytes;
        self.runs.insert(run.id, run.clone());
    }

    pub(crate) fn leave(&mut self, run: &Run) {
        if self.runs.remove(&run.id).is_some() {
            self.recorded -= usize::from(run.is_recorded);
            self.argument_bytes -= run.bytes;
        }
    }

    /// Keeps the ending of a direct run for a while.
    pub(crate) fn remember(&mut self, id: RunId, ending: &Arc<Ending>, now: Instant, config: &Config) {
        self.recent.insert(id, ending.clone());
        self.recent_order.push_back((now + config.recent_for, id));
        self.recent_bytes += ending.bytes() + size_of::<Ending>();
        while let Some((until, oldest)) = self.recent_order.front().copied() {
            if until > now && self.recent_bytes <= config.recent_bytes_max {
                return;
            }
            self.recent_order.pop_front();
            if let Some(ending) = self.recent.remove(&oldest) {
                self.recent_bytes -= ending.bytes() + size_of::<Ending>();
            }
        }
    }

    pub(crate) fn run(&self, id: RunId) -> Option<Arc<Run>> {
        self.runs.get(&id).cloned()
    }

    pub(crate) fn recent(&self, id: RunId) -> Option<Arc<Ending>> {
        self.recent.get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Run>> {
        self.runs.values().cloned().collect()
    }
}

fn throttled(what: &str) -> DagError {
    DagError::Throttled(what.to_owned())
}
