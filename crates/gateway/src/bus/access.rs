//! What EventBridge's requests are in the language of policies.

use serde_json::Value;
use squall_events::bus::{Bus, DEFAULT_BUS, Rule};
use squall_types::Home;

use super::input;
use crate::authorize::Asked;

/// What a request asks for, and what it asks for beside that: PutEvents may name several buses.
pub(super) fn asked(home: &Home, action: &str, document: &Value) -> (Asked<'static>, Vec<Asked<'static>>) {
    let text = |member: &str| document[member].as_str();
    let name = format!("events:{action}");
    let bus = |named: Option<&str>| {
        // What is no bus is refused later, in the operation's own words.
        let bus = input::bus_name(home, named).unwrap_or_else(|_| "*".to_owned());
        Bus::arn(home, &bus)
    };
    if action == "PutEvents" {
        let entries = document["Entries"].as_array().into_iter().flatten();
        let mut buses: Vec<String> = entries.map(|entry| bus(entry["EventBusName"].as_str())).collect();
        buses.sort_unstable();
        buses.dedup();
        let mut all: Vec<_> = buses
            .into_iter()
            .map(|arn| Asked::on(name.clone(), arn))
            .collect();
        return (all.pop().unwrap_or_else(|| Asked::of(name)), all);
    }
    let resource = match (text("ResourceARN"), text("Rule").or(text("Name"))) {
        (Some(arn), _) => arn.to_owned(),
        (None, Some(named)) if action.ends_with("EventBus") => bus(Some(named)),
        (None, Some(named)) => {
            let bus = input::bus_name(home, text("EventBusName"));
            let rule = Rule {
                name: named.to_owned(),
                bus: bus.unwrap_or_else(|_| DEFAULT_BUS.to_owned()),
                ..Rule::default()
            };
            rule.arn(home)
        }
        (None, None) if action == "DescribeEventBus" => bus(None),
        (None, None) => "*".to_owned(),
    };
    (Asked::on(name, resource), Vec::new())
}

/// The roles that a request passes on.
pub(super) fn roles(document: &Value) -> impl Iterator<Item = &str> {
    let targets = document["Targets"].as_array().into_iter().flatten();
    let all = targets.chain([document]).map(|one| &one["RoleArn"]);
    all.filter_map(Value::as_str).filter(|role| !role.is_empty())
}

/// The targets and dead-letter queues that a request names.
pub(super) fn targets(document: &Value) -> impl Iterator<Item = &str> {
    let targets = document["Targets"].as_array().into_iter().flatten();
    targets.flat_map(|target| {
        let dead_letter = &target["DeadLetterConfig"]["Arn"];
        [target["Arn"].as_str(), dead_letter.as_str()]
            .into_iter()
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(action: &str, document: Value, expected: &[&str]) {
        let (one, more) = asked(&Home::default(), action, &document);
        let found: Vec<&str> = more
            .iter()
            .chain([&one])
            .map(|asked| asked.resource.as_str())
            .collect();
        let arns = expected.iter().map(|text| match *text {
            "*" => "*".to_owned(),
            text => format!("arn:aws:events:us-east-1:000000000000:{text}"),
        });
        assert_eq!(found, arns.collect::<Vec<_>>(), "{action} {document}");
        assert_eq!(one.action, format!("events:{action}"));
    }

    #[test]
    fn a_request_is_about_a_rule_or_a_bus_or_several() {
        check("PutRule", json!({"Name": "r"}), &["rule/r"]);
        check(
            "PutTargets",
            json!({"Rule": "r", "EventBusName": "b"}),
            &["rule/b/r"],
        );
        check("DeleteEventBus", json!({"Name": "b"}), &["event-bus/b"]);
        check("DescribeEventBus", json!({}), &["event-bus/default"]);
        check("ListRules", json!({}), &["*"]);
        let arn = "arn:aws:events:us-east-1:000000000000:event-bus/c";
        let entries = json!({"Entries": [{}, {"EventBusName": "b"}, {"EventBusName": arn}, {}]});
        check(
            "PutEvents",
            entries,
            &["event-bus/b", "event-bus/c", "event-bus/default"],
        );
    }
}
