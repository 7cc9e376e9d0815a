//! Groups of schedules and their tags.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use squall_events::schedule::group_arn;

use super::error::SchedulerError;
use super::input::{self, NAME, text};
use super::{Answer, Call, shapes};
use crate::page;

const TAGS_MAX: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

impl Call<'_> {
    pub(super) async fn create_group(&self, name: &str) -> Answer {
        input::check(name, &NAME)?;
        let tags = self.read_tags()?;
        check_count(&tags)?;
        self.schedules.create_group(name, tags).await?;
        Ok(json!({ "ScheduleGroupArn": group_arn(self.schedules.home(), name) }))
    }

    pub(super) fn get_group(&self, name: &str) -> Answer {
        input::check(name, &NAME)?;
        let group = self.schedules.group(name)?;
        Ok(shapes::group(self.schedules.home(), &group))
    }

    pub(super) fn list_groups(&self) -> Answer {
        let all = self
            .schedules
            .list_groups(self.parameter("NamePrefix").unwrap_or(""));
        let (after, limit) = (self.after()?, self.max_results()?);
        let (page, next) = page::cut(all, |group| &group.name, after.as_deref(), limit);
        let home = self.schedules.home();
        let page = page.iter().map(|group| shapes::group(home, group));
        Ok(json!({ "ScheduleGroups": page.collect::<Vec<Value>>(), "NextToken": next }))
    }

    pub(super) async fn delete_group(&self, name: &str) -> Answer {
        input::check(name, &NAME)?;
        self.schedules.delete_group(name).await?;
        Ok(json!({}))
    }

    pub(super) fn list_tags(&self, arn: &str) -> Answer {
        let tags = self.schedules.group(self.tagged(arn)?)?.tags;
        let tags = tags
            .iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }));
        Ok(json!({ "Tags": tags.collect::<Vec<Value>>() }))
    }

    pub(super) async fn tag(&self, arn: &str) -> Answer {
        let name = self.tagged(arn)?;
        let new = self.read_tags()?;
        let mut all = self.schedules.group(name)?.tags;
        all.extend(new.clone());
        check_count(&all)?;
        self.schedules.tag_group(name, |tags| tags.extend(new)).await?;
        Ok(json!({}))
    }

    pub(super) async fn untag(&self, arn: &str) -> Answer {
        let name = self.tagged(arn)?;
        let pairs = self.query.iter().filter(|(name, _)| name == "TagKeys");
        let keys: Vec<&String> = pairs.map(|(_, key)| key).collect();
        self.schedules
            .tag_group(name, |tags| tags.retain(|key, _| !keys.contains(&key)))
            .await?;
        Ok(json!({}))
    }

    fn read_tags(&self) -> Result<BTreeMap<String, String>, SchedulerError> {
        let input: Tags = self.input()?;
        let mut tags = BTreeMap::new();
        for Tag { key, value } in input.tags {
            input::check(&key, &text("tags.key", (1, 128)))?;
            input::check(&value, &text("tags.value", (1, 256)))?;
            tags.insert(key, value);
        }
        Ok(tags)
    }

    /// The group that an ARN names: only groups have tags.
    fn tagged<'a>(&self, arn: &'a str) -> Result<&'a str, SchedulerError> {
        let name = arn.rsplit_once('/').map_or("", |(_, name)| name);
        match arn == group_arn(self.schedules.home(), name) {
            true => Ok(name),
            false => Err(SchedulerError::not_found(format!(
                "Schedule group {arn} does not exist."
            ))),
        }
    }
}

fn check_count(tags: &BTreeMap<String, String>) -> Result<(), SchedulerError> {
    match tags.len() {
        0..=TAGS_MAX => Ok(()),
        found => Err(SchedulerError::quota(format!(
            "A schedule group has at most {TAGS_MAX} tags; this one would have {found}."
        ))),
    }
}
