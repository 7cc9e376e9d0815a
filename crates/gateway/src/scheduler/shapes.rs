//! Schedules and groups as answers have them.

use serde_json::{Value, json};
use squall_events::schedule::{Group, Schedule, Target, group_arn, schedule_arn};
use squall_types::Home;

/// GetSchedule's answer.
pub(super) fn schedule(home: &Home, group: &str, name: &str, schedule: &Schedule) -> Value {
    let mut shape = summary(home, group, name, schedule);
    shape["ScheduleExpression"] = json!(schedule.expression);
    shape["ScheduleExpressionTimezone"] = json!(schedule.zone);
    shape["ActionAfterCompletion"] = json!(match schedule.delete_after_completion {
        true => "DELETE",
        false => "NONE",
    });
    shape["FlexibleTimeWindow"] = match schedule.window_minutes {
        0 => json!({ "Mode": "OFF" }),
        minutes => json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes }),
    };
    shape["Target"] = target(&schedule.target);
    for (member, ms) in [("StartDate", schedule.start_ms), ("EndDate", schedule.end_ms)] {
        if let Some(ms) = ms {
            shape[member] = seconds(ms);
        }
    }
    if !schedule.description.is_empty() {
        shape["Description"] = json!(schedule.description);
    }
    if let Some(arn) = &schedule.kms_key_arn {
        shape["KmsKeyArn"] = json!(arn);
    }
    shape
}

/// What a list says of a schedule.
pub(super) fn summary(home: &Home, group: &str, name: &str, schedule: &Schedule) -> Value {
    json!({
        "Arn": schedule_arn(home, group, name),
        "GroupName": group,
        "Name": name,
        "State": if schedule.is_enabled { "ENABLED" } else { "DISABLED" },
        "CreationDate": seconds(schedule.created_ms),
        "LastModificationDate": seconds(schedule.modified_ms),
        "Target": { "Arn": schedule.target.arn },
    })
}

fn target(target: &Target) -> Value {
    let mut shape = json!({
        "Arn": target.arn,
        "RoleArn": target.role_arn,
        "RetryPolicy": {
            "MaximumEventAgeInSeconds": target.event_age_secs_max,
            "MaximumRetryAttempts": target.retries_max,
        },
    });
    if let Some(input) = &target.input {
        shape["Input"] = json!(input);
    }
    if let Some(queue) = &target.dead_letter {
        shape["DeadLetterConfig"] = json!({ "Arn": queue });
    }
    if let Some(group) = target.attributes.get("MessageGroupId") {
        shape["SqsParameters"] = json!({ "MessageGroupId": group });
    }
    if let (Some(source), Some(detail_type)) = (
        target.attributes.get("Source"),
        target.attributes.get("DetailType"),
    ) {
        shape["EventBridgeParameters"] = json!({ "Source": source, "DetailType": detail_type });
    }
    shape
}

/// A group.
pub(super) fn group(home: &Home, group: &Group) -> Value {
    json!({
        "Arn": group_arn(home, &group.name),
        "Name": group.name,
        "State": if group.is_deleting { "DELETING" } else { "ACTIVE" },
        "CreationDate": seconds(group.created_ms),
        "LastModificationDate": seconds(group.modified_ms),
    })
}

/// Times are seconds since 1970, with a fraction.
fn seconds(ms: i64) -> Value {
    json!(ms as f64 / 1000.0)
}
