//! Schedules and targets as requests have them, checked and read into the engine's words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use squall_events::schedule::{Schedule, Target};
use squall_types::{Deliver, DeliverByService, DeliverError};

use super::error::SchedulerError;
use crate::constraint::{self, Text};

pub(super) const NAME: Text = Text {
    member: "name",
    length: (1, 64),
    pattern: Some(("[0-9a-zA-Z-_.]+", is_name)),
};
pub(super) const GROUP_NAME: Text = Text {
    member: "groupName",
    ..NAME
};
const CLIENT_TOKEN: Text = Text {
    member: "clientToken",
    length: (1, 64),
    pattern: Some(("[a-zA-Z0-9-_]+", |c| c != '.' && is_name(c))),
};
/// The most bytes of a target's input, as Scheduler's quota has it.
const INPUT_BYTES_MAX: usize = 256 * 1024;
const EVENT_AGE_SECS_DEFAULT: u32 = 86_400;
const RETRIES_DEFAULT: u32 = 185;

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// The body of CreateSchedule and UpdateSchedule.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutSchedule {
    action_after_completion: Option<String>,
    client_token: Option<String>,
    description: Option<String>,
    /// Seconds since 1970.
    end_date: Option<f64>,
    flexible_time_window: Option<Window>,
    pub(super) group_name: Option<String>,
    kms_key_arn: Option<String>,
    schedule_expression: Option<String>,
    schedule_expression_timezone: Option<String>,
    start_date: Option<f64>,
    state: Option<String>,
    target: Option<PutTarget>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: Option<String>,
    maximum_window_in_minutes: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutTarget {
    arn: Option<String>,
    role_arn: Option<String>,
    input: Option<String>,
    dead_letter_config: Option<DeadLetter>,
    retry_policy: Option<RetryPolicy>,
    sqs_parameters: Option<SqsParameters>,
    event_bridge_parameters: Option<BusParameters>,
    /// What is for services that do not exist here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeadLetter {
    arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetryPolicy {
    maximum_event_age_in_seconds: Option<i64>,
    maximum_retry_attempts: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SqsParameters {
    message_group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BusParameters {
    detail_type: Option<String>,
    source: Option<String>,
}

impl PutSchedule {
    /// The schedule that is asked for. Times of its making are the engine's to set.
    pub(super) fn read(self, deliver: &DeliverByService) -> Result<Schedule, SchedulerError> {
        let expression = required("scheduleExpression", self.schedule_expression)?;
        check(&expression, &text("scheduleExpression", (1, 256)))?;
        for (value, constraint) in [
            (&self.client_token, CLIENT_TOKEN),
            (&self.description, text("description", (0, 512))),
            (&self.kms_key_arn, text("kmsKeyArn", (1, 2048))),
            (
                &self.schedule_expression_timezone,
                text("scheduleExpressionTimezone", (1, 50)),
            ),
        ] {
            value.as_ref().map_or(Ok(()), |value| check(value, &constraint))?;
        }
        let start_ms = self.start_date.map(millis);
        let end_ms = self.end_date.map(millis);
        if let (Some(start), Some(end)) = (start_ms, end_ms)
            && start >= end
        {
            return Err(SchedulerError::validation(
                "The StartDate you specify must be earlier than the EndDate.",
            ));
        }
        let window = self.flexible_time_window;
        let window = window.ok_or_else(|| missing("flexibleTimeWindow"))?;
        let target = self.target.ok_or_else(|| missing("target"))?;
        Ok(Schedule {
            expression,
            zone: self
                .schedule_expression_timezone
                .unwrap_or_else(|| "UTC".to_owned()),
            description: self.description.unwrap_or_default(),
            start_ms,
            end_ms,
            is_enabled: one_of("state", self.state.as_deref(), ["ENABLED", "DISABLED"])? == 0,
            window_minutes: window.minutes()?,
            delete_after_completion: one_of(
                "actionAfterCompletion",
                self.action_after_completion.as_deref(),
                ["NONE", "DELETE"],
            )? == 1,
            target: target.read(deliver)?,
            kms_key_arn: self.kms_key_arn,
            client_token: self.client_token,
            created_ms: 0,
            modified_ms: 0,
            decided_ms: 0,
        })
    }
}

impl Window {
    fn minutes(&self) -> Result<u32, SchedulerError> {
        let mode = self
            .mode
            .as_deref()
            .ok_or_else(|| missing("flexibleTimeWindow.mode"))?;
        let is_flexible = one_of("flexibleTimeWindow.mode", Some(mode), ["OFF", "FLEXIBLE"])? == 1;
        match (is_flexible, self.maximum_window_in_minutes) {
            (false, None) => Ok(0),
            (false, Some(_)) => Err(SchedulerError::validation(
                "MaximumWindowInMinutes is only for a flexible time window of mode FLEXIBLE.",
            )),
            (true, None) => Err(missing("flexibleTimeWindow.maximumWindowInMinutes")),
            (true, Some(minutes)) => number("flexibleTimeWindow.maximumWindowInMinutes", minutes, 1..=1440),
        }
    }
}

impl PutTarget {
    fn read(self, deliver: &DeliverByService) -> Result<Target, SchedulerError> {
        let arn = required("target.arn", self.arn)?;
        check(&arn, &text("target.arn", (1, 1600)))?;
        let role_arn = required("target.roleArn", self.role_arn)?;
        check(&role_arn, &text("target.roleArn", (1, 1600)))?;
        if let Some((name, _)) = self.others.iter().find(|(_, value)| !value.is_null()) {
            return Err(SchedulerError::validation(format!(
                "{name} of a target is not supported by Squall; leave it out of the request."
            )));
        }
        find(deliver, &arn, "target")?;
        let dead_letter = self.dead_letter_config.and_then(|dead_letter| dead_letter.arn);
        if let Some(queue) = &dead_letter {
            if !queue.starts_with("arn:aws:sqs:") {
                return Err(SchedulerError::validation(format!(
                    "The dead-letter queue {queue} is not the ARN of a queue."
                )));
            }
            find(deliver, queue, "dead-letter queue")?;
        }
        if let Some(input) = &self.input {
            check_input(&arn, input)?;
        }
        let policy = self.retry_policy.as_ref();
        let age = policy.and_then(|policy| policy.maximum_event_age_in_seconds);
        let retries = policy.and_then(|policy| policy.maximum_retry_attempts);
        Ok(Target {
            attributes: attributes(&arn, self.sqs_parameters, self.event_bridge_parameters)?,
            arn,
            role_arn,
            input: self.input,
            event_age_secs_max: age.map_or(Ok(EVENT_AGE_SECS_DEFAULT), |age| {
                number("target.retryPolicy.maximumEventAgeInSeconds", age, 60..=86_400)
            })?,
            retries_max: retries.map_or(Ok(RETRIES_DEFAULT), |retries| {
                number("target.retryPolicy.maximumRetryAttempts", retries, 0..=185)
            })?,
            dead_letter,
        })
    }
}

/// What goes beside the message.
fn attributes(
    arn: &str,
    sqs: Option<SqsParameters>,
    bus: Option<BusParameters>,
) -> Result<BTreeMap<String, String>, SchedulerError> {
    let mut attributes = BTreeMap::new();
    if let Some(group) = sqs.and_then(|sqs| sqs.message_group_id) {
        check(&group, &text("target.sqsParameters.messageGroupId", (1, 128)))?;
        attributes.insert("MessageGroupId".to_owned(), group);
    }
    if let Some(bus) = bus {
        let source = required("target.eventBridgeParameters.source", bus.source)?;
        check(&source, &text("target.eventBridgeParameters.source", (1, 256)))?;
        let detail_type = required("target.eventBridgeParameters.detailType", bus.detail_type)?;
        check(
            &detail_type,
            &text("target.eventBridgeParameters.detailType", (1, 128)),
        )?;
        attributes.insert("Source".to_owned(), source);
        attributes.insert("DetailType".to_owned(), detail_type);
    } else if arn.starts_with("arn:aws:events:") {
        return Err(SchedulerError::validation(
            "EventBridgeParameters must be specified for a target that is an event bus.",
        ));
    }
    Ok(attributes)
}

/// Functions and buses take JSON; keywords may stand in it where a value does.
fn check_input(arn: &str, input: &str) -> Result<(), SchedulerError> {
    if input.is_empty() || input.len() > INPUT_BYTES_MAX {
        return Err(SchedulerError::validation(format!(
            "Input must have 1 to {INPUT_BYTES_MAX} bytes."
        )));
    }
    if arn.starts_with("arn:aws:sqs:") {
        return Ok(());
    }
    let filled = input.replace("<aws.scheduler.attempt-number>", "1");
    match serde_json::from_str::<serde::de::IgnoredAny>(&filled) {
        Ok(_) => Ok(()),
        Err(error) => Err(SchedulerError::validation(format!(
            "Input is not valid JSON, which this target takes: {error}."
        ))),
    }
}

/// A target is there when it is named, or its schedule would fail each time.
fn find(deliver: &DeliverByService, arn: &str, what: &str) -> Result<(), SchedulerError> {
    deliver.check(arn).map_err(|error| match error {
        DeliverError::NotFound(arn) => {
            SchedulerError::validation(format!("The {what} {arn} does not exist."))
        }
        other => SchedulerError::validation(format!("The {what} is not valid: {other}.")),
    })
}

pub(super) const fn text(member: &'static str, length: (usize, usize)) -> Text {
    Text {
        member,
        length,
        pattern: None,
    }
}

pub(super) fn check(value: &str, constraint: &Text) -> Result<(), SchedulerError> {
    constraint.check(value).map_err(SchedulerError::validation)
}

fn required(member: &str, value: Option<String>) -> Result<String, SchedulerError> {
    value.ok_or_else(|| missing(member))
}

fn missing(member: &str) -> SchedulerError {
    SchedulerError::validation(constraint::missing(member))
}

fn number(member: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> Result<u32, SchedulerError> {
    let value = constraint::number(member, value, range).map_err(SchedulerError::validation)?;
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

/// Which of the allowed values it is; the first when it is not there.
pub(super) fn one_of(member: &str, value: Option<&str>, allowed: [&str; 2]) -> Result<usize, SchedulerError> {
    let Some(value) = value else { return Ok(0) };
    allowed.iter().position(|one| *one == value).ok_or_else(|| {
        let must = format!("satisfy enum value set: [{}]", allowed.join(", "));
        SchedulerError::validation(constraint::broken(member, value, &must))
    })
}

/// Seconds, as timestamps are sent. What no calendar has ends up at a calendar's end, and never fires.
fn millis(secs: f64) -> i64 {
    (secs * 1000.0) as i64
}
