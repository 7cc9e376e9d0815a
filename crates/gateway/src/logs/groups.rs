//! Groups, their retention and labels, and their streams.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use squall_store::logs::{LogGroup, RecordQuery, StreamView};
use squall_types::FunctionName;

use super::{Answer, Call, group_arn, group_of, read_name, with_next, with_some};
use crate::awsjson::JsonError;
use crate::page;

const PAGE_ITEMS_MAX: usize = 50;
const TAGS_MAX: usize = 50;
/// The days for which lines may be kept.
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: Option<String>,
    resource_arn: Option<String>,
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
    retention_in_days: Option<u32>,
    /// A map of labels, or a list of their keys.
    tags: Option<Value>,
    tag_keys: Vec<String>,
    kms_key_id: Option<String>,
    log_group_class: Option<String>,
}

impl Input {
    fn named(&self) -> Option<&str> {
        let named = self
            .log_group_name
            .as_ref()
            .or(self.log_group_identifier.as_ref());
        named.or(self.resource_arn.as_ref()).map(String::as_str)
    }

    fn limit(&self) -> Result<usize, JsonError> {
        match self.limit.unwrap_or(PAGE_ITEMS_MAX) {
            limit @ 1..=PAGE_ITEMS_MAX => Ok(limit),
            limit => Err(JsonError::invalid(format!(
                "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
                 Member must have value between 1 and {PAGE_ITEMS_MAX}"
            ))),
        }
    }

    fn after(&self) -> Result<Option<String>, JsonError> {
        let invalid = || JsonError::invalid("The specified nextToken is invalid.");
        let token = self.next_token.as_ref();
        token
            .map(|token| page::name(token).ok_or_else(invalid))
            .transpose()
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, JsonError> {
        let labels = self.tags.clone().map(serde_json::from_value).transpose();
        Ok(labels
            .map_err(|error| JsonError::serialization(&error))?
            .unwrap_or_default())
    }
}

impl Call<'_> {
    pub(super) async fn create_group(&self) -> Answer {
        let input: Input = self.input()?;
        let name = input
            .log_group_name
            .as_deref()
            .ok_or_else(|| JsonError::missing("logGroupName"))?;
        let Some(function) = read_name(name) else {
            return Err(JsonError::not_implemented(&format!(
                "A log group that is no function's (`{name}` is not /aws/lambda/NAME)"
            )));
        };
        if input.kms_key_id.is_some()
            || input
                .log_group_class
                .as_deref()
                .is_some_and(|class| class != "STANDARD")
        {
            return Err(JsonError::not_implemented(
                "A log group with a key or of another class than STANDARD",
            ));
        }
        if self.exists(&function) {
            return Err(JsonError::new(
                "ResourceAlreadyExistsException",
                "The specified log group already exists",
            ));
        }
        let tags = input.labels()?;
        check_tags(&tags)?;
        let group = LogGroup {
            created_ms: Some(now_ms()),
            retention_days: None,
            tags,
        };
        self.logs.put_group(&function, group).await?;
        Ok(Value::Null)
    }

    pub(super) async fn describe_groups(&self) -> Answer {
        let input: Input = self.input()?;
        let (names, next) = self.page_of_groups(&input)?;
        let mut shapes = Vec::with_capacity(names.len());
        let bytes = self.logs.functions();
        for function in names {
            let group = self.logs.group(&function).unwrap_or_default();
            let created_ms = match group.created_ms {
                Some(created_ms) => created_ms,
                None => self.first_ms(&function).await?,
            };
            let (name, arn) = (group_of(&function), group_arn(self.home, &group_of(&function)));
            let shape = json!({
                "logGroupName": name,
                "arn": format!("{arn}:*"),
                "logGroupArn": arn,
                "creationTime": created_ms,
                "metricFilterCount": 0,
                "storedBytes": bytes.get(&function).copied().unwrap_or(0),
                "logGroupClass": "STANDARD",
            });
            let days = group.retention_days.map(|days| json!(days));
            shapes.push(with_some(shape, &[("retentionInDays", days)]));
        }
        Ok(with_next(json!({ "logGroups": shapes }), next))
    }

