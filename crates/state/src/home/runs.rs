//! Runs under way at levels that look into the past, so that it is known how much of it may be forgotten.

use std::collections::{BTreeMap, HashMap};

use crate::{RunId, StateError};

#[derive(Debug)]
pub(super) struct Runs {
    max: usize,
    of: HashMap<RunId, Run>,
    /// How many runs have each floor.
    floors: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Run {
    /// Every cache had everything from before this time when the run began.
    floor: u64,
    /// When it was last heard of.
    heard: u64,
}

impl Runs {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            of: HashMap::new(),
            floors: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&mut self, run: RunId, floor: u64, now: u64) -> Result<(), StateError> {
        if self.of.len() >= self.max {
            return Err(StateError::Full {
                what: "the list of runs under way".to_owned(),
                max: self.max as u64,
            });
        }
        *self.floors.entry(floor).or_default() += 1;
        self.of.insert(run, Run { floor, heard: now });
        Ok(())
    }

    /// # Errors
    /// [`StateError::RunExpired`] when it is not known any more.
    pub(super) fn hear(&mut self, run: RunId, now: u64) -> Result<(), StateError> {
        let known = self.of.get_mut(&run).ok_or(StateError::RunExpired)?;
        known.heard = now;
        Ok(())
    }

    pub(super) fn end(&mut self, run: RunId) {
        let Some(run) = self.of.remove(&run) else { return };
        if let Some(count) = self.floors.get_mut(&run.floor) {
            *count -= 1;
            if *count == 0 {
                self.floors.remove(&run.floor);
            }
        }
    }

    /// Ends those that were not heard of since `time`, and says which.
    pub(super) fn expire(&mut self, time: u64) -> Vec<RunId> {
        let gone = self.of.iter().filter(|(_, run)| run.heard < time);
        let gone: Vec<RunId> = gone.map(|(id, _)| *id).collect();
        gone.iter().for_each(|run| self.end(*run));
        gone
    }

    /// The least floor of all.
    pub(super) fn floor(&self) -> Option<u64> {
        self.floors.keys().next().copied()
    }
}
