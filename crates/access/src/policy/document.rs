//! Reading a policy's JSON. A member that is one value may stand for a list of one, as everywhere in IAM.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::condition::{Comparison, KEYS, Operator, network};
use super::{Condition, DOCUMENT_BYTES_MAX, Effect, Patterns, Policy, PolicyError, Principals, Statement};

/// Where a policy is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To a key or a role.
    Identity,
    /// To a role, by IAM's API: what is not understood of its conditions is kept, and allows nothing.
    Role,
    /// To what is called.
    Resource,
    /// To a role: who may have its credentials. As lenient.
    Trust,
}

impl Kind {
    fn names_principals(self) -> bool {
        matches!(self, Self::Resource | Self::Trust)
    }

    fn is_lenient(self) -> bool {
        matches!(self, Self::Role | Self::Trust)
    }
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
    let principals = match (kind.names_principals(), raw.principal) {
        (false, None) => None,
        (false, Some(_)) => {
            return Err(refuse(
                "has a `Principal`, which the policy of a key or role has not",
            ));
        }
        (true, Some(principal)) => Some(principals(&principal, kind).map_err(|what| refuse(&what))?),
        (true, None) => return Err(refuse("has no `Principal`")),
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
    let resources = match (kind, &raw.resource, &raw.not_resource) {
        (Kind::Trust, None, None) => Patterns::Only(vec!["*".to_owned()]),
        (Kind::Trust, ..) => {
            return Err(refuse("has a `Resource`, which is the role itself; leave it out"));
        }
        _ => patterns(raw.resource, raw.not_resource)
            .ok_or_else(|| refuse("has no `Resource`, or both it and `NotResource`"))?,
    };
    let mut conditions = conditions(raw.condition, kind).map_err(|what| refuse(&what))?;
    if let Patterns::Only(list) | Patterns::AllBut(list) = &resources
        && let Some(variable) = list.iter().find(|resource| resource.contains("${"))
    {
        let what = format!("the policy variable in `{variable}`");
        unsupported(&mut conditions, what, kind).map_err(|what| refuse(&what))?;
    }
    Ok(Statement {
        sid: raw.sid,
        effect,
        principals,
        actions,
        resources,
        conditions,
    })
}

fn patterns(only: Option<OneOrMany<String>>, all_but: Option<OneOrMany<String>>) -> Option<Patterns> {
    match (only, all_but) {
        (Some(only), None) => Some(Patterns::Only(only.into_vec())),
        (None, Some(all_but)) => Some(Patterns::AllBut(all_but.into_vec())),
        _ => None,
    }
}

fn principals(value: &Value, kind: Kind) -> Result<Principals, String> {
    const FORMS: &str = "has a `Principal` that is none of \"*\", {\"AWS\": …} and {\"Service\": …}";
    let texts = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    };
    let members = match value {
        Value::String(text) if text == "*" => return Ok(Principals::Anyone),
        Value::Object(members) if !members.is_empty() => members,
        _ => return Err(FORMS.to_owned()),
    };
    let mut all = Vec::with_capacity(members.len());
    for (name, value) in members {
        let list = texts(value).ok_or(FORMS)?;
        all.push(match name.as_str() {
            "AWS" if list.iter().any(|text| text == "*") => Principals::Anyone,
            "AWS" => Principals::Aws(list),
            "Service" => Principals::Service(list),
            // Nobody here is one of them, which is all that there is to know of them.
            "Federated" | "CanonicalUser" if kind.is_lenient() => Principals::AnyOf(Vec::new()),
            other => {
                return Err(format!(
                    "has a `Principal` of the kind `{other}`, which is not supported"
                ));
            }
        });
    }
    match all.len() {
        1 => Ok(all.remove(0)),
        _ => Ok(Principals::AnyOf(all)),
    }
}

fn conditions(
    raw: BTreeMap<String, BTreeMap<String, OneOrMany<Value>>>,
    kind: Kind,
) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for (name, comparisons) in raw {
        let Some(operator) = Operator::of(&name) else {
            unsupported(&mut conditions, format!("the condition operator `{name}`"), kind)?;
            continue;
        };
        for (key, values) in comparisons {
            if !KEYS.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
                let what = format!("the condition key `{key}`");
                unsupported(&mut conditions, what, kind)
                    .map_err(|what| format!("{what}: calls have {}", KEYS.join(", ")))?;
                continue;
            }
            let values = values.into_vec().into_iter().map(text_of);
            let values = values.collect::<Option<Vec<_>>>();
            let values = values
                .ok_or_else(|| format!("compares `{key}` with what is neither text nor a truth value"))?;
            if operator.comparison == Comparison::Address
                && let Some(strange) = values.iter().find(|value| network(value).is_none())
            {
                return Err(format!(
                    "compares `{key}` with `{strange}`, which is no address or network"
                ));
            }
            if values.iter().any(|value| value.contains("${")) {
                unsupported(&mut conditions, format!("a policy variable for `{key}`"), kind)?;
                continue;
            }
            conditions.push(Condition::Compare {
                operator,
                key,
                values,
            });
        }
    }
    Ok(conditions)
}

/// Where a policy may have what is not understood, it is kept by its name.
fn unsupported(conditions: &mut Vec<Condition>, what: String, kind: Kind) -> Result<(), String> {
    if !kind.is_lenient() {
        return Err(format!("has {what}, which is not supported"));
    }
    conditions.push(Condition::Unsupported(what));
    Ok(())
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
    fn who_may_have_a_role_is_said_without_a_resource() {
        let trust = r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal":
            {"Service": "lambda.amazonaws.com", "AWS": ["1"], "Federated": "x"}}}"#;
        let policy = read(trust, Kind::Trust).expect("a policy");
        assert!(matches!(&policy.statements[0].principals, Some(Principals::AnyOf(all)) if all.len() == 3));
        refused(trust, Kind::Resource, "`Federated`");
        let with_resource = trust.replace("\"Action\"", "\"Resource\": \"*\", \"Action\"");
        refused(&with_resource, Kind::Trust, "the role itself");
        refused("{", Kind::Trust, "EOF");
    }

    #[test]
    fn a_roles_policy_keeps_what_is_not_understood_by_its_name() {
        let text = r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "a${aws:username}",
            "Condition": {"DateLessThan": {"aws:CurrentTime": "x"}, "Bool": {"aws:MFA": "true"}}}}"#;
        let policy = read(text, Kind::Role).expect("a policy");
        let names: Vec<String> = policy.statements[0]
            .conditions
            .iter()
            .map(|condition| match condition {
                Condition::Unsupported(what) => what.clone(),
                Condition::Compare { key, .. } => format!("understood {key}"),
            })
            .collect();
        assert_eq!(
            names,
            [
                "the condition key `aws:MFA`",
                "the condition operator `DateLessThan`",
                "the policy variable in `a${aws:username}`"
            ]
        );
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
            (
                r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}"#,
                "`10.0.0.0/33`",
            ),
            (
                r#"{"NumericLessThan": {"aws:SourceIp": "10"}}"#,
                "`NumericLessThan`",
            ),
            (
                r#"{"StringEquals": {"aws:SourceVpc": "10.0.0.1"}}"#,
                "`aws:SourceVpc`, which is not supported: calls have",
            ),
            (
                r#"{"StringEquals": {"aws:SourceArn": "${aws:username}"}}"#,
                "policy variable",
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
