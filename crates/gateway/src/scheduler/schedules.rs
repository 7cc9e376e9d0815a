//! Schedules: made, read, replaced, removed, listed.

use serde_json::{Value, json};
use squall_events::schedule::{DEFAULT_GROUP, schedule_arn};

use super::error::SchedulerError;
use super::input::{self, GROUP_NAME, NAME, PutSchedule};
use super::{Answer, Call, shapes};
use crate::page;

/// Stands between group and name in a page's token; names do not have it.
const BETWEEN: char = '/';

impl Call<'_> {
    pub(super) async fn create_schedule(&self, name: &str) -> Answer {
        input::check(name, &NAME)?;
        let input: PutSchedule = self.input()?;
        let group = group(input.group_name.as_deref())?;
        let schedule = input.read(self.deliver)?;
        self.schedules.create(&group, name, schedule).await?;
        Ok(self.arn(&group, name))
    }

    pub(super) async fn update_schedule(&self, name: &str) -> Answer {
        input::check(name, &NAME)?;
        let input: PutSchedule = self.input()?;
        let group = group(input.group_name.as_deref())?;
        let schedule = input.read(self.deliver)?;
        self.schedules.update(&group, name, schedule).await?;
        Ok(self.arn(&group, name))
    }

    pub(super) async fn get_schedule(&self, name: &str) -> Answer {
        let group = group(self.parameter("groupName"))?;
        input::check(name, &NAME)?;
        let schedule = self.schedules.get(&group, name).await?;
        Ok(shapes::schedule(self.schedules.home(), &group, name, &schedule))
    }

    pub(super) async fn delete_schedule(&self, name: &str) -> Answer {
        let group = group(self.parameter("groupName"))?;
        input::check(name, &NAME)?;
        self.schedules.delete(&group, name).await?;
        Ok(json!({}))
    }

    pub(super) async fn list_schedules(&self) -> Answer {
        let state = self.parameter("State");
        let is_enabled = match input::one_of("state", state, ["ENABLED", "DISABLED"])? {
            _ if state.is_none() => None,
            place => Some(place == 0),
        };
        let (after, limit) = (self.after()?, self.max_results()?);
        let after = match &after {
            None => None,
            Some(after) => {
                let parts = after.split_once(BETWEEN);
                Some(parts.ok_or_else(|| SchedulerError::validation("Invalid NextToken provided."))?)
            }
        };
        let group = self.parameter("ScheduleGroup");
        let prefix = self.parameter("NamePrefix").unwrap_or("");
        let listed = self.schedules.list(group, prefix, is_enabled, after, limit);
        let listed = listed.await?;
        let next = listed
            .last()
            .filter(|_| listed.len() == limit)
            .map(|(group, name, _)| page::token(&format!("{group}{BETWEEN}{name}")));
        let home = self.schedules.home();
        let shapes = listed
            .iter()
            .map(|(group, name, schedule)| shapes::summary(home, group, name, schedule));
        Ok(json!({ "Schedules": shapes.collect::<Vec<Value>>(), "NextToken": next }))
    }

    fn arn(&self, group: &str, name: &str) -> Value {
        json!({ "ScheduleArn": schedule_arn(self.schedules.home(), group, name) })
    }
}

/// The group that is named, or the default one.
fn group(named: Option<&str>) -> Result<String, SchedulerError> {
    let group = named.unwrap_or(DEFAULT_GROUP);
    input::check(group, &GROUP_NAME)?;
    Ok(group.to_owned())
}
