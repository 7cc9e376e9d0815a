//! The loop that fires what is due.

use std::time::Duration;

use squall_store::{Batch, Expect, StoreError};
use tokio_util::sync::CancellationToken;

use super::decide::{self, Decision};
use super::record::{SCHEDULES, Schedule, ScheduleKey};
use super::{ScheduleError, Schedules};
use crate::bus;
use crate::outbox::{Outbox, Parcel};

/// Schedules that are fired in one batch of the store: one wait for the disk for all of them.
const PAGE: usize = 128;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How far the host's clock may go against the time that passed before it is worth a word.
const JUMP_MS: i64 = 60_000;

/// What a rule sends when its schedule fires. Implemented by the buses.
pub trait RuleTargets: Send + Sync + 'static {
    /// One parcel for each target of the rule; empty when it is gone or disabled.
    /// `id` names the delivery to the target at a place.
    fn scheduled(
        &self,
        bus: &str,
        rule: &str,
        instant_ms: i64,
        id: &dyn Fn(usize) -> squall_types::RequestId,
    ) -> Vec<Parcel>;
}

/// A schedule that fires, as it was read.
struct Firing {
    key: ScheduleKey,
    revision: u64,
    /// As it will be; `None` when it goes away.
    schedule: Option<Schedule>,
    decision: Decision,
    parcels: Vec<Parcel>,
}

