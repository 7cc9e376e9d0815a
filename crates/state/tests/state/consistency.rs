//! Every level on the papers' workloads, with several caches and a bad network, judged by the checkers; `lww` as the
//! control that must show what the levels forbid.
//!
//! Time is paused: delays cost nothing, and a seed gives the same history again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_state::history::workload::{Recorded, Shape, Workload};
use squall_state::history::{
    Anomaly, History, dirty_reads, fractured_reads, lost_updates, multi_key_cuts, read_your_writes,
    repeatable_reads, session_cuts,
};
use squall_state::lattice::{Body, Update};
use squall_state::transport::{Unsteady, Weather};
use squall_state::{Config, Keeping, Level, SessionRequest, State};
use squall_store::{Batch, Committed, Entry, Memory, Scan, Space, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{bucket, key, make_bucket};

const CACHES: u16 = 5;
const RUNS: u64 = 4_000;

fn workload(level: Level, shape: Shape, runs: u64) -> Workload {
    Workload {
        level,
        bucket: bucket("shop"),
        runs,
        clients: 8,
        keys: 1_000,
        caches: CACHES,
        think_max: Duration::from_millis(20),
        seed: 2020,
        shape,
        deaths_percent: 0,
        first: 0,
    }
}

async fn open_in_bad_weather(store: Arc<dyn Store>, seed: u64) -> State {
    let weather = Weather {
        seed,
        call_delay_max: Duration::from_millis(2),
        push_delay_max: Duration::from_millis(300),
        push_loss_percent: 20,
    };
    let config = Config {
        caches: CACHES,
        sync_period: Duration::from_millis(500),
        ..Config::default()
    };
    let transport = Arc::new(Unsteady::new(weather));
    State::open_with(store, config, transport)
        .await
        .expect("it opens")
}

/// Runs Cloudburst's workload at a level.
async fn record(level: Level) -> Recorded {
    let state = open_in_bad_weather(Arc::new(Memory::new()), 7).await;
    make_bucket(&state, "shop", Keeping::Durable).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(state.clone().run(shutdown.clone()));
    let recorded = workload(level, Shape::Cloudburst, RUNS)
        .run(&state)
        .await
        .expect("it runs");
    shutdown.cancel();
    running.await.expect("it ends");
    assert_eq!(
        recorded.given_up + recorded.unknown,
        0,
        "every run comes to its end"
    );
    assert_eq!(recorded.per_function.len() as u64, RUNS);
    recorded
}

type Checker = fn(&History) -> BTreeSet<Anomaly>;

/// A level forbids what these find.
async fn check(level: Level, checkers: &[(&str, Checker)]) {
    let recorded = record(level).await;
    for (name, checker) in checkers {
        let found = checker(&recorded.history);
        assert_eq!(
            found.len(),
            0,
            "{level}: {name}: the first is {:?}",
            found.first()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn at_lww_every_checker_finds_something() {
    let recorded = record(Level::Lww).await;
    let checkers: [(&str, Checker); 4] = [
        ("repeatable reads", repeatable_reads),
        ("lost updates", lost_updates),
        ("multi-key cuts", multi_key_cuts),
        ("session cuts", session_cuts),
    ];
    for (name, checker) in checkers {
        let found = checker(&recorded.history).len();
        println!("lww: {name}: {found} in {RUNS} runs");
        assert!(found > 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_repeatable_read_a_run_reads_one_version() {
    check(
        Level::RepeatableRead,
        &[
            ("repeatable reads", repeatable_reads),
            ("read your writes", read_your_writes),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_single_key_causal_no_update_is_lost() {
    check(Level::SingleKeyCausal, &[("lost updates", lost_updates)]).await;
}

#[tokio::test(start_paused = true)]
async fn at_multi_key_causal_a_function_reads_a_causal_cut() {
    let checkers: [(&str, Checker); 2] = [("lost updates", lost_updates), ("multi-key cuts", multi_key_cuts)];
    check(Level::MultiKeyCausal, &checkers).await;
}

#[tokio::test(start_paused = true)]
async fn at_causal_a_run_reads_a_causal_cut() {
    let checkers: [(&str, Checker); 3] = [
        ("lost updates", lost_updates),
        ("multi-key cuts", multi_key_cuts),
        ("session cuts", session_cuts),
    ];
    check(Level::Causal, &checkers).await;
}

/// A store that dies at a commit, before it or after: from then on it answers nobody.
struct Mortal {
    inner: Arc<Memory>,
    commits_left: AtomicU64,
    dies_after: bool,
    dead: AtomicBool,
}

impl Mortal {
    fn new(inner: &Arc<Memory>, commits: u64, dies_after: bool) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            commits_left: AtomicU64::new(commits),
            dies_after,
            dead: AtomicBool::new(false),
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(StoreError::Io {
                attempted: "go on",
                reason: "the store is dead".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Mortal {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.check()?;
        self.inner.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.check()?;
        let dies = self.commits_left.fetch_sub(1, Ordering::SeqCst) == 1;
        if dies {
            self.dead.store(true, Ordering::SeqCst);
            if self.dies_after {
                self.inner.commit(batch).await?;
            }
            return self.check().map(|()| unreachable!("it is dead"));
        }
        self.inner.commit(batch).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.check()?;
        self.inner.scan(scan).await
    }
}

/// Runs AFT's workload at a level: functions die in it, and the store, with all that is in memory, again and again.
async fn record_with_kills(level: Level, transactions: u64) -> History {
    let disk = Arc::new(Memory::new());
    let mut history = History::default();
    let mut done = 0;
    let mut next = 0;
    let mut life = 0;
    while done < transactions {
        life += 1;
        let store: Arc<dyn Store> = Mortal::new(&disk, 300 + 37 * life, life % 2 == 0);
        let state = open_in_bad_weather(store, life).await;
        make_bucket(&state, "shop", Keeping::Durable).await;
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(state.clone().run(shutdown.clone()));
        let recorded = Workload {
            seed: life,
            keys: 200,
            deaths_percent: 5,
            first: next,
            ..workload(level, Shape::Aft, transactions - done + 7)
        }
        .run(&state)
        .await
        .expect("it runs until the store dies");
        shutdown.cancel();
        running.await.expect("it ends");
        assert_eq!(recorded.given_up, 0);
        done += recorded.per_function.len() as u64;
        next = recorded.next;
        history.operations.extend(recorded.history.operations);
        assert!(life < 1_000, "it goes on");
    }
    assert!(life > 3, "there were kills");
    history
}

#[tokio::test(start_paused = true)]
async fn atomic_transactions_are_seen_whole_or_not_at_all_whoever_dies() {
    let history = record_with_kills(Level::Atomic, 10_000).await;
    assert_eq!(fractured_reads(&history, true).first(), None);
    assert_eq!(read_your_writes(&history).first(), None);
    assert_eq!(dirty_reads(&history).first(), None);
    assert_eq!(repeatable_reads(&history).first(), None);
}

#[tokio::test(start_paused = true)]
async fn at_lww_the_same_transactions_are_torn() {
    let history = record_with_kills(Level::Lww, 10_000).await;
    let fractured = fractured_reads(&history, false).len();
    let forgotten = read_your_writes(&history).len();
    println!("lww: {fractured} fractured reads, {forgotten} reads without the run's own writes");
    assert!(fractured > 0);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_tried_until_it_is_acknowledged_happens_once() {
    let disk = Arc::new(Memory::new());
    let mut life = 0;
    let mut done = 0;
    let mut repeated = 0;
    while done < 200 {
        life += 1;
        let store: Arc<dyn Store> = Mortal::new(&disk, 5 + life % 7, life % 2 == 0);
        let Ok(state) = State::open(store, Config::default()).await else {
            continue;
        };
        if state
            .create_bucket(bucket("shop"), squall_state::BucketSettings::default())
            .await
            .is_err()
        {
            continue;
        }
        while done < 200 {
            let request = SessionRequest {
                level: Level::Atomic,
                transaction: Some(format!("t{done}")),
                ..SessionRequest::default()
            };
            let session = state.session(request).expect("a session");
            let adds = async {
                session.update(&key("n"), Update::Add(1)).await?;
                session
                    .set_add(&key("s"), vec![Bytes::from(format!("e{done}"))])
                    .await?;
                session.commit().await
            };
            match adds.await {
                Ok(fresh) => {
                    done += 1;
                    repeated += u64::from(!fresh);
                }
                Err(_) => break,
            }
        }
    }
    let state = State::open(disk, Config::default()).await.expect("it opens");
    let session = state.session(SessionRequest::default()).expect("a session");
    let counter = session.read(&key("n")).await.expect("a read");
    let Body::Counter(counter) = counter.body() else {
        panic!("a counter")
    };
    assert_eq!(counter.value(), 200);
    assert!(repeated > 0, "some were acknowledged only at their repetition");
}
