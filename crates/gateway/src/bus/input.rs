//! Members that several of EventBridge's requests have, and what they must be.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use squall_events::bus::{Bus, DEFAULT_BUS};
use squall_types::Home;

use crate::awsjson::JsonError;
use crate::constraint::{self, Text};
use crate::page;

const NAME_PATTERN: &str = "[\\.\\-_A-Za-z0-9]+";
const TAGS_MAX: usize = 50;

pub(super) const RULE_NAME: Text = Text {
    member: "name",
    length: (1, 64),
    pattern: Some((NAME_PATTERN, is_name)),
};
pub(super) const TARGET_ID: Text = Text {
    member: "targets.id",
    length: (1, 64),
    pattern: Some((NAME_PATTERN, is_name)),
};
pub(super) const BUS_NAME: Text = Text {
    member: "eventBusName",
    length: (1, 256),
    pattern: Some(("[/\\.\\-_A-Za-z0-9]+", |c| c == '/' || is_name(c))),
};

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// A text of any characters.
pub(super) const fn text(member: &'static str, length: (usize, usize)) -> Text {
    Text {
        member,
        length,
        pattern: None,
    }
}

/// A request that is about one rule, and no more. Some call its name `Rule`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneRule {
    #[serde(alias = "Rule")]
    name: Option<String>,
    pub(super) event_bus_name: Option<String>,
}

impl OneRule {
    pub(super) fn name(&self) -> Result<&str, JsonError> {
        required("name", self.name.as_deref(), &RULE_NAME)
    }
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Paging {
    limit: Option<i64>,
    next_token: Option<String>,
}

impl Paging {
    /// A page of items in the order of their names.
    pub(super) fn cut<T>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), JsonError> {
        let limit = self.limit.unwrap_or(100);
        let limit = constraint::number("limit", limit, 1..=100).map_err(JsonError::validation)?;
        let limit = usize::try_from(limit).unwrap_or(1);
        let after = match &self.next_token {
            None => None,
            Some(token) => Some(page::name(token).ok_or_else(|| {
                JsonError::validation("Parameter NextToken is not valid. Reason: Provided value is invalid.")
            })?),
        };
        Ok(page::cut(items, name, after.as_deref(), limit))
    }
}

/// A free pair.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

/// Checks and collects tags.
pub(super) fn tags(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, JsonError> {
    let mut all = BTreeMap::new();
    for Tag { key, value } in tags {
        text("tags.key", (1, 128))
            .check(&key)
            .map_err(JsonError::validation)?;
        text("tags.value", (0, 256))
            .check(&value)
            .map_err(JsonError::validation)?;
        all.insert(key, value);
    }
    check_tags(&all)?;
    Ok(all)
}

/// A resource has at most fifty.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), JsonError> {
    match tags.len() {
        0..=TAGS_MAX => Ok(()),
        found => Err(JsonError::new(
            "LimitExceededException",
            format!("A resource has at most {TAGS_MAX} tags; this one would have {found}."),
        )),
    }
}

/// A member that must be there and comply.
pub(super) fn required<'a>(
    member: &str,
    value: Option<&'a str>,
    constraint: &Text,
) -> Result<&'a str, JsonError> {
    let value = value.ok_or_else(|| JsonError::validation(constraint::missing(member)))?;
    constraint.check(value).map_err(JsonError::validation)?;
    Ok(value)
}

/// A member that complies if it is there.
pub(super) fn optional(value: Option<&str>, constraint: &Text) -> Result<(), JsonError> {
    match value {
        Some(value) => constraint.check(value).map_err(JsonError::validation),
        None => Ok(()),
    }
}

/// The bus that is meant by its name, its ARN, or nothing.
pub(super) fn bus_name(home: &Home, named: Option<&str>) -> Result<String, JsonError> {
    let Some(named) = named else {
        return Ok(DEFAULT_BUS.to_owned());
    };
    let name = match named.rsplit_once(":event-bus/") {
        Some((_, name)) if Bus::arn(home, name) == named => name,
        Some(_) => {
            return Err(JsonError::not_found(format!("Event bus {named} does not exist.")));
        }
        None => named,
    };
    BUS_NAME.check(name).map_err(JsonError::validation)?;
    Ok(name.to_owned())
}

/// Refuses a request that asks for what does not exist here: silently leaving it out would fail later.
pub(super) fn refuse_unsupported(what: &[(&str, &Option<Value>)]) -> Result<(), JsonError> {
    match what
        .iter()
        .find(|(_, value)| value.as_ref().is_some_and(|value| !value.is_null()))
    {
        Some((name, _)) => Err(JsonError::validation(format!(
            "{name} is not supported by Squall; leave it out of the request."
        ))),
        None => Ok(()),
    }
}
