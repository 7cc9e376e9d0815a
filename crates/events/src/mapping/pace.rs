//! How many batches a mapping works on at once: one more after each that went well, half as many when the function is
//! throttled, and a pause that grows while nothing can be done.

use std::time::Duration;

use tokio::time::Instant;

/// What a mapping begins with, as on Lambda.
const START: usize = 5;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Pace {
    limit: usize,
    max: usize,
    pause: Duration,
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(max: usize) -> Self {
        Self {
            limit: START.min(max),
            max,
            pause: PAUSE_MIN,
            until: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Not to go on before.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn went_well(&mut self) {
        self.limit = (self.limit + 1).min(self.max);
        self.pause = PAUSE_MIN;
        self.until = None;
    }

    pub(super) fn could_not(&mut self, now: Instant) {
        // Batches that met the same limit count once.
        if self.until.is_some_and(|until| until > now) {
            return;
        }
        self.limit = (self.limit / 2).max(1);
        self.until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