    pub(super) fn list_groups(&self) -> Answer {
        let (names, next) = self.page_of_groups(&self.input()?)?;
        let shapes = names.iter().map(|function| {
            let name = group_of(function);
            json!({ "logGroupName": name, "logGroupArn": group_arn(self.home, &name), "logGroupClass": "STANDARD" })
        });
        let shapes: Vec<Value> = shapes.collect();
        Ok(with_next(json!({ "logGroups": shapes }), next))
    }

    fn page_of_groups(&self, input: &Input) -> Result<(Vec<FunctionName>, Option<String>), JsonError> {
        let mut all: BTreeSet<FunctionName> = self.logs.functions().into_keys().collect();
        all.extend(self.logs.groups().into_keys());
        let (prefix, part) = (&input.log_group_name_prefix, &input.log_group_name_pattern);
        let wanted = |function: &FunctionName| {
            let name = group_of(function);
            prefix
                .as_ref()
                .is_none_or(|prefix| name.starts_with(prefix.as_str()))
                && part.as_ref().is_none_or(|part| name.contains(part.as_str()))
        };
        let all: Vec<FunctionName> = all.into_iter().filter(wanted).collect();
        Ok(page::cut(
            all,
            FunctionName::as_str,
            input.after()?.as_deref(),
            input.limit()?,
        ))
    }

    /// When a function's first kept line was written.
    async fn first_ms(&self, function: &FunctionName) -> Result<i64, JsonError> {
        let first = RecordQuery {
            function: function.clone(),
            after: None,
            reverse: false,
            since_ms: None,
            events_max: 1,
        };
        let page = self.logs.records(first, |_| true).await?;
        let events = page.records.iter().flat_map(|record| &record.events);
        Ok(events.map(|event| event.at_ms).next().unwrap_or(0))
    }

    pub(super) async fn delete_group(&self) -> Answer {
        let input: Input = self.input()?;
        let function = self.function(input.named())?;
        self.logs.forget(&function).await?;
        self.logs.remove_group(&function).await?;
        Ok(Value::Null)
    }

    pub(super) async fn put_retention(&self) -> Answer {
        let input: Input = self.input()?;
        let days = input
            .retention_in_days
            .ok_or_else(|| JsonError::missing("retentionInDays"))?;
        if !RETENTION_DAYS.contains(&days) {
            return Err(JsonError::invalid(format!(
                "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: \
                 Member must satisfy enum value set: {RETENTION_DAYS:?}"
            )));
        }
        self.change_group(&input, |group| group.retention_days = Some(days))
            .await?;
        self.logs.enforce().await?;
        Ok(Value::Null)
    }

    pub(super) async fn delete_retention(&self) -> Answer {
        self.change_group(&self.input()?, |group| group.retention_days = None)
            .await?;
        Ok(Value::Null)
    }

    pub(super) fn list_tags(&self) -> Answer {
        let input: Input = self.input()?;
        let group = self
            .logs
            .group(&self.function(input.named())?)
            .unwrap_or_default();
        Ok(json!({ "tags": group.tags }))
    }

