//! Rules: which events, or when.

use serde::Deserialize;
use serde_json::{Value, json};
use squall_events::bus::{Rule, RuleFilter};
use squall_types::Home;

use super::input::{self, OneRule, Paging, RULE_NAME, Tag, text};
use super::{Answer, Call, with_next, with_some};
use crate::awsjson::JsonError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRule {
    name: Option<String>,
    schedule_expression: Option<String>,
    event_pattern: Option<String>,
    state: Option<String>,
    description: Option<String>,
    role_arn: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    event_bus_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRules {
    name_prefix: Option<String>,
    target_arn: Option<String>,
    event_bus_name: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

impl Call<'_> {
    pub(super) async fn put_rule(&self) -> Answer {
        let input: PutRule = self.input()?;
        let name = input::required("name", input.name.as_deref(), &RULE_NAME)?.to_owned();
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (pattern, schedule) = (given(input.event_pattern), given(input.schedule_expression));
        for (value, constraint) in [
            (&pattern, text("eventPattern", (0, 4096))),
            (&schedule, text("scheduleExpression", (0, 256))),
            (&input.description, text("description", (0, 512))),
            (&input.role_arn, text("roleArn", (1, 1600))),
        ] {
            input::optional(value.as_deref(), &constraint)?;
        }
        let is_enabled = match input.state.as_deref() {
            None | Some("ENABLED") => true,
            Some("DISABLED") => false,
            Some(other) => {
                return Err(JsonError::validation(format!(
                    "The state {other} is not supported by Squall: use ENABLED or DISABLED."
                )));
            }
        };
        let rule = Rule {
            name,
            bus: self.bus(input.event_bus_name.as_deref())?,
            pattern,
            schedule,
            is_enabled,
            description: input.description,
            role_arn: input.role_arn,
            targets: Vec::new(),
            tags: input::tags(input.tags)?,
        };
        let rule = self.buses.put_rule(self.schedules, rule).await?;
        Ok(json!({ "RuleArn": rule.arn(self.buses.home()) }))
    }

    pub(super) fn describe_rule(&self) -> Answer {
        let input: OneRule = self.input()?;
        let bus = self.bus(input.event_bus_name.as_deref())?;
        let rule = self.buses.rule(&bus, input.name()?)?;
        let home = self.buses.home();
        Ok(with_some(
            shape(home, &rule),
            &[("CreatedBy", Some(json!(home.account)))],
        ))
    }

    pub(super) fn list_rules(&self) -> Answer {
        let input: ListRules = self.input()?;
        let (rules, next) = self.rules(&input)?;
        let home = self.buses.home();
        let rules: Vec<Value> = rules.iter().map(|rule| shape(home, rule)).collect();
        Ok(with_next(json!({ "Rules": rules }), next))
    }

    pub(super) fn list_rule_names_by_target(&self) -> Answer {
        let input: ListRules = self.input()?;
        input::required(
            "targetArn",
            input.target_arn.as_deref(),
            &text("targetArn", (1, 1600)),
        )?;
        let (rules, next) = self.rules(&input)?;
        let names: Vec<Value> = rules.into_iter().map(|rule| rule.name.into()).collect();
        Ok(with_next(json!({ "RuleNames": names }), next))
    }

    fn rules(&self, input: &ListRules) -> Result<(Vec<Rule>, Option<String>), JsonError> {
        let bus = self.bus(input.event_bus_name.as_deref())?;
        let filter = RuleFilter {
            prefix: input.name_prefix.as_deref().unwrap_or(""),
            target: input.target_arn.as_deref(),
        };
        let all = self.buses.list_rules(&bus, &filter)?;
        input.paging.cut(all, |rule| &rule.name)
    }

    pub(super) async fn enable_rule(&self, is_enabled: bool) -> Answer {
        let input: OneRule = self.input()?;
        let bus = self.bus(input.event_bus_name.as_deref())?;
        self.buses
            .enable_rule(self.schedules, &bus, input.name()?, is_enabled)
            .await?;
        Ok(Value::Null)
    }

    pub(super) async fn delete_rule(&self) -> Answer {
        let input: OneRule = self.input()?;
        let bus = self.bus(input.event_bus_name.as_deref())?;
        self.buses
            .delete_rule(self.schedules, &bus, input.name()?)
            .await?;
        Ok(Value::Null)
    }
}

fn shape(home: &Home, rule: &Rule) -> Value {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    with_some(
        json!({
            "Name": rule.name,
            "Arn": rule.arn(home),
            "State": if rule.is_enabled { "ENABLED" } else { "DISABLED" },
            "EventBusName": rule.bus,
        }),
        &[
            ("EventPattern", text(&rule.pattern)),
            ("ScheduleExpression", text(&rule.schedule)),
            ("Description", text(&rule.description)),
            ("RoleArn", text(&rule.role_arn)),
        ],
    )
}
