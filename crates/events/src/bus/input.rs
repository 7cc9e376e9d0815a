//! What a target is sent: the event, a part of it, or a text with parts of it. Pure.
//!
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html>.

use serde_json::Value;

use super::record::{RuleTarget, Transformer};

/// What the predefined variables of a template say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) event: &'a Value,
    pub(super) rule_arn: &'a str,
    pub(super) rule_name: &'a str,
    pub(super) ingested: &'a str,
}

/// The body for a target.
pub(super) fn body(target: &RuleTarget, sent: &Sent<'_>) -> String {
    if let Some(input) = &target.input {
        return input.clone();
    }
    if let Some(path) = &target.input_path {
        let part = Path::parse(path)
            .ok()
            .and_then(|path| path.find(sent.event).cloned());
        return part.unwrap_or(Value::Null).to_string();
    }
    match &target.transformer {
        Some(transformer) => transform(transformer, sent),
        None => sent.event.to_string(),
    }
}

/// Why an input cannot work, for the rule's author.
pub(super) fn check(target: &RuleTarget) -> Result<(), String> {
    let ways = [
        target.input.is_some(),
        target.input_path.is_some(),
        target.transformer.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err("only one of Input, InputPath or InputTransformer can be given".to_owned());
    }
    if let Some(input) = &target.input {
        serde_json::from_str::<serde::de::IgnoredAny>(input)
            .map_err(|error| format!("Input is not valid JSON: {error}"))?;
    }
    if let Some(path) = &target.input_path {
        Path::parse(path)?;
    }
    if let Some(transformer) = &target.transformer {
        if transformer.paths.len() > 100 {
            return Err("InputPathsMap has more than 100 paths".to_owned());
        }
        for (name, path) in &transformer.paths {
            if name.starts_with("aws.") {
                return Err(format!("InputPathsMap cannot name `{name}`: `aws.` is reserved"));
            }
            Path::parse(path)?;
        }
        let nothing = Sent {
            event: &Value::Null,
            rule_arn: "",
            rule_name: "",
            ingested: "",
        };
        let tried = transform(transformer, &nothing);
        serde_json::from_str::<serde::de::IgnoredAny>(&tried)
            .map_err(|error| format!("InputTemplate does not become JSON: {error}"))?;
    }
    Ok(())
}

fn transform(transformer: &Transformer, sent: &Sent<'_>) -> String {
    let mut out = String::new();
    let mut rest = transformer.template.as_str();
    let mut is_in_string = false;
    while let Some(c) = rest.chars().next() {
        if c == '<'
            && let Some((name, behind)) = rest[1..].split_once('>')
            && let Some(value) = variable(name, transformer, sent)
        {
            insert(&mut out, &value, is_in_string);
            rest = behind;
            continue;
        }
        let taken = match c {
            '\\' if is_in_string => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '"' => {
                is_in_string = !is_in_string;
                1
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

fn variable(name: &str, transformer: &Transformer, sent: &Sent<'_>) -> Option<Value> {
    Some(match name {
        "aws.events.rule-arn" => sent.rule_arn.into(),
        "aws.events.rule-name" => sent.rule_name.into(),
        "aws.events.event.ingestion-time" => sent.ingested.into(),
        "aws.events.event" | "aws.events.event.json" => sent.event.clone(),
        _ => {
            let path = Path::parse(transformer.paths.get(name)?).ok()?;
            path.find(sent.event).cloned().unwrap_or(Value::Null)
        }
    })
}

/// In a string a value is text without quotes of its own; elsewhere it is JSON.
fn insert(out: &mut String, value: &Value, is_in_string: bool) {
    if !is_in_string {
        out.push_str(&value.to_string());
        return;
    }
    let text = match value {
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let quoted = Value::from(text).to_string();
    out.push_str(&quoted[1..quoted.len() - 1]);
}

/// The JSON paths that EventBridge takes: `$`, names with dots or brackets, and places in lists.
struct Path(Vec<Step>);

enum Step {
    Name(String),
    Place(usize),
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a JSON path such as $.detail.id");
        let mut rest = text.strip_prefix('$').ok_or_else(refuse)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, behind) = inner.split_once(']').ok_or_else(refuse)?;
                let quoted = step
                    .strip_prefix(['\'', '"'])
                    .and_then(|step| step.strip_suffix(['\'', '"']));
                steps.push(match quoted {
                    Some(name) => Step::Name(name.to_owned()),
                    None => Step::Place(step.parse().map_err(|_| refuse())?),
                });
                rest = behind;
            } else {
                let inner = rest.strip_prefix('.').ok_or_else(refuse)?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                let (name, behind) = inner.split_at(end);
                if name.is_empty() || name.contains(['*', '@', '?', '(']) {
                    return Err(refuse());
                }
                steps.push(Step::Name(name.to_owned()));
                rest = behind;
            }
        }
        Ok(Self(steps))
    }

    fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Place(place) => value.get(place),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_template(paths: &[(&str, &str)], template: &str, expected: &str) {
        let event = json!({"detail": {"id": "a\"b", "n": 3, "list": [{"x": true}]}});
        let target = RuleTarget {
            transformer: Some(Transformer {
                paths: paths
                    .iter()
                    .map(|(n, p)| ((*n).to_owned(), (*p).to_owned()))
                    .collect(),
                template: template.to_owned(),
            }),
            ..RuleTarget::default()
        };
        let sent = Sent {
            event: &event,
            rule_arn: "arn",
            rule_name: "rule",
            ingested: "now",
        };
        assert_eq!(body(&target, &sent), expected, "{template}");
    }

    #[test]
    fn a_template_puts_parts_of_the_event_where_their_names_stand() {
        let paths = [
            ("id", "$.detail.id"),
            ("n", "$.detail.n"),
            ("x", "$.detail['list'][0].x"),
            ("no", "$.no"),
        ];
        check_template(&paths, r#"{"id": <id>, "n": <n>}"#, r#"{"id": "a\"b", "n": 3}"#);
        check_template(
            &paths,
            r#""id <id>, n <n>, x <x>, no <no>""#,
            r#""id a\"b, n 3, x true, no ""#,
        );
        check_template(
            &paths,
            r#"{"no": <no>, "rule": "<aws.events.rule-name>"}"#,
            r#"{"no": null, "rule": "rule"}"#,
        );
        check_template(
            &paths,
            r#"{"kept": "<unknown> \"<n>"}"#,
            r#"{"kept": "<unknown> \"3"}"#,
        );
    }

    #[test]
    fn what_cannot_become_json_is_refused() {
        let with = |template: &str| RuleTarget {
            transformer: Some(Transformer {
                paths: [("n".to_owned(), "$.n".to_owned())].into(),
                template: template.to_owned(),
            }),
            ..RuleTarget::default()
        };
        assert!(check(&with(r#"{"n": <n>}"#)).is_ok());
        assert!(check(&with("n is <n>")).is_err());
        let path = |path: &str| RuleTarget {
            input_path: Some(path.to_owned()),
            ..RuleTarget::default()
        };
        assert!(check(&path("$.detail")).is_ok());
        for wrong in ["detail", "$..x", "$.a[", "$.a[x]", "$.*"] {
            assert!(check(&path(wrong)).is_err(), "{wrong}");
        }
        let input = RuleTarget {
            input: Some("{".to_owned()),
            ..RuleTarget::default()
        };
        assert!(check(&input).is_err());
    }
}
