//! Reading a policy's JSON. A member that is one value may stand for a list of one, as everywhere in IAM.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::condition::{KEYS, Operator};
use super::{Condition, DOCUMENT_BYTES_MAX, Effect, Patterns, Policy, PolicyError, Principals, Statement};

/// Where a policy is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To a key or a role.
    Identity,
    /// To what is called.
    Resource,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "it may be there, and means nothing")]
    id: Option<String>,
    statement: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RawStatement {
    #[serde(default)]
    sid: Option<String>,
    effect: String,
    #[serde(default)]
    principal: Option<Value>,
    #[serde(default)]
    action: Option<OneOrMany<String>>,
    #[serde(default)]
    not_action: Option<OneOrMany<String>>,
    #[serde(default)]
    resource: Option<OneOrMany<String>>,
    #[serde(default)]
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected one value or a list of them")]
enum OneOrMany<T> {
    // First: a list is a JSON value, too.
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

pub(super) fn read(text: &str, kind: Kind) -> Result<Policy, PolicyError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(PolicyError::new(format!(
            "it has {} bytes, and at most {DOCUMENT_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    let json: Value = serde_json::from_str(text).map_err(|error| PolicyError::new(error.to_string()))?;
    if !json.is_object() {
        return Err(PolicyError::new(
            "it is JSON, but not an object with a `Statement`",
        ));
    }
    let document: Document =
        serde_json::from_value(json).map_err(|error| PolicyError::new(error.to_string()))?;
    if let Some(version) = document.version.as_deref()
        && !matches!(version, "2012-10-17" | "2008-10-17")
    {
        return Err(PolicyError::new(format!(
            "its version is `{version}`; write 2012-10-17"
        )));
    }
    let statements = match document.statement {
        Value::Array(statements) => statements,
        one => vec![one],
    };
    let statements = statements.into_iter().map(|raw| {
        let raw = serde_json::from_value(raw);
        let raw = raw.map_err(|error| PolicyError::new(format!("a statement has {error}")))?;
        statement(raw, kind)
    });
    Ok(Policy {
        statements: statements.collect::<Result<_, _>>()?,
    })
}

fn statement(raw: RawStatement, kind: Kind) -> Result<Statement, PolicyError> {
    let name = raw
        .sid
        .as_ref()
        .map_or("a statement".to_owned(), |sid| format!("statement `{sid}`"));
    let refuse = |what: &str| PolicyError::new(format!("{name} {what}"));
    let effect = match raw.effect.as_str() {
        "Allow" => Effect::Allow,
        "Deny" => Effect::Deny,
        _ => return Err(refuse("has an `Effect` that is neither Allow nor Deny")),
    };
    let principals = match (kind, raw.principal) {
        (Kind::Identity, None) => None,
        (Kind::Identity, Some(_)) => {
            return Err(refuse(
                "has a `Principal`, which the policy of a key or role has not",
            ));
        }
        (Kind::Resource, Some(principal)) => Some(principals(&principal).map_err(|what| refuse(&what))?),
        (Kind::Resource, None) => return Err(refuse("has no `Principal`")),
    };
    let actions = patterns(raw.action, raw.not_action)
        .ok_or_else(|| refuse("has no `Action`, or both it and `NotAction`"))?;
    if let Patterns::Only(actions) | Patterns::AllBut(actions) = &actions
        && let Some(strange) = actions
            .iter()
            .find(|action| *action != "*" && !action.contains(':'))
    {
        return Err(refuse(&format!(
            "has the action `{strange}`; an action is written SERVICE:NAME, as in lambda:InvokeFunction"
        )));
    }
    let resources = patterns(raw.resource, raw.not_resource)
        .ok_or_else(|| refuse("has no `Resource`, or both it and `NotResource`"))?;
    Ok(Statement {
        sid: raw.sid,
        effect,
        principals,
        actions,
        resources,
        conditions: conditions(raw.condition).map_err(|what| refuse(&what))?,
    })
}

fn patterns(only: Option<OneOrMany<String>>, all_but: Option<OneOrMany<String>>) -> Option<Patterns> {
    match (only, all_but) {
        (Some(only), None) => Some(Patterns::Only(only.into_vec())),
        (None, Some(all_but)) => Some(Patterns::AllBut(all_but.into_vec())),
        _ => None,
    }
}

fn principals(value: &Value) -> Result<Principals, String> {
    const FORMS: &str = "has a `Principal` that is none of \"*\", {\"AWS\": …} and {\"Service\": …}";
    let texts = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    };
    match value {
        Value::String(text) if text == "*" => Ok(Principals::Anyone),
        Value::Object(members) if members.len() == 1 => {
            let (kind, value) = members.iter().next().ok_or(FORMS)?;
            let list = texts(value).ok_or(FORMS)?;
            match kind.as_str() {
                "AWS" if list.iter().any(|text| text == "*") => Ok(Principals::Anyone),
                "AWS" => Ok(Principals::Aws(list)),
                "Service" => Ok(Principals::Service(list)),
                other => Err(format!(
                    "has a `Principal` of the kind `{other}`, which is not supported"
                )),
            }
        }
        _ => Err(FORMS.to_owned()),
    }
}

fn conditions(raw: BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for (name, comparisons) in raw {
        let operator = Operator::of(&name)
            .ok_or_else(|| format!("has the condition operator `{name}`, which is not supported"))?;
        for (key, values) in comparisons {
            if !KEYS.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
                return Err(format!(
                    "has the condition key `{key}`, which is not supported: calls have {}",
                    KEYS.join(", ")
                ));
            }
            let values = values.into_vec().into_iter().map(text_of);
            let values = values.collect::<Option<Vec<_>>>();
            let values = values
                .ok_or_else(|| format!("compares `{key}` with what is neither text nor a truth value"))?;
            conditions.push(Condition {
                operator,
                key,
                values,
            });
        }
    }
    Ok(conditions)
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, kind: Kind, words: &str) {
        let error = read(text, kind).expect_err(text).to_string();
        assert!(error.contains(words), "`{error}` says `{words}`");
    }

    #[test]
    fn one_value_stands_for_a_list() {
        let one = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#;
        let list = r#"{"Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}"#;
        assert_eq!(read(one, Kind::Identity), read(list, Kind::Identity));
        assert_eq!(read(one, Kind::Identity).expect("a policy").statements.len(), 1);
    }

    #[test]
    fn what_is_wrong_or_not_supported_is_named() {
        let with = |members: &str| format!(r#"{{"Statement": {{"Sid": "one", {members}}}}}"#);
        let complete = r#""Effect": "Allow", "Action": "s3:Get*", "Resource": "*""#;
        refused("[", Kind::Identity, "EOF");
        refused("[]", Kind::Identity, "not an object");
        refused(
            r#"{"Version": "2020-01-01", "Statement": []}"#,
            Kind::Identity,
            "2012-10-17",
        );
        refused(
            &with(r#""Effect": "Maybe", "Action": "s3:*", "Resource": "*""#),
            Kind::Identity,
            "`one`",
        );
        refused(
            &with(r#""Effect": "Allow", "Resource": "*""#),
            Kind::Identity,
            "no `Action`",
        );
        refused(
            &with(r#""Effect": "Allow", "Action": "s3:*""#),
            Kind::Identity,
            "no `Resource`",
        );
        refused(
            &with(r#""Effect": "Allow", "Action": "get", "Resource": "*""#),
            Kind::Identity,
            "SERVICE:NAME",
        );
        refused(
            &with(&format!("{complete}, \"Principal\": \"*\"")),
            Kind::Identity,
            "`Principal`",
        );
        refused(&with(complete), Kind::Resource, "no `Principal`");
        refused(
            &with(&format!(r#"{complete}, "Principal": {{"Federated": "x"}}"#)),
            Kind::Resource,
            "`Federated`",
        );
        for (condition, words) in [
            (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, "`IpAddress`"),
            (
                r#"{"StringEquals": {"aws:SourceIp": "10.0.0.1"}}"#,
                "`aws:SourceIp`",
            ),
            (r#"{"StringEquals": {"aws:SourceArn": {}}}"#, "neither"),
        ] {
            refused(
                &with(&format!("{complete}, \"Condition\": {condition}")),
                Kind::Identity,
                words,
            );
        }
        let large = format!(
            "{{\"Statement\": [], \"Id\": \"{}\"}}",
            "x".repeat(DOCUMENT_BYTES_MAX)
        );
        refused(&large, Kind::Identity, "at most 20480");
    }
}
