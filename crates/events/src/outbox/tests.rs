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
