//! Deliveries over a store in memory and paused time, to targets that refuse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use squall_store::Memory;
use squall_types::{Delivery, RequestId};

use super::*;

const TARGET: &str = "arn:aws:sqs:r:a:target";
const GRAVE: &str = "arn:aws:sqs:r:a:grave";

/// Refuses everything at the target for so many attempts; a negative number is for ever.
struct Targets {
    refusals: AtomicI64,
    error: DeliverError,
    got: Mutex<Vec<(String, Delivery)>>,
    changed: Notify,
}

#[async_trait]
impl Deliver for Targets {
    fn check(&self, _: &str) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        if arn == TARGET && self.refusals.fetch_sub(1, Ordering::Relaxed) != 0 {
            return Err(self.error.clone());
        }
        self.got.lock().expect("no panic").push((arn.to_owned(), message));
        self.changed.notify_one();
        Ok(())
    }
}

fn parcel(retries_max: u32) -> Parcel {
    Parcel {
        id: RequestId::random(),
        target: TARGET.to_owned(),
        body: "attempt <aws.scheduler.attempt-number>".to_owned(),
        attributes: BTreeMap::new(),
        retries_max,
        expires_ms: i64::MAX,
        dead_letter: Some(GRAVE.to_owned()),
        source: "arn:aws:events:r:a:rule/r".to_owned(),
        failures: 0,
        given_up: None,
    }
}

/// Posts a parcel to a target that refuses it so often, and says where it arrived in the end.
async fn check(refusals: i64, error: DeliverError, parcel: &Parcel) -> (String, Delivery) {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let open = || Outbox::open(store.clone(), Clock::new(|| 0), OutboxConfig::default());
    let outbox = open().await.expect("an outbox");
    let targets = Arc::new(Targets {
        refusals: AtomicI64::new(refusals),
        error,
        got: Mutex::default(),
        changed: Notify::new(),
    });
    outbox.connect(targets.clone());
    let room = outbox.reserve(1).expect("room");
    let batch = Outbox::write(Batch::durable(), std::slice::from_ref(parcel));
    let committed = store.commit(batch).await.expect("written");
    outbox.posted(room, committed.appended);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(outbox.clone().run(shutdown.clone()));
    targets.changed.notified().await;
    shutdown.cancel();
    running.await.expect("no panic");
    assert!(outbox.is_empty());
    assert!(
        open().await.expect("an outbox").is_empty(),
        "nothing is left in the store"
    );
    let mut got = targets.got.lock().expect("no panic");
    assert_eq!(got.len(), 1);
    got.remove(0)
}

fn busy() -> DeliverError {
    DeliverError::Unavailable("busy".to_owned())
}

#[tokio::test(start_paused = true)]
async fn tries_again_until_the_target_takes_it_and_counts_the_attempts() {
    let parcel = parcel(5);
    let (arn, message) = check(3, busy(), &parcel).await;
    assert_eq!(arn, TARGET);
    assert_eq!(message.body, "attempt 4");
    assert_eq!(message.id, Some(parcel.id));
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_helps_goes_to_the_dead_letter_queue_with_the_reason() {
    for (refusals, error, retries_max, condition) in [
        (-1, busy(), 2, "MaximumRetryAttempts"),
        (
            -1,
            DeliverError::Refused("too large".to_owned()),
            185,
            "NotRetryable",
        ),
    ] {
        let (arn, message) = check(refusals, error.clone(), &parcel(retries_max)).await;
        assert_eq!(arn, GRAVE);
        assert_eq!(message.attributes["EXHAUSTED_RETRY_CONDITION"], condition);
        assert_eq!(message.attributes["ERROR_MESSAGE"], error.to_string());
        assert_eq!(message.attributes["TARGET_ARN"], TARGET);
    }
    let old = Parcel {
        expires_ms: -1,
        ..parcel(185)
    };
    let (_, message) = check(-1, busy(), &old).await;
    assert_eq!(
        message.attributes["EXHAUSTED_RETRY_CONDITION"],
        "MaximumEventAgeInSeconds"
    );
}

#[tokio::test]
async fn a_full_outbox_has_no_room_until_some_is_given_back() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let config = OutboxConfig {
        parcels_max: 3,
        ..OutboxConfig::default()
    };
    let outbox = Outbox::open(store, Clock::new(|| 0), config)
        .await
        .expect("an outbox");
    let room = outbox.reserve(2).expect("room");
    assert!(outbox.reserve(2).is_none());
    drop(room);
    assert!(outbox.reserve(3).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_room_gets_it_however_the_wait_and_the_giving_back_meet() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let config = OutboxConfig {
        parcels_max: 1,
        ..OutboxConfig::default()
    };
    let outbox = Outbox::open(store, Clock::new(|| 0), config)
        .await
        .expect("an outbox");
    let mut turns = JoinSet::new();
    for _ in 0..2 {
        let outbox = outbox.clone();
        turns.spawn(async move {
            for turn in 0..2000 {
                // Also one that wants more than there is has its turn.
                drop(outbox.wait_for_room(1 + turn % 2).await);
            }
        });
    }
    // A wake-up that is lost leaves both waiting: then this never ends.
    assert_eq!(turns.join_all().await.len(), 2);
    assert!(outbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_fails_with_the_server_is_not_counted_and_goes_at_the_next_start() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let open = || Outbox::open(store.clone(), Clock::new(|| 0), OutboxConfig::default());
    let outbox = open().await.expect("an outbox");
    let room = outbox.reserve(1).expect("room");
    let once = Parcel {
        dead_letter: None,
        ..parcel(0)
    };
    let batch = Outbox::write(Batch::durable(), &[once]);
    let committed = store.commit(batch).await.expect("written");
    outbox.posted(room, committed.appended);
    outbox.connect(Arc::new(Ending(outbox.clone())));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(outbox.clone().run(shutdown.clone()));
    while !outbox.inner.is_draining.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    running.await.expect("no panic");
    assert_eq!(open().await.expect("an outbox").len(), 1);
}

/// The server ends while it delivers.
struct Ending(Outbox);

#[async_trait]
impl Deliver for Ending {
    fn check(&self, _: &str) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn deliver(&self, _: &str, _: Delivery) -> Result<(), DeliverError> {
        self.0.drain();
        Err(DeliverError::Unavailable(
            "the server is shutting down".to_owned(),
        ))
    }
}
