//! Two clocks: what is written on messages is the machine's time; what hides them is a clock that is never set.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Started with the queues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall_ms: u64,
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            wall_ms: wall_ms(),
            start: Instant::now(),
        }
    }

    /// Milliseconds of the Unix epoch, by the machine's clock.
    pub(super) fn wall_ms(&self) -> u64 {
        wall_ms()
    }

    /// Milliseconds that go on whatever is done to the machine's clock.
    pub(super) fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.saturating_add(passed)
    }

    /// The moment at which [`now_ms`](Self::now_ms) will say `ms`.
    pub(super) fn instant(&self, ms: u64) -> Instant {
        self.start + std::time::Duration::from_millis(ms.saturating_sub(self.wall_ms))
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
