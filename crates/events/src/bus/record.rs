//! Buses, rules and their targets, as they are kept.
//!
//! Keys in the space `buses`: `b/BUS` and `r/BUS/RULE` (a bus's name may hold `/`, a rule's may not).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::Space;
use squall_types::Home;

use squall_store::envelope;

pub(super) const BUSES: Space = Space("buses");
pub(super) const BUS_PREFIX: &str = "b/";
pub(super) const RULE_PREFIX: &str = "r/";
const FORMAT: u8 = 1;

/// A bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Free pairs.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was made: milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last changed.
    pub modified_ms: i64,
}

/// A rule of a bus: what it listens to and whom it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The bus that it is on.
    pub bus: String,
    /// Which events it takes, a JSON document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// When it fires by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Whether it does anything.
    pub is_enabled: bool,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kept and answered; nothing here assumes roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Whom it tells, at most five.
    #[serde(default)]
    pub targets: Vec<RuleTarget>,
    /// Free pairs.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// One target of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleTarget {
    /// Names it within its rule.
    pub id: String,
    /// A function, a queue or an event bus.
    pub arn: String,
    /// Kept and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What it is sent instead of the event; the event itself when none of the three is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The part of the event that it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_path: Option<String>,
    /// A text with parts of the event in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transformer: Option<Transformer>,
    /// The queue for what could not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Further attempts after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries_max: Option<u32>,
    /// The longest that a delivery is tried, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_age_secs_max: Option<u32>,
    /// The group of its messages in a FIFO queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_group_id: Option<String>,
}

/// `InputTransformer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transformer {
    /// Names for parts of the event.
    pub paths: BTreeMap<String, String>,
    /// The text, with `<name>` where a part goes.
    pub template: String,
}

impl Bus {
    pub(super) fn key(name: &str) -> Bytes {
        format!("{BUS_PREFIX}{name}").into()
    }

    pub(super) fn encode(&self) -> Bytes {
        envelope::write(FORMAT, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        envelope::read(FORMAT, bytes)
    }

    /// `arn:aws:events:REGION:ACCOUNT:event-bus/NAME`.
    pub fn arn(home: &Home, name: &str) -> String {
        let Home { account, region } = home;
        format!("arn:aws:events:{region}:{account}:event-bus/{name}")
    }
}

impl Rule {
    pub(super) fn key(bus: &str, name: &str) -> Bytes {
        format!("{RULE_PREFIX}{bus}/{name}").into()
    }

    pub(super) fn encode(&self) -> Bytes {
        envelope::write(FORMAT, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        envelope::read(FORMAT, bytes)
    }

    /// `arn:aws:events:REGION:ACCOUNT:rule[/BUS]/NAME`; the default bus is not named.
    pub fn arn(&self, home: &Home) -> String {
        let Home { account, region } = home;
        let bus = match self.bus.as_str() {
            super::DEFAULT_BUS => String::new(),
            bus => format!("{bus}/"),
        };
        format!("arn:aws:events:{region}:{account}:rule/{bus}{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule in format 1, as the first version wrote it.
    const FIXTURE: &str = concat!(
        r#"{"name":"paid","bus":"shop","pattern":"{\"source\":[\"shop\"]}","is_enabled":true,"#,
        r#""targets":[{"id":"1","arn":"arn:aws:sqs:r:a:q","input_path":"$.detail"}],"tags":{}}"#
    );

    #[test]
    fn reads_what_the_first_version_wrote() {
        let mut record = vec![1];
        record.extend_from_slice(&crc32fast::hash(FIXTURE.as_bytes()).to_le_bytes());
        record.extend_from_slice(FIXTURE.as_bytes());
        let rule = Rule::decode(&record).expect("a rule");
        assert_eq!(rule.targets[0].input_path.as_deref(), Some("$.detail"));
        assert_eq!(rule.encode(), Bytes::from(record));
        assert_eq!(
            rule.arn(&Home::default()),
            "arn:aws:events:us-east-1:000000000000:rule/shop/paid"
        );
    }
}
