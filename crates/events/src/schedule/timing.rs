//! When a schedule fires: its expression in its time zone, between its start and its end. Pure.
//!
//! Daylight saving is EventBridge Scheduler's: a wall clock time that a day does not have is skipped, one that a day
//! has twice fires the first time only, and rates count hours that passed, whatever clocks on walls did.

use chrono::{DateTime, LocalResult, TimeZone};
use chrono_tz::Tz;

use super::expression::{Expression, ExpressionError};

/// Moments that a search may look at and reject: more than an hour that repeats has minutes.
const REJECTED_MAX: usize = 10_000;

/// When a schedule fires. Times are milliseconds since 1970, in UTC.
#[derive(Debug, Clone)]
pub struct Timing {
    expression: Expression,
    zone: Tz,
    /// What rates count from.
    anchor_ms: i64,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
}

/// What a timing is made of, as its author wrote it.
#[derive(Debug, Clone)]
pub struct TimingText<'a> {
    /// `rate(…)`, `cron(…)` or `at(…)`.
    pub expression: &'a str,
    /// A name of the tz database.
    pub zone: &'a str,
    /// What rates count from when there is no start.
    pub anchor_ms: i64,
    /// Nothing fires before it.
    pub start_ms: Option<i64>,
    /// Nothing fires behind it.
    pub end_ms: Option<i64>,
}

impl Timing {
    /// Reads a timing.
    ///
    /// # Errors
    /// [`ExpressionError`] says to the author what is wrong with the expression or the zone.
    pub fn parse(text: &TimingText<'_>) -> Result<Self, ExpressionError> {
        let zone = text.zone.parse().map_err(|_| ExpressionError {
            expression: text.expression.to_owned(),
            reason: format!("`{}` is not a time zone, such as UTC or Europe/Berlin", text.zone),
        })?;
        let expression = Expression::parse(text.expression)?;
        // A date far in the future is an error, not an overflow.
        let is_once = matches!(expression, Expression::At(_));
        Ok(Self {
            expression,
            zone,
            anchor_ms: text.start_ms.unwrap_or(text.anchor_ms),
            // One-time schedules have their moment, whatever start and end say.
            start_ms: text.start_ms.filter(|_| !is_once),
            end_ms: text.end_ms.filter(|_| !is_once),
        })
    }

    /// The first moment behind `after_ms` at which it fires; `None` when there is none any more.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        let after_ms = after_ms.max(self.start_ms.map_or(i64::MIN, |start| start - 1));
        let next = match &self.expression {
            Expression::Rate(period) => {
                let period = i64::try_from(period.as_millis()).ok()?;
                let behind = after_ms.checked_sub(self.anchor_ms)?;
                let count = if behind < 0 { 0 } else { behind / period + 1 };
                self.anchor_ms.checked_add(count.checked_mul(period)?)?
            }
            Expression::At(at) => {
                let at = self.once(at)?;
                (at > after_ms).then_some(at)?
            }
            Expression::Cron(calendar) => {
                let after = DateTime::from_timestamp_millis(after_ms)?;
                let mut wall = after.with_timezone(&self.zone).naive_local();
                let mut found = None;
                for _ in 0..REJECTED_MAX {
                    wall = calendar.next_after(wall)?;
                    match self.zone.from_local_datetime(&wall) {
                        LocalResult::Single(at) | LocalResult::Ambiguous(at, _)
                            if at.timestamp_millis() > after_ms =>
                        {
                            found = Some(at.timestamp_millis());
                            break;
                        }
                        // A day does not have it, or has it twice and this is the second time.
                        _ => {}
                    }
                }
                found?
            }
        };
        self.end_ms.is_none_or(|end| next <= end).then_some(next)
    }

    /// The last instant of a rate that is not behind `up_to_ms`; `None` for what is no rate.
    pub(super) fn last_of_rate(&self, up_to_ms: i64) -> Option<i64> {
        let Expression::Rate(period) = &self.expression else {
            return None;
        };
        let period = i64::try_from(period.as_millis()).ok()?;
        let up_to_ms = self.end_ms.map_or(up_to_ms, |end| end.min(up_to_ms));
        let passed = up_to_ms
            .checked_sub(self.anchor_ms)
            .filter(|passed| *passed >= 0)?;
        Some(self.anchor_ms + passed / period * period)
    }

    /// Whether it is a rate: of those that were missed, only the last is worth firing.
    pub fn is_rate(&self) -> bool {
        matches!(self.expression, Expression::Rate(_))
    }

    /// Whether it fires once at most.
    pub fn is_once(&self) -> bool {
        matches!(self.expression, Expression::At(_))
    }

    /// The moment of a one-time schedule. A wall clock time that its day does not have is read as if the clock had not
    /// been set forward: better late by that hour than never.
    fn once(&self, at: &chrono::NaiveDateTime) -> Option<i64> {
        match self.zone.from_local_datetime(at) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.timestamp_millis()),
            LocalResult::None => {
                let before = *at - chrono::TimeDelta::hours(3);
                let (LocalResult::Single(before) | LocalResult::Ambiguous(before, _)) =
                    self.zone.from_local_datetime(&before)
                else {
                    return None;
                };
                Some(before.timestamp_millis() + 3 * 3_600_000)
            }
        }
    }
}
