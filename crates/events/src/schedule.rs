//! Schedules: durable, fired once for each of their instants, made up for after a pause.
//!
//! The gateway changes them, `run` fires them. Firing an instant is one batch of the store: the schedule's advance and
//! the messages that it sends ([`Outbox`]) are written together or not at all, and only if nobody changed the schedule
//! meanwhile; so no crash fires an instant twice or loses one. One ordered set in memory says who is next.
//! The policy for missed instants is in `decide`, that for daylight saving in `timing`.

mod cron;
mod decide;
mod expression;
mod fire;
mod groups;
mod record;
#[cfg(test)]
mod tests;
mod timer;
mod timing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_store::{Batch, Expect, Scan, Store, StoreError};
use squall_types::Home;
use tokio::sync::Notify;

pub use decide::CATCH_UP_MAX;
pub use expression::ExpressionError;
pub use fire::RuleTargets;
pub use groups::DEFAULT_GROUP;
pub use record::{Group, Schedule, ScheduleKey, Target};
pub use timing::{Timing, TimingText};

use self::record::SCHEDULES;
use self::timer::Timer;
use crate::clock::Clock;
use crate::outbox::Outbox;

const OPEN_PAGE_RECORDS: usize = 512;
/// A change that meets another one reads again, at most so often.
const TRIES_MAX: usize = 8;

/// Bounds.
#[derive(Debug, Clone)]
pub struct SchedulesConfig {
    /// Account and region for ARNs.
    pub home: Home,
    /// The most schedules.
    pub schedules_max: usize,
    /// The most groups.
    pub groups_max: usize,
    /// The longest sleep of the loop, so that it notices when the host's clock was set.
    pub look_again: Duration,
}

impl Default for SchedulesConfig {
    fn default() -> Self {
        Self {
            home: Home::default(),
            schedules_max: 1_000_000,
            groups_max: 500,
            look_again: Duration::from_secs(10),
        }
    }
}

