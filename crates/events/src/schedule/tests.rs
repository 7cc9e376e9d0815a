//! Schedules over a store in memory, with a clock that tests set; and instants against a slow reference.

mod instants;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use squall_store::{Committed, Entry, Memory};
use squall_types::RequestId;

use super::*;
use crate::outbox::{OutboxConfig, Parcel};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-11-25T12:00:00Z.
const NOON: i64 = 1_795_608_000_000;

/// A store that can be made to fail, before or after it has written.
#[derive(Default)]
struct Flaky {
    memory: Memory,
    fails: AtomicBool,
    loses_answers: AtomicBool,
}

#[async_trait]
impl Store for Flaky {
    async fn get(&self, space: squall_store::Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.memory.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let failure = || StoreError::Io {
            attempted: "write",
            reason: "a test said so".to_owned(),
        };
        if self.fails.load(Ordering::Relaxed) {
            return Err(failure());
        }
        let committed = self.memory.commit(batch).await?;
        match self.loses_answers.load(Ordering::Relaxed) {
            true => Err(failure()),
            false => Ok(committed),
        }
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.memory.scan(scan).await
    }
}

struct NoRules;

impl RuleTargets for NoRules {
    fn scheduled(&self, _: &str, _: &str, _: i64, _: &dyn Fn(usize) -> RequestId) -> Vec<Parcel> {
        Vec::new()
    }
}

/// A server on a store that outlives it.
struct Host {
    store: Arc<Flaky>,
    now: Arc<AtomicI64>,
    schedules: Schedules,
}

impl Host {
    async fn new() -> Self {
        let store = Arc::new(Flaky::default());
        let now = Arc::new(AtomicI64::new(NOON));
        let schedules = open(&store, &now).await;
        Self {
            store,
            now,
            schedules,
        }
    }

    /// As after `kill -9`: nothing but the store is left.
    async fn restart(&mut self) {
        self.schedules = open(&self.store, &self.now).await;
    }

    fn set(&self, now: i64) {
        self.now.store(now, Ordering::Relaxed);
    }

    async fn create(&self, name: &str, expression: &str) {
        let made = self
            .schedules
            .create(DEFAULT_GROUP, name, schedule(expression))
            .await;
        made.expect("a schedule");
    }

    /// Every instant that has been sent, as the store has it.
    async fn sent(&self) -> Vec<i64> {
        let all = self
            .store
            .scan(Scan::prefix(squall_store::Space("parcels"), ""))
            .await;
        let all = all.expect("a store in memory");
        let instants = all.iter().map(|(_, entry)| {
            let parcel: Parcel = squall_store::envelope::read(1, &entry.value).expect("a parcel");
            let time = chrono::DateTime::parse_from_rfc3339(&parcel.body).expect("a time");
            time.timestamp_millis()
        });
        instants.collect()
    }
}

async fn open(store: &Arc<Flaky>, now: &Arc<AtomicI64>) -> Schedules {
    let clock = {
        let now = now.clone();
        Clock::new(move || now.load(Ordering::Relaxed))
    };
    let outbox = Outbox::open(store.clone(), clock.clone(), OutboxConfig::default()).await;
    let outbox = outbox.expect("an outbox");
    let opened = Schedules::open(
        store.clone(),
        outbox,
        Arc::new(NoRules),
        clock,
        SchedulesConfig::default(),
    );
    opened.await.expect("schedules")
}

fn schedule(expression: &str) -> Schedule {
    Schedule {
        expression: expression.to_owned(),
        target: Target {
            arn: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
            input: Some("<aws.scheduler.scheduled-time>".to_owned()),
            event_age_secs_max: 86_400,
            ..Target::default()
        },
        ..Schedule::of_rule(expression, true, 0)
    }
}

#[tokio::test]
async fn fires_at_each_instant_once() {
    let host = Host::new().await;
    host.create("a", "rate(1 minute)").await;
    for second in 0..=180 {
        host.set(NOON + second * 1000);
        host.schedules.fire_due().await;
    }
    let expected: Vec<i64> = (0..=3).map(|n| NOON + n * MINUTE).collect();
    assert_eq!(host.sent().await, expected);
}

