//! What Scheduler's requests are in the language of policies.

use http::Method;
use serde_json::Value;
use squall_events::schedule::{DEFAULT_GROUP, group_arn, schedule_arn};
use squall_types::Home;

use crate::authorize::Asked;

/// What a request asks for; `None` where no operation answers.
pub(super) fn asked(
    home: &Home,
    method: &Method,
    path: &[&str],
    query: &[(String, String)],
    document: &Value,
) -> Option<Asked<'static>> {
    let verb = match *method {
        Method::GET => "Get",
        Method::POST => "Create",
        Method::PUT => "Update",
        Method::DELETE => "Delete",
        _ => return None,
    };
    Some(match path {
        ["schedules"] if verb == "Get" => Asked::of("scheduler:ListSchedules"),
        ["schedule-groups"] if verb == "Get" => Asked::of("scheduler:ListScheduleGroups"),
        ["schedules", name] => {
            let in_query = query.iter().find(|(known, _)| known == "groupName");
            let in_query = in_query
                .map(|(_, group)| group.as_str())
                .filter(|group| !group.is_empty());
            let group = match verb {
                "Create" | "Update" => document["GroupName"].as_str(),
                _ => in_query,
            };
            let arn = schedule_arn(home, group.unwrap_or(DEFAULT_GROUP), name);
            Asked::on(format!("scheduler:{verb}Schedule"), arn)
        }
        ["schedule-groups", name] if verb != "Update" => {
            Asked::on(format!("scheduler:{verb}ScheduleGroup"), group_arn(home, name))
        }
        ["tags", arn @ ..] => {
            let action = match verb {
                "Get" => "scheduler:ListTagsForResource",
                "Create" => "scheduler:TagResource",
                "Delete" => "scheduler:UntagResource",
                _ => return None,
            };
            Asked::on(action, arn.join("/"))
        }
        _ => return None,
    })
}

/// The role that a request passes on.
pub(super) fn role(document: &Value) -> Option<&str> {
    document["Target"]["RoleArn"]
        .as_str()
        .filter(|role| !role.is_empty())
}

/// The target and the dead-letter queue that a request names.
pub(super) fn targets(document: &Value) -> impl Iterator<Item = &str> {
    let target = &document["Target"];
    [&target["Arn"], &target["DeadLetterConfig"]["Arn"]]
        .into_iter()
        .filter_map(Value::as_str)
}
