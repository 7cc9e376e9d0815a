//! Which instants of a schedule to fire now, and which is its next. Pure.
//!
//! A server that was off, or a clock that went forward, leaves instants behind. Of a rate only the last one fires. Of a
//! cron expression the last [`CATCH_UP_MAX`] fire, once each. What is older than the target's longest age is skipped.
//! A clock that goes back fires nothing again: what was decided stays decided, and the schedule waits.

use sha2::{Digest, Sha256};
use squall_types::RequestId;

use super::record::{Schedule, ScheduleKey};
use super::timing::Timing;

/// The most instants of one schedule that are made up for.
pub const CATCH_UP_MAX: usize = 24;
/// The most missed instants that are counted; behind a longer gap the count is a lower bound.
const MISSED_MAX: usize = 10_000;

/// What follows from looking at a schedule at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// The instants to fire, first to last.
    pub(super) fire: Vec<i64>,
    /// How many were missed and are not made up for.
    pub(super) skipped: usize,
    /// Up to here everything is decided.
    pub(super) decided_ms: i64,
    /// The next instant.
    pub(super) next: Option<i64>,
}

/// Looks at a schedule.
pub(super) fn decide(key: &ScheduleKey, schedule: &Schedule, timing: &Timing, now_ms: i64) -> Decision {
    let age_ms = i64::from(schedule.target.event_age_secs_max) * 1000;
    let window_ms = i64::from(schedule.window_minutes) * 60_000;
    // Instants that are due and too old are passed over without looking at each.
    let oldest = now_ms.saturating_sub(age_ms).saturating_sub(window_ms);
    let mut decision = Decision {
        fire: Vec::new(),
        skipped: 0,
        decided_ms: schedule.decided_ms,
        next: timing.next_after(schedule.decided_ms),
    };
    if let Some(first) = decision.next
        && first < oldest
    {
        decision.skipped += 1;
        decision.decided_ms = oldest - 1;
        decision.next = timing.next_after(decision.decided_ms);
    }
    let keep = if timing.is_rate() { 1 } else { CATCH_UP_MAX };
    let mut seen = 0;
    while let Some(instant) = decision.next
        && due(key, schedule, instant) <= now_ms
    {
        if decision.fire.len() == keep {
            decision.fire.remove(0);
            decision.skipped += 1;
        }
        decision.fire.push(instant);
        seen += 1;
        decision.decided_ms = instant;
        // A rate behind a long gap: its last instant is computed, not walked to.
        if seen == 2
            && let Some(last) = timing.last_of_rate(now_ms.saturating_sub(window_ms))
            && last > instant
        {
            decision.fire = vec![last];
            decision.decided_ms = last;
        }
        decision.next = timing.next_after(decision.decided_ms);
        if seen >= MISSED_MAX {
            break;
        }
    }
    decision
}

/// When an instant fires: somewhere in the schedule's window, and always at the same place of it.
pub(super) fn due(key: &ScheduleKey, schedule: &Schedule, instant: i64) -> i64 {
    let window_ms = u64::from(schedule.window_minutes) * 60_000;
    if window_ms == 0 {
        return instant;
    }
    let [a, b, c, d, e, f, g, h, ..] = digest(key, instant);
    let offset = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % window_ms;
    instant.saturating_add(i64::try_from(offset).unwrap_or(0))
}

/// Names the firing of a schedule at an instant, the same however often it is asked.
pub(super) fn firing_id(key: &ScheduleKey, place: usize, instant: i64) -> RequestId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(key, instant)[8..24]);
    bytes[15] ^= u8::try_from(place).unwrap_or(u8::MAX);
    RequestId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn digest(key: &ScheduleKey, instant: i64) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(key.as_str());
    digest.update(instant.to_be_bytes());
    digest.finalize().into()
}
