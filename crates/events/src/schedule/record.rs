//! A schedule and a group of schedules, as they are kept.
//!
//! Keys in the space `schedules`: `s/GROUP/NAME`, and `r/BUS/RULE` for the schedule behind a rule of a bus; groups are
//! in `schedule-groups` under their name. Values are in `store::envelope`; a change of meaning is a new format byte.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::Space;

use super::expression::ExpressionError;
use super::timing::{Timing, TimingText};
use squall_store::envelope;

pub(super) const SCHEDULES: Space = Space("schedules");
pub(super) const GROUPS: Space = Space("schedule-groups");
const FORMAT: u8 = 1;
/// How old a missed instant of a rule may be to be made up for: a day.
const RULE_AGE_SECS_MAX: u32 = 86_400;

/// Which schedule: its place in the store, as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey(Arc<str>);

impl ScheduleKey {
    /// A schedule of a group.
    pub fn schedule(group: &str, name: &str) -> Self {
        Self(format!("s/{group}/{name}").into())
    }

    /// The schedule behind a rule of a bus.
    pub fn rule(bus: &str, rule: &str) -> Self {
        Self(format!("r/{bus}/{rule}").into())
    }

    pub(super) fn read(key: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(key).map_err(|error| error.to_string())?;
        Ok(Self(text.into()))
    }

    /// Bus and rule, where a rule is behind it. A bus's name may hold `/`, a rule's may not.
    pub(super) fn as_rule(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix("r/")?.rsplit_once('/')
    }

    /// Group and name, where it is not a rule's.
    pub(super) fn as_schedule(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix("s/")?.split_once('/')
    }

    /// What all keys of a group start with.
    pub(super) fn of_group(group: &str) -> String {
        format!("s/{group}/")
    }

    pub(super) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_bytes())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ScheduleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a schedule sends, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// A function, a queue or an event bus.
    pub arn: String,
    /// Kept, since AWS requires one; nothing here assumes roles.
    pub role_arn: String,
    /// What is sent; without it an event that describes the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The longest that a delivery is tried, in seconds.
    pub event_age_secs_max: u32,
    /// Further attempts after the first.
    pub retries_max: u32,
    /// The queue for what could not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Goes with the message: a FIFO queue's group, a bus's source and detail type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// `rate(…)`, `cron(…)` or `at(…)`.
    pub expression: String,
    /// A name of the tz database.
    pub zone: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Nothing fires before it: milliseconds since 1970, as all times here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<i64>,
    /// Nothing fires behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    /// Whether it fires at all.
    pub is_enabled: bool,
    /// Firings are spread over so many minutes behind their instants; 0 for none.
    #[serde(default)]
    pub window_minutes: u32,
    /// Whether it goes away behind its last instant.
    #[serde(default)]
    pub delete_after_completion: bool,
    /// For a rule's schedule without meaning: the rule has its own targets.
    #[serde(default)]
    pub target: Target,
    /// Accepted and answered back; data here is not encrypted by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// What its creator sent along, so that a repeated request is not a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last changed by somebody.
    pub modified_ms: i64,
    /// Instants up to this one have been decided, and are never fired again.
    pub decided_ms: i64,
}

impl Schedule {
    /// The schedule behind a rule, which has its own targets. Its first instant is one period after its making.
    pub(super) fn of_rule(expression: &str, is_enabled: bool, now_ms: i64) -> Self {
        Self {
            expression: expression.to_owned(),
            zone: "UTC".to_owned(),
            description: String::new(),
            start_ms: None,
            end_ms: None,
            is_enabled,
            window_minutes: 0,
            delete_after_completion: false,
            target: Target {
                event_age_secs_max: RULE_AGE_SECS_MAX,
                ..Target::default()
            },
            kms_key_arn: None,
            client_token: None,
            created_ms: now_ms,
            modified_ms: now_ms,
            decided_ms: now_ms,
        }
    }

    /// When it fires.
    ///
    /// # Errors
    /// [`ExpressionError`] for its author.
    pub fn timing(&self) -> Result<Timing, ExpressionError> {
        Timing::parse(&TimingText {
            expression: &self.expression,
            zone: &self.zone,
            anchor_ms: self.created_ms,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
        })
    }

    /// The next instant that is not decided yet; `None` when there is none, or it is disabled.
    pub fn next(&self) -> Option<i64> {
        let timing = self.is_enabled.then(|| self.timing().ok()).flatten()?;
        timing.next_after(self.decided_ms)
    }

    pub(super) fn encode(&self) -> Bytes {
        envelope::write(FORMAT, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        envelope::read(FORMAT, bytes)
    }
}

/// A group of schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Free pairs.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last changed.
    pub modified_ms: i64,
    /// Whether its schedules are being removed, and then itself.
    #[serde(default)]
    pub is_deleting: bool,
}

impl Group {
    pub(super) fn encode(&self) -> Bytes {
        envelope::write(FORMAT, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        envelope::read(FORMAT, bytes)
    }
}