/// Why a schedule or group was not made, changed or found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleError {
    /// There is no such schedule or group.
    #[error("{0} does not exist.")]
    NotFound(String),
    /// There is one already, or the group is being deleted.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for makes no sense; the text is for the caller.
    #[error("{0}")]
    Invalid(String),
    /// A bound was met.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ExpressionError> for ScheduleError {
    fn from(error: ExpressionError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleCounts {
    /// All schedules, those of rules too.
    pub schedules: usize,
    /// Those that will fire.
    pub pending: usize,
}

/// All schedules. A cheap handle.
#[derive(Clone)]
pub struct Schedules {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    outbox: Outbox,
    rules: Arc<dyn RuleTargets>,
    clock: Clock,
    config: SchedulesConfig,
    timer: Mutex<Timer>,
    groups: Mutex<BTreeMap<String, (Group, u64)>>,
    /// The next due time may be nearer than the loop thinks.
    wake: Notify,
}

type Result<T, E = ScheduleError> = std::result::Result<T, E>;

impl Schedules {
    /// Reads the schedules that the store holds.
    ///
    /// # Errors
    /// [`ScheduleError::Store`] when it cannot be read, or a record is damaged.
    pub async fn open(
        store: Arc<dyn Store>,
        outbox: Outbox,
        rules: Arc<dyn RuleTargets>,
        clock: Clock,
        config: SchedulesConfig,
    ) -> Result<Self> {
        let mut timer = Timer::default();
        let mut scan = Scan::prefix(SCHEDULES, "").limit(OPEN_PAGE_RECORDS);
        loop {
            let page = store.scan(scan.clone()).await?;
            for (bytes, entry) in &page {
                let key = ScheduleKey::read(bytes).map_err(damaged)?;
                let schedule = Schedule::decode(&entry.value).map_err(damaged)?;
                timer.set(key.clone(), entry.revision, due(&key, &schedule));
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        let schedules = Self {
            inner: Arc::new(Inner {
                groups: Mutex::new(groups::read(&*store).await?),
                store,
                outbox,
                rules,
                clock,
                config,
                timer: Mutex::new(timer),
                wake: Notify::new(),
            }),
        };
        schedules.settle_groups().await?;
        Ok(schedules)
    }

    /// Makes a schedule in a group. Times and what is decided are set here.
    ///
    /// # Errors
    /// As [`ScheduleError`] says.
    pub async fn create(&self, group: &str, name: &str, mut schedule: Schedule) -> Result<()> {
        let (_, group_revision) = self.living_group(group)?;
        if self.counts().schedules >= self.inner.config.schedules_max {
            let max = self.inner.config.schedules_max;
            return Err(ScheduleError::QuotaExceeded(format!(
                "there are {max} schedules, the most that are allowed"
            )));
        }
        let now = self.inner.clock.now_ms();
        schedule.created_ms = now;
        schedule.modified_ms = now;
        schedule.decided_ms = self.first_decided(&schedule, now)?;
        let key = ScheduleKey::schedule(group, name);
        let batch = Batch::durable()
            .put(SCHEDULES, key.bytes(), schedule.encode())
            .expect(SCHEDULES, key.bytes(), Expect::Absent)
            .expect(record::GROUPS, group.to_owned(), Expect::Revision(group_revision));
        match self.inner.store.commit(batch).await {
            Ok(committed) => {
                self.place(&key, &schedule, committed.sequence);
                Ok(())
            }
            Err(StoreError::Conflict) => {
                self.living_group(group)?;
                let is_repeat = match self.read(&key).await? {
                    Some((there, _)) => {
                        there.client_token.is_some() && there.client_token == schedule.client_token
                    }
                    None => false,
                };
                match is_repeat {
                    true => Ok(()),
                    false => Err(ScheduleError::Conflict(format!(
                        "Schedule {name} already exists."
                    ))),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a schedule. What has been decided stays decided; what was missed while it was disabled is not made up.
    ///
    /// # Errors
    /// As [`ScheduleError`] says.
    pub async fn update(&self, group: &str, name: &str, schedule: Schedule) -> Result<()> {
        let key = ScheduleKey::schedule(group, name);
        for _ in 0..TRIES_MAX {
            let Some((old, revision)) = self.read(&key).await? else {
                return Err(not_found(name));
            };
            let now = self.inner.clock.now_ms();
            let mut new = Schedule {
                created_ms: old.created_ms,
                modified_ms: now,
                client_token: old.client_token.clone(),
                ..schedule.clone()
            };
            new.decided_ms = self.first_decided(&new, now)?.max(old.decided_ms);
            let batch = Batch::durable().put(SCHEDULES, key.bytes(), new.encode()).expect(
                SCHEDULES,
                key.bytes(),
                Expect::Revision(revision),
            );
            match self.inner.store.commit(batch).await {
                Ok(committed) => {
                    self.place(&key, &new, committed.sequence);
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ScheduleError::Conflict(format!(
            "Schedule {name} is being changed by others."
        )))
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`], [`ScheduleError::Store`].
    pub async fn delete(&self, group: &str, name: &str) -> Result<()> {
        let key = ScheduleKey::schedule(group, name);
        if self.read(&key).await?.is_none() {
            return Err(not_found(name));
        }
        let batch = Batch::durable().delete(SCHEDULES, key.bytes());
        self.inner.store.commit(batch).await?;
        self.timer().remove(&key);
        Ok(())
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`], [`ScheduleError::Store`].
    pub async fn get(&self, group: &str, name: &str) -> Result<Schedule> {
        let found = self.read(&ScheduleKey::schedule(group, name)).await?;
        found.map(|(schedule, _)| schedule).ok_or_else(|| not_found(name))
    }

    /// Schedules in the order of their keys: group, name and schedule. `after` is the last one of the page before.
    ///
    /// # Errors
    /// [`ScheduleError::NotFound`] when there is no such group; [`ScheduleError::Store`].
    pub async fn list(
        &self,
        group: Option<&str>,
        name_prefix: &str,
        is_enabled: Option<bool>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String, Schedule)>> {
        if let Some(group) = group {
            self.group(group)?;
        }
        let prefix = group.map_or_else(
            || "s/".to_owned(),
            |group| format!("{}{name_prefix}", ScheduleKey::of_group(group)),
        );
        let mut scan = Scan::prefix(SCHEDULES, prefix).limit(OPEN_PAGE_RECORDS);
        if let Some((group, name)) = after {
            scan = scan.after(ScheduleKey::schedule(group, name).bytes());
        }
        let mut found = Vec::new();
        loop {
            let page = self.inner.store.scan(scan.clone()).await?;
            for (bytes, entry) in &page {
                let key = ScheduleKey::read(bytes).map_err(damaged)?;
                let Some((group, name)) = key.as_schedule() else {
                    continue;
                };
                let schedule = Schedule::decode(&entry.value).map_err(damaged)?;
                if name.starts_with(name_prefix) && is_enabled.is_none_or(|is| is == schedule.is_enabled) {
                    found.push((group.to_owned(), name.to_owned(), schedule));
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => return Ok(found),
            }
        }
    }

    /// How many there are.
    pub fn counts(&self) -> ScheduleCounts {
        let timer = self.timer();
        ScheduleCounts {
            schedules: timer.len(),
            pending: timer.pending(),
        }
    }

    /// Account and region.
    pub fn home(&self) -> &Home {
        &self.inner.config.home
    }

    /// Writes a rule's schedule into `batch`, or takes it away. Call [`Self::rule_changed`] when it is committed.
    ///
    /// # Errors
    /// [`ScheduleError::Invalid`] for an expression that means nothing or never fires.
    pub(crate) async fn write_rule(
        &self,
        batch: Batch,
        key: &ScheduleKey,
        expression: Option<&str>,
        is_enabled: bool,
    ) -> Result<(Batch, Option<Schedule>)> {
        let Some(expression) = expression else {
            return Ok((batch.delete(SCHEDULES, key.bytes()), None));
        };
        let now = self.inner.clock.now_ms();
        let (old, expect) = match self.read(key).await? {
            Some((old, revision)) => (Some(old), Expect::Revision(revision)),
            None => (None, Expect::Absent),
        };
        let mut schedule = Schedule::of_rule(expression, is_enabled, now);
        if let Some(old) = old {
            schedule.decided_ms = schedule.decided_ms.max(old.decided_ms);
            if old.expression == expression {
                // An unchanged rate goes on counting from where it did.
                schedule.created_ms = old.created_ms;
            }
        }
        if schedule.timing()?.is_once() {
            return Err(ScheduleError::Invalid(
                "A rule takes rate(…) or cron(…).".to_owned(),
            ));
        }
        self.first_decided(&schedule, now)?;
        // Firing it meanwhile is a change too: what was decided then must not be forgotten.
        let batch =
            batch
                .put(SCHEDULES, key.bytes(), schedule.encode())
                .expect(SCHEDULES, key.bytes(), expect);
        Ok((batch, Some(schedule)))
    }

    /// Takes note of what [`Self::write_rule`] wrote.
    pub(crate) fn rule_changed(&self, key: &ScheduleKey, schedule: Option<&Schedule>, revision: u64) {
        match schedule {
            Some(schedule) => self.place(key, schedule, revision),
            None => self.timer().remove(key),
        }
    }

    /// What counts as decided for a schedule that begins now: all before now. Refuses what will never fire.
    fn first_decided(&self, schedule: &Schedule, now: i64) -> Result<i64> {
        let timing = schedule.timing()?;
        // A rate without a start fires at once; so does what is due in this very millisecond.
        let decided = now - 1;
        if timing.next_after(decided).is_none() {
            let expression = &schedule.expression;
            let why = match timing.is_once() {
                true => "its time is past",
                false => "no moment matches it between its start and its end",
            };
            return Err(ScheduleError::Invalid(format!(
                "Invalid Schedule Expression {expression}: it never fires, {why}."
            )));
        }
        Ok(decided)
    }

    async fn read(&self, key: &ScheduleKey) -> Result<Option<(Schedule, u64)>> {
        let Some(entry) = self.inner.store.get(SCHEDULES, &key.bytes()).await? else {
            return Ok(None);
        };
        let schedule = Schedule::decode(&entry.value).map_err(damaged)?;
        Ok(Some((schedule, entry.revision)))
    }

    /// Puts a schedule into its place in the timer.
    fn place(&self, key: &ScheduleKey, schedule: &Schedule, revision: u64) {
        self.timer().set(key.clone(), revision, due(key, schedule));
        self.inner.wake.notify_one();
    }

    fn timer(&self) -> MutexGuard<'_, Timer> {
        // A panic under this lock is a bug in counting; the store knows better at the next start.
        self.inner.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `arn:aws:scheduler:REGION:ACCOUNT:schedule/GROUP/NAME`.
pub fn schedule_arn(home: &Home, group: &str, name: &str) -> String {
    let Home { account, region } = home;
    format!("arn:aws:scheduler:{region}:{account}:schedule/{group}/{name}")
}

/// `arn:aws:scheduler:REGION:ACCOUNT:schedule-group/NAME`.
pub fn group_arn(home: &Home, name: &str) -> String {
    let Home { account, region } = home;
    format!("arn:aws:scheduler:{region}:{account}:schedule-group/{name}")
}

/// When its next instant fires.
fn due(key: &ScheduleKey, schedule: &Schedule) -> Option<i64> {
    schedule.next().map(|instant| decide::due(key, schedule, instant))
}

fn not_found(name: &str) -> ScheduleError {
    ScheduleError::NotFound(format!("Schedule {name}"))
}

fn damaged(reason: String) -> StoreError {
    StoreError::Corrupt(format!("a schedule: {reason}"))
}
