//! Groups of schedules: named, tagged, and the way to remove many schedules at once.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use squall_store::{Batch, Expect, Scan, Store, StoreError};

use super::record::{GROUPS, Group, SCHEDULES, ScheduleKey};
use super::{Result, ScheduleError, Schedules, damaged};

/// The group of schedules that name none. It is always there.
pub const DEFAULT_GROUP: &str = "default";
/// Schedules of a group that are removed in one batch.
const REMOVE_PAGE: usize = 1000;

pub(super) async fn read(store: &dyn Store) -> Result<BTreeMap<String, (Group, u64)>> {
    let mut groups = BTreeMap::new();
    for (_, entry) in store.scan(Scan::prefix(GROUPS, "")).await? {
        let group = Group::decode(&entry.value).map_err(damaged)?;
        groups.insert(group.name.clone(), (group, entry.revision));
    }
    Ok(groups)
}

impl Schedules {
    /// Makes the default group where it is not there, and goes on with deletions that were cut short.
    pub(super) async fn settle_groups(&self) -> Result<()> {
        if self.group(DEFAULT_GROUP).is_err() {
            self.create_group(DEFAULT_GROUP, BTreeMap::new()).await?;
        }
        let deleting = |(group, _): &&(Group, u64)| group.is_deleting;
        let unfinished: Vec<String> = {
            let groups = self.groups();
            groups
                .values()
                .filter(deleting)
                .map(|(group, _)| group.name.clone())
                .collect()
        };
        for name in unfinished {
            self.remove_group(&name).await?;
        }
        Ok(())
    }

    /// One group.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`].
    pub fn group(&self, name: &str) -> Result<Group> {
        let groups = self.groups();
        let found = groups.get(name).map(|(group, _)| group.clone());
        found.ok_or_else(|| ScheduleError::NotFound(format!("Schedule group {name}")))
    }

    /// All groups whose name starts with `prefix`, by name.
    pub fn list_groups(&self, prefix: &str) -> Vec<Group> {
        let groups = self.groups();
        let all = groups.values().map(|(group, _)| group);
        all.filter(|group| group.name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`ScheduleError::Conflict`], [`ScheduleError::QuotaExceeded`], [`ScheduleError::Store`].
    pub async fn create_group(&self, name: &str, tags: BTreeMap<String, String>) -> Result<Group> {
        if self.groups().len() >= self.inner.config.groups_max {
            let max = self.inner.config.groups_max;
            let text = format!("there are {max} schedule groups, the most that are allowed");
            return Err(ScheduleError::QuotaExceeded(text));
        }
        let now = self.inner.clock.now_ms();
        let group = Group {
            name: name.to_owned(),
            tags,
            created_ms: now,
            modified_ms: now,
            is_deleting: false,
        };
        match self.write_group(&group, Expect::Absent).await {
            Err(ScheduleError::Store(StoreError::Conflict)) => Err(ScheduleError::Conflict(format!(
                "Schedule group {name} already exists."
            ))),
            written => written.map(|()| group),
        }
    }

    /// Changes a group's tags.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`], [`ScheduleError::Conflict`], [`ScheduleError::Store`].
    pub async fn tag_group(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send,
    ) -> Result<()> {
        let (mut group, revision) = self.living_group(name)?;
        change(&mut group.tags);
        group.modified_ms = self.inner.clock.now_ms();
        match self.write_group(&group, Expect::Revision(revision)).await {
            Err(ScheduleError::Store(StoreError::Conflict)) => Err(ScheduleError::Conflict(format!(
                "Schedule group {name} is being changed by others."
            ))),
            written => written,
        }
    }

    /// Removes a group with its schedules. When it returns, none of them fires any more.
    ///
    /// # Errors
    /// [`ScheduleError::Invalid`] for the default group; [`ScheduleError::NotFound`]; [`ScheduleError::Store`].
    pub async fn delete_group(&self, name: &str) -> Result<()> {
        if name == DEFAULT_GROUP {
            return Err(ScheduleError::Invalid(
                "The default schedule group cannot be deleted.".to_owned(),
            ));
        }
        let (mut group, revision) = self.living_group(name)?;
        group.is_deleting = true;
        match self.write_group(&group, Expect::Revision(revision)).await {
            Err(ScheduleError::Store(StoreError::Conflict)) => Err(ScheduleError::Conflict(format!(
                "Schedule group {name} is being changed by others."
            ))),
            Err(error) => Err(error),
            // From here on no schedule can be made in it.
            Ok(()) => self.remove_group(name).await,
        }
    }

    async fn remove_group(&self, name: &str) -> Result<()> {
        let scan = Scan::prefix(SCHEDULES, ScheduleKey::of_group(name)).limit(REMOVE_PAGE);
        loop {
            let page = self.inner.store.scan(scan.clone()).await?;
            let is_last = page.len() < REMOVE_PAGE;
            let mut batch = Batch::durable();
            for (key, _) in &page {
                batch = batch.delete(SCHEDULES, key.clone());
            }
            if is_last {
                batch = batch.delete(GROUPS, name.to_owned());
            }
            self.inner.store.commit(batch).await?;
            for (key, _) in &page {
                self.timer().remove(&ScheduleKey::read(key).map_err(damaged)?);
            }
            if is_last {
                self.groups().remove(name);
                return Ok(());
            }
        }
    }

    /// A group that schedules can be made in, and its revision.
    pub(super) fn living_group(&self, name: &str) -> Result<(Group, u64)> {
        let found = self.groups().get(name).cloned();
        match found {
            None => Err(ScheduleError::NotFound(format!("Schedule group {name}"))),
            Some((group, _)) if group.is_deleting => Err(ScheduleError::Conflict(format!(
                "Schedule group {name} is being deleted."
            ))),
            Some(found) => Ok(found),
        }
    }

    async fn write_group(&self, group: &Group, expect: Expect) -> Result<()> {
        let batch = Batch::durable()
            .put(GROUPS, group.name.clone(), group.encode())
            .expect(GROUPS, group.name.clone(), expect);
        let committed = self.inner.store.commit(batch).await?;
        let mut groups = self.groups();
        let place = groups.entry(group.name.clone());
        let known = place.or_insert_with(|| (group.clone(), 0));
        if known.1 < committed.sequence {
            *known = (group.clone(), committed.sequence);
        }
        Ok(())
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, (Group, u64)>> {
        self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
