//! Targets of rules: whom a rule tells, and what.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use squall_events::bus::{RuleTarget, Transformer};

use super::input::{self, OneRule, Paging, TARGET_ID, text};
use super::{Answer, Call, with_next, with_some};
use crate::awsjson::JsonError;
use crate::constraint;

/// What a request may bring at once, as in the model.
const TARGETS_PER_CALL_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutTargets {
    #[serde(flatten)]
    rule: OneRule,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    id: Option<String>,
    arn: Option<String>,
    role_arn: Option<String>,
    input: Option<String>,
    input_path: Option<String>,
    input_transformer: Option<InputTransformer>,
    sqs_parameters: Option<SqsParameters>,
    dead_letter_config: Option<DeadLetter>,
    retry_policy: Option<RetryPolicy>,
    /// What is for services that do not exist here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InputTransformer {
    #[serde(default)]
    input_paths_map: BTreeMap<String, String>,
    input_template: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SqsParameters {
    message_group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeadLetter {
    arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetryPolicy {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RemoveTargets {
    #[serde(flatten)]
    rule: OneRule,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTargets {
    #[serde(flatten)]
    rule: OneRule,
    #[serde(flatten)]
    paging: Paging,
}

impl Call<'_> {
    pub(super) async fn put_targets(&self) -> Answer {
        let input: PutTargets = self.input()?;
        let bus = self.bus(input.rule.event_bus_name.as_deref())?;
        let name = input.rule.name()?;
        check_count("targets", input.targets.len())?;
        let targets = input.targets.into_iter().map(Target::read);
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let refused = self.buses.put_targets(&bus, name, targets).await?;
        let mut entries = Vec::with_capacity(refused.len());
        for (id, error) in refused {
            let error = JsonError::from(error);
            entries.push(failed(&id, error.name, &error.message));
        }
        Ok(failures(entries))
    }

    pub(super) async fn remove_targets(&self) -> Answer {
        let input: RemoveTargets = self.input()?;
        let bus = self.bus(input.rule.event_bus_name.as_deref())?;
        check_count("ids", input.ids.len())?;
        let missing = self
            .buses
            .remove_targets(&bus, input.rule.name()?, &input.ids)
            .await?;
        let missing = missing.iter().map(|id| {
            let text = format!("The target {id} does not exist.");
            failed(id, "ResourceNotFoundException", &text)
        });
        Ok(failures(missing.collect()))
    }

    pub(super) fn list_targets(&self) -> Answer {
        let input: ListTargets = self.input()?;
        let bus = self.bus(input.rule.event_bus_name.as_deref())?;
        let mut targets = self.buses.rule(&bus, input.rule.name()?)?.targets;
        targets.sort_by(|a, b| a.id.cmp(&b.id));
        let (page, next) = input.paging.cut(targets, |target| &target.id)?;
        let page: Vec<Value> = page.iter().map(shape).collect();
        Ok(with_next(json!({ "Targets": page }), next))
    }
}

impl Target {
    fn read(self) -> Result<RuleTarget, JsonError> {
        let id = input::required("targets.id", self.id.as_deref(), &TARGET_ID)?.to_owned();
        let arn = text("targets.arn", (1, 1600));
        let arn = input::required("targets.arn", self.arn.as_deref(), &arn)?.to_owned();
        if let Some((name, _)) = self.others.iter().find(|(_, value)| !value.is_null()) {
            return Err(JsonError::validation(format!(
                "{name} of a target is not supported by Squall; leave it out of the request."
            )));
        }
        for (value, constraint) in [
            (&self.input, text("targets.input", (0, 8192))),
            (&self.input_path, text("targets.inputPath", (0, 256))),
        ] {
            input::optional(value.as_deref(), &constraint)?;
        }
        let number = |member: &str, value: Option<i64>, range| match value {
            None => Ok(None),
            Some(value) => match constraint::number(member, value, range) {
                Ok(value) => Ok(u32::try_from(value).ok()),
                Err(text) => Err(JsonError::validation(text)),
            },
        };
        let policy = self.retry_policy.as_ref();
        let attempts = policy.and_then(|policy| policy.maximum_retry_attempts);
        let age = policy.and_then(|policy| policy.maximum_event_age_in_seconds);
        Ok(RuleTarget {
            id,
            arn,
            role_arn: self.role_arn,
            input: self.input,
            input_path: self.input_path,
            transformer: self.input_transformer.map(InputTransformer::read).transpose()?,
            dead_letter: self.dead_letter_config.and_then(|dead_letter| dead_letter.arn),
            retries_max: number("targets.retryPolicy.maximumRetryAttempts", attempts, 0..=185)?,
            event_age_secs_max: number("targets.retryPolicy.maximumEventAgeInSeconds", age, 60..=86_400)?,
            message_group_id: self.sqs_parameters.and_then(|sqs| sqs.message_group_id),
        })
    }
}

impl InputTransformer {
    fn read(self) -> Result<Transformer, JsonError> {
        let constraint = text("targets.inputTransformer.inputTemplate", (1, 8192));
        let template = self.input_template.as_deref();
        let template = input::required(constraint.member, template, &constraint)?.to_owned();
        Ok(Transformer {
            paths: self.input_paths_map,
            template,
        })
    }
}

fn check_count(member: &str, count: usize) -> Result<(), JsonError> {
    let must = match count {
        1..=TARGETS_PER_CALL_MAX => return Ok(()),
        0 => "have length greater than or equal to 1".to_owned(),
        _ => format!("have length less than or equal to {TARGETS_PER_CALL_MAX}"),
    };
    let text = constraint::broken(member, format_args!("[{count} of them]"), &must);
    Err(JsonError::validation(text))
}

fn failed(id: &str, code: &str, message: &str) -> Value {
    json!({ "TargetId": id, "ErrorCode": code, "ErrorMessage": message })
}

fn failures(entries: Vec<Value>) -> Value {
    json!({ "FailedEntryCount": entries.len(), "FailedEntries": entries })
}

fn shape(target: &RuleTarget) -> Value {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let transformer = target.transformer.as_ref();
    let transformer = transformer.map(
        |transformer| json!({ "InputPathsMap": transformer.paths, "InputTemplate": transformer.template }),
    );
    let group = text(&target.message_group_id).map(|group| json!({ "MessageGroupId": group }));
    let has_policy = target.retries_max.is_some() || target.event_age_secs_max.is_some();
    let policy = has_policy.then(|| {
        with_some(
            json!({}),
            &[
                ("MaximumRetryAttempts", target.retries_max.map(|n| json!(n))),
                (
                    "MaximumEventAgeInSeconds",
                    target.event_age_secs_max.map(|n| json!(n)),
                ),
            ],
        )
    });
    with_some(
        json!({ "Id": target.id, "Arn": target.arn }),
        &[
            ("RoleArn", text(&target.role_arn)),
            ("Input", text(&target.input)),
            ("InputPath", text(&target.input_path)),
            ("InputTransformer", transformer),
            ("SqsParameters", group),
            (
                "DeadLetterConfig",
                text(&target.dead_letter).map(|arn| json!({ "Arn": arn })),
            ),
            ("RetryPolicy", policy),
        ],
    )
}