#[tokio::test]
async fn a_restart_at_any_commit_fires_no_instant_twice_and_loses_none() {
    // The store fails the nth commit, before it is written or behind it; then the server is killed and started again.
    for loses_answers in [false, true] {
        for broken in 0..6 {
            let mut host = Host::new().await;
            host.create("a", "cron(* * * * ? *)").await;
            for minute in 1..=6 {
                host.set(NOON + minute * MINUTE);
                if minute == broken {
                    let fault = match loses_answers {
                        true => &host.store.loses_answers,
                        false => &host.store.fails,
                    };
                    fault.store(true, Ordering::Relaxed);
                    host.schedules.fire_due().await;
                    fault.store(false, Ordering::Relaxed);
                    host.restart().await;
                }
                host.schedules.fire_due().await;
            }
            let expected: Vec<i64> = (0..=6).map(|n| NOON + n * MINUTE).collect();
            let mut sent = host.sent().await;
            sent.sort_unstable();
            assert_eq!(sent, expected, "commit {broken}, answer lost: {loses_answers}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_fires_nothing_again() {
    let mut host = Host::new().await;
    host.create("a", "rate(1 minute)").await;
    host.set(NOON + 5 * MINUTE);
    host.schedules.fire_due().await;
    let sent = host.sent().await;
    for now in [NOON, NOON - HOUR, NOON + 5 * MINUTE] {
        host.set(now);
        host.schedules.fire_due().await;
        host.restart().await;
        host.schedules.fire_due().await;
        assert_eq!(host.sent().await, sent, "at {now}");
    }
    host.set(NOON + 6 * MINUTE);
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await.len(), sent.len() + 1);
}

#[tokio::test]
async fn after_a_pause_a_rate_fires_its_last_instant_and_a_cron_a_bounded_number() {
    let mut host = Host::new().await;
    host.create("rate", "rate(1 minute)").await;
    host.set(NOON + 10 * HOUR + 1);
    host.restart().await;
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await, [NOON + 10 * HOUR]);

    let mut host = Host::new().await;
    host.create("cron", "cron(* * * * ? *)").await;
    host.set(NOON + 10 * HOUR);
    host.restart().await;
    host.schedules.fire_due().await;
    let last = NOON + 10 * HOUR;
    let expected: Vec<i64> = (0..24).rev().map(|n| last - n * MINUTE).collect();
    assert_eq!(host.sent().await, expected);
}

#[tokio::test]
async fn what_is_older_than_the_longest_age_is_not_made_up_for() {
    let mut host = Host::new().await;
    host.create("once", "at(2026-11-25T13:00:00)").await;
    host.create("hourly", "cron(0 * * * ? *)").await;
    host.set(NOON + HOUR + 24 * HOUR + 1);
    host.restart().await;
    host.schedules.fire_due().await;
    let sent = host.sent().await;
    assert_eq!(sent.len(), 24);
    assert_eq!(sent.first(), Some(&(NOON + 2 * HOUR)));
    let once = host.schedules.get(DEFAULT_GROUP, "once").await.expect("kept");
    assert_eq!(once.next(), None);
}

#[tokio::test]
async fn one_time_schedules_go_away_when_they_are_told_to() {
    let host = Host::new().await;
    let gone = Schedule {
        delete_after_completion: true,
        ..schedule("at(2026-11-25T13:00:00)")
    };
    host.schedules
        .create(DEFAULT_GROUP, "gone", gone)
        .await
        .expect("a schedule");
    host.create("kept", "at(2026-11-25T13:00:00)").await;
    host.set(NOON + HOUR);
    host.schedules.fire_due().await;
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await, [NOON + HOUR, NOON + HOUR]);
    assert!(matches!(
        host.schedules.get(DEFAULT_GROUP, "gone").await,
        Err(ScheduleError::NotFound(_))
    ));
    assert!(host.schedules.get(DEFAULT_GROUP, "kept").await.is_ok());
    let counts = host.schedules.counts();
    assert_eq!((counts.schedules, counts.pending), (1, 0));
}

#[tokio::test]
async fn disabled_schedules_wait_and_make_nothing_up() {
    let host = Host::new().await;
    let off = Schedule {
        is_enabled: false,
        ..schedule("cron(0 * * * ? *)")
    };
    host.schedules
        .create(DEFAULT_GROUP, "a", off)
        .await
        .expect("a schedule");
    host.set(NOON + 3 * HOUR + 1);
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await, [0_i64; 0]);
    let on = schedule("cron(0 * * * ? *)");
    host.schedules
        .update(DEFAULT_GROUP, "a", on)
        .await
        .expect("an update");
    host.set(NOON + 4 * HOUR);
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await, [NOON + 4 * HOUR]);
}