    pub(super) async fn tag(&self) -> Answer {
        let input: Input = self.input()?;
        let tags = input.labels()?;
        let mut all = self
            .logs
            .group(&self.function(input.named())?)
            .unwrap_or_default()
            .tags;
        all.extend(tags);
        check_tags(&all)?;
        self.change_group(&input, |group| group.tags = all).await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag(&self) -> Answer {
        let input: Input = self.input()?;
        // Two operations, which differ in where the keys are.
        let of_group = input
            .tags
            .clone()
            .map(serde_json::from_value::<Vec<String>>)
            .transpose();
        let mut keys = of_group
            .map_err(|error| JsonError::serialization(&error))?
            .unwrap_or_default();
        keys.extend(input.tag_keys.iter().cloned());
        self.change_group(&input, |group| group.tags.retain(|key, _| !keys.contains(key)))
            .await?;
        Ok(Value::Null)
    }

    async fn change_group(&self, input: &Input, change: impl FnOnce(&mut LogGroup)) -> Result<(), JsonError> {
        let function = self.function(input.named())?;
        let mut group = self.logs.group(&function).unwrap_or_default();
        change(&mut group);
        Ok(self.logs.put_group(&function, group).await?)
    }

    pub(super) async fn describe_streams(&self) -> Answer {
        let input: Input = self.input()?;
        let function = self.function(input.named())?;
        let prefix = input.log_stream_name_prefix.as_deref();
        let by_time = match input.order_by.as_deref() {
            None | Some("LogStreamName") => false,
            Some("LastEventTime") if prefix.is_none() => true,
            Some("LastEventTime") => {
                return Err(JsonError::invalid(
                    "Cannot order by LastEventTime with a logStreamNamePrefix.",
                ));
            }
            Some(other) => {
                return Err(JsonError::invalid(format!(
                    "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: \
                     Member must satisfy enum value set: [LogStreamName, LastEventTime]"
                )));
            }
        };
        let mut streams = self.logs.streams(&function).await?;
        streams.retain(|stream| prefix.is_none_or(|prefix| stream.name.starts_with(prefix)));
        if by_time {
            streams.sort_by_key(|stream| stream.last_ms);
        }
        if input.descending {
            // Stable in both orders: a page goes on behind the last name.
            streams.sort_by_key(|stream| Reverse(if by_time { stream.last_ms } else { 0 }));
            if !by_time {
                streams.reverse();
            }
        }
        if let Some(after) = input.after()? {
            let at = streams.iter().position(|stream| *stream.name == *after);
            streams.drain(..at.map_or(0, |at| at + 1));
        }
        let limit = input.limit()?;
        let next = streams
            .get(limit.saturating_sub(1))
            .filter(|_| streams.len() > limit);
        let next = next.map(|last| page::token(&last.name));
        let group = group_arn(self.home, &group_of(&function));
        let shapes: Vec<Value> = streams
            .iter()
            .take(limit)
            .map(|stream| shape(&group, stream))
            .collect();
        Ok(with_next(json!({ "logStreams": shapes }), next))
    }

    pub(super) async fn delete_stream(&self) -> Answer {
        let input: Input = self.input()?;
        let function = self.function(input.named())?;
        let stream = input
            .log_stream_name
            .as_deref()
            .ok_or_else(|| JsonError::missing("logStreamName"))?;
        if !self.has_stream(&function, stream).await? {
            return Err(JsonError::no_stream());
        }
        self.logs.forget_stream(&function, stream).await?;
        Ok(Value::Null)
    }

    pub(super) async fn has_stream(&self, function: &FunctionName, stream: &str) -> Result<bool, JsonError> {
        let streams = self.logs.streams(function).await?;
        Ok(streams.iter().any(|found| *found.name == *stream))
    }
}

fn shape(group_arn: &str, stream: &StreamView) -> Value {
    json!({
        "logStreamName": stream.name,
        "arn": format!("{group_arn}:log-stream:{}", stream.name),
        "creationTime": stream.first_ms,
        "firstEventTimestamp": stream.first_ms,
        "lastEventTimestamp": stream.last_ms,
        "lastIngestionTime": stream.last_ms,
        // AWS has stopped counting them, too, and says 0; here they are known.
        "storedBytes": stream.bytes,
    })
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), JsonError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.len() <= TAGS_MAX && tags.iter().all(fits) {
        return Ok(());
    }
    Err(JsonError::invalid(format!(
        "There may be {TAGS_MAX} tags, whose keys have 1 to 128 characters and whose values at most 256."
    )))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