impl Schedules {
    /// Fires what is due until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut looked = (tokio::time::Instant::now(), self.inner.clock.now_ms());
        loop {
            let wait = tokio::select! {
                () = shutdown.cancelled() => return,
                wait = self.fire_due() => wait,
            };
            looked = self.notice_jump(looked);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Fires all that is due now, and says how long there is nothing to do.
    pub(super) async fn fire_due(&self) -> Duration {
        loop {
            let now = self.inner.clock.now_ms();
            let due = self.timer().due(now, PAGE);
            if due.is_empty() {
                let next = self.timer().next();
                let wait = next.map_or(i64::MAX, |next| next.saturating_sub(now).max(1));
                let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1));
                return wait.min(self.inner.config.look_again);
            }
            match self.fire(&due, now).await {
                Ok(()) => {}
                Err(ScheduleError::Store(StoreError::Conflict)) => {
                    // Somebody changed one of them: the others must not wait for that.
                    for key in &due {
                        match self.fire(std::slice::from_ref(key), now).await {
                            Ok(()) | Err(ScheduleError::Store(StoreError::Conflict)) => {}
                            Err(error) => return paused(&error),
                        }
                    }
                }
                Err(error) => return paused(&error),
            }
        }
    }

    /// Fires these schedules, in one batch.
    async fn fire(&self, keys: &[ScheduleKey], now: i64) -> Result<(), ScheduleError> {
        let mut firings = Vec::with_capacity(keys.len());
        for key in keys {
            match self.read(key).await? {
                None => self.timer().remove(key),
                Some((schedule, revision)) => firings.push(self.firing(key, schedule, revision, now)),
            }
        }
        let parcels: Vec<Parcel> = firings
            .iter_mut()
            .flat_map(|firing| std::mem::take(&mut firing.parcels))
            .collect();
        let room = self.inner.outbox.wait_for_room(parcels.len()).await;
        let mut batch = Batch::durable();
        for firing in &firings {
            let key = firing.key.bytes();
            batch = batch.expect(SCHEDULES, key.clone(), Expect::Revision(firing.revision));
            batch = match &firing.schedule {
                Some(schedule) => batch.put(SCHEDULES, key, schedule.encode()),
                None => batch.delete(SCHEDULES, key),
            };
        }
        if batch.ops.is_empty() {
            return Ok(());
        }
        let committed = self.inner.store.commit(Outbox::write(batch, &parcels)).await?;
        self.inner.outbox.posted(room, committed.appended);
        for firing in firings {
            firing.log();
            match &firing.schedule {
                Some(schedule) => {
                    let due = firing.decision.next.filter(|_| schedule.is_enabled);
                    let due = due.map(|instant| decide::due(&firing.key, schedule, instant));
                    self.timer().set(firing.key, committed.sequence, due);
                }
                None => self.timer().remove(&firing.key),
            }
        }
        Ok(())
    }

    fn firing(&self, key: &ScheduleKey, mut schedule: Schedule, revision: u64, now: i64) -> Firing {
        let decision = match (schedule.is_enabled, schedule.timing()) {
            (true, Ok(timing)) => decide::decide(key, &schedule, &timing, now),
            // It was changed since it was put into the timer, or a newer version wrote what this one cannot read.
            _ => Decision {
                fire: Vec::new(),
                skipped: 0,
                decided_ms: schedule.decided_ms,
                next: None,
            },
        };
        let parcels = decision
            .fire
            .iter()
            .flat_map(|instant| self.parcels(key, &schedule, *instant, now))
            .collect();
        schedule.decided_ms = decision.decided_ms;
        let is_completed = schedule.is_enabled && decision.next.is_none();
        let goes_away = is_completed && schedule.delete_after_completion;
        Firing {
            key: key.clone(),
            revision,
            schedule: (!goes_away).then_some(schedule),
            decision,
            parcels,
        }
    }

    /// What a schedule sends at an instant.
    fn parcels(&self, key: &ScheduleKey, schedule: &Schedule, instant: i64, now: i64) -> Vec<Parcel> {
        let id = |place| decide::firing_id(key, place, instant);
        if let Some((bus, rule)) = key.as_rule() {
            return self.inner.rules.scheduled(bus, rule, instant, &id);
        }
        let Some((group, name)) = key.as_schedule() else {
            return Vec::new();
        };
        let (home, target) = (&self.inner.config.home, &schedule.target);
        let arn = super::schedule_arn(home, group, name);
        let time = bus::iso(instant);
        let body = match &target.input {
            Some(input) => input
                .replace("<aws.scheduler.schedule-arn>", &arn)
                .replace("<aws.scheduler.scheduled-time>", &time)
                .replace("<aws.scheduler.execution-id>", &id(0).to_string()),
            None => serde_json::json!({
                "version": "0",
                "id": id(0).to_string(),
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": home.account,
                "time": time,
                "region": home.region,
                "resources": [arn],
                "detail": "{}",
            })
            .to_string(),
        };
        vec![Parcel {
            id: id(0),
            target: target.arn.clone(),
            body,
            attributes: target.attributes.clone(),
            retries_max: target.retries_max,
            expires_ms: now.saturating_add(i64::from(target.event_age_secs_max) * 1000),
            dead_letter: target.dead_letter.clone(),
            source: arn,
            failures: 0,
            given_up: None,
        }]
    }

    /// Says so when the host's clock was set: schedules follow it, and somebody may wonder.
    fn notice_jump(&self, (then, wall_then): (tokio::time::Instant, i64)) -> (tokio::time::Instant, i64) {
        let (now, wall_now) = (tokio::time::Instant::now(), self.inner.clock.now_ms());
        let passed = i64::try_from((now - then).as_millis()).unwrap_or(i64::MAX);
        let jump_ms = wall_now.saturating_sub(wall_then).saturating_sub(passed);
        if jump_ms.abs() > JUMP_MS {
            tracing::warn!(
                jump_ms,
                "the clock was set: schedules whose instants were passed over are made up for, none fires again"
            );
        }
        (now, wall_now)
    }
}

impl Firing {
    fn log(&self) {
        let Decision {
            fire, skipped, next, ..
        } = &self.decision;
        if *skipped > 0 {
            tracing::info!(schedule = ?self.key, skipped, "instants were missed and are not made up for");
        }
        tracing::debug!(schedule = ?self.key, fired = fire.len(), ?next, "fired");
    }
}

fn paused(error: &ScheduleError) -> Duration {
    tracing::error!(%error, "could not fire schedules; trying again");
    STORE_PAUSE
}