#[tokio::test]
async fn a_window_spreads_firings_and_keeps_their_place_over_restarts() {
    let key = |n: usize| ScheduleKey::schedule(DEFAULT_GROUP, &format!("s{n}"));
    let spread = Schedule {
        window_minutes: 10,
        ..schedule("at(2026-11-25T13:00:00)")
    };
    let places: Vec<i64> = (0..100)
        .map(|n| decide::due(&key(n), &spread, NOON + HOUR) - (NOON + HOUR))
        .collect();
    assert!(places.iter().all(|place| (0..10 * MINUTE).contains(place)));
    assert!(places.iter().any(|place| *place < 3 * MINUTE) && places.iter().any(|place| *place > 7 * MINUTE));
    let mut host = Host::new().await;
    host.schedules
        .create(DEFAULT_GROUP, "s0", spread.clone())
        .await
        .expect("a schedule");
    host.set(NOON + HOUR + places[0] - 1);
    host.restart().await;
    host.schedules.fire_due().await;
    assert!(host.sent().await.is_empty());
    host.set(NOON + HOUR + places[0]);
    host.schedules.fire_due().await;
    assert_eq!(host.sent().await, [NOON + HOUR]);
}

#[tokio::test]
async fn what_never_fires_is_refused_with_the_reason() {
    let host = Host::new().await;
    for (expression, reason) in [
        ("cron(0 0 31 2 ? *)", "never fires"),
        ("cron(0 0 1 1 ? 2020)", "never fires"),
        ("at(2026-11-25T11:59:59)", "its time is past"),
        ("cron(0 0 * * * *)", "must be `?`"),
        ("cron(0 0 ? * ? *)", "only one of"),
        ("cron(0 0 * * ?)", "six"),
        ("cron(0 0 * * ? 1969)", "1970 and 2199"),
        ("rate(0 minutes)", "positive"),
        ("rate(1 minutes)", "singular"),
        ("rate(5 minute)", "plural"),
        ("rate(5 fortnights)", "unit"),
        ("every day", "write rate"),
    ] {
        let refused = host
            .schedules
            .create(DEFAULT_GROUP, "a", schedule(expression))
            .await;
        let text = refused.expect_err(expression).to_string();
        assert!(text.contains(reason), "{expression}: {text}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_no_conflict_and_another_is() {
    let host = Host::new().await;
    let with = |token: &str| Schedule {
        client_token: Some(token.to_owned()),
        ..schedule("rate(1 hour)")
    };
    let create = |token| host.schedules.create(DEFAULT_GROUP, "a", with(token));
    create("one").await.expect("a schedule");
    create("one").await.expect("the same again");
    assert!(matches!(create("two").await, Err(ScheduleError::Conflict(_))));
}

#[tokio::test]
async fn a_group_goes_with_its_schedules() {
    let mut host = Host::new().await;
    host.schedules
        .create_group("team", BTreeMap::new())
        .await
        .expect("a group");
    host.schedules
        .create("team", "a", schedule("rate(1 hour)"))
        .await
        .expect("a schedule");
    host.create("a", "rate(1 hour)").await;
    host.schedules.delete_group("team").await.expect("deleted");
    host.restart().await;
    assert!(host.schedules.group("team").is_err());
    assert_eq!(host.schedules.counts().schedules, 1);
    assert!(host.schedules.delete_group(DEFAULT_GROUP).await.is_err());
    assert!(matches!(
        host.schedules.create("team", "b", schedule("rate(1 hour)")).await,
        Err(ScheduleError::NotFound(_))
    ));
}

/// A schedule in format 1, as the first version wrote it.
const FIXTURE: &str = concat!(
    r#"{"expression":"rate(1 hour)","zone":"UTC","start_ms":5,"is_enabled":true,"window_minutes":0,"#,
    r#""delete_after_completion":false,"target":{"arn":"arn:aws:sqs:r:a:q","role_arn":"","input":"{}","#,
    r#""event_age_secs_max":60,"retries_max":3},"created_ms":1,"modified_ms":2,"decided_ms":3}"#
);

#[test]
fn reads_what_the_first_version_wrote() {
    let mut record = vec![1];
    record.extend_from_slice(&crc32fast::hash(FIXTURE.as_bytes()).to_le_bytes());
    record.extend_from_slice(FIXTURE.as_bytes());
    let schedule = Schedule::decode(&record).expect("a schedule");
    assert_eq!((schedule.start_ms, schedule.decided_ms), (Some(5), 3));
    assert_eq!(schedule.encode(), Bytes::from(record));
}
