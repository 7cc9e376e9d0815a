//! What a schedule's expression says: `rate(5 minutes)`, `cron(0 12 * * ? *)`, `at(2026-11-25T12:00:00)`.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::cron::Calendar;

/// The longest expression, as in the API's model.
const EXPRESSION_CHARS_MAX: usize = 256;

/// An expression that was understood.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    /// Every so often from its start.
    Rate(Duration),
    /// At the moments that a calendar names, in a time zone.
    Cron(Box<Calendar>),
    /// Once, in a time zone.
    At(NaiveDateTime),
}

/// Why an expression was refused, for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression `{expression}` is not valid: {reason}")]
pub struct ExpressionError {
    pub(super) expression: String,
    pub(super) reason: String,
}

impl Expression {
    /// Reads an expression.
    pub(super) fn parse(text: &str) -> Result<Self, ExpressionError> {
        let refuse = |reason: String| ExpressionError {
            expression: text.chars().take(EXPRESSION_CHARS_MAX).collect(),
            reason,
        };
        if text.len() > EXPRESSION_CHARS_MAX {
            return Err(refuse(format!(
                "it is longer than {EXPRESSION_CHARS_MAX} characters"
            )));
        }
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(rate) = inside("rate") {
            return parse_rate(rate).map(Self::Rate).map_err(refuse);
        }
        if let Some(cron) = inside("cron") {
            return Calendar::parse(cron)
                .map(|calendar| Self::Cron(Box::new(calendar)))
                .map_err(refuse);
        }
        if let Some(at) = inside("at") {
            let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%dT%H:%M:%S");
            return at
                .map(Self::At)
                .map_err(|_| refuse("write a date and a time as in at(2026-11-25T12:00:00)".to_owned()));
        }
        Err(refuse(
            "write rate(VALUE UNIT), cron(FIELDS) or at(YYYY-MM-DDTHH:MM:SS)".to_owned(),
        ))
    }
}

/// `5 minutes`. Seconds are Squall's own: AWS has no unit below the minute.
fn parse_rate(text: &str) -> Result<Duration, String> {
    let (value, unit) = text
        .trim()
        .split_once(char::is_whitespace)
        .ok_or("write a value and a unit as in rate(5 minutes)")?;
    let value: u64 = match value.parse() {
        Ok(value) if value > 0 => value,
        _ => return Err(format!("`{value}` is not a positive whole number")),
    };
    let (seconds, is_plural) = match unit.trim() {
        "second" => (1, false),
        "seconds" => (1, true),
        "minute" => (60, false),
        "minutes" => (60, true),
        "hour" => (3600, false),
        "hours" => (3600, true),
        "day" => (86_400, false),
        "days" => (86_400, true),
        other => {
            return Err(format!(
                "`{other}` is not a unit: use minutes, hours or days (or seconds)"
            ));
        }
    };
    if value == 1 && is_plural {
        return Err("a value of 1 takes a singular unit, as in rate(1 minute)".to_owned());
    }
    if value > 1 && !is_plural {
        return Err("a value above 1 takes a plural unit, as in rate(5 minutes)".to_owned());
    }
    let seconds = value
        .checked_mul(seconds)
        .filter(|seconds| *seconds <= 100 * 366 * 86_400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "it is longer than a hundred years".to_owned())
}
