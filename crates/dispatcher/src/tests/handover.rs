//! Where accepted events end: destinations, dead-letter queues, the list of failed events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use squall_registry::EventPolicy;
use squall_types::{
    AcceptedEvents, Deliver, DeliverByService, DeliverError, Delivery, EventQuery, EventState, EventStatus,
    Invoke, RequestId,
};

use super::fake::*;
use crate::DispatcherConfig;

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:next";

/// Queues that keep what they are given, and can be made to refuse.
#[derive(Default)]
pub(super) struct FakeQueues {
    pub(super) taken: Mutex<Vec<(String, Delivery)>>,
    pub(super) is_down: AtomicBool,
    refuses: AtomicBool,
}

#[async_trait]
impl Deliver for FakeQueues {
    fn check(&self, _: &str) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(DeliverError::Refused("too large".to_owned()));
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Err(DeliverError::Unavailable("down".to_owned()));
        }
        self.taken.lock().unwrap().push((arn.to_owned(), message));
        Ok(())
    }
}

impl FakeQueues {
    fn bodies(&self) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        let bodies = taken
            .iter()
            .map(|(_, message)| serde_json::from_slice(&message.body));
        bodies.map(Result::unwrap).collect()
    }
}

pub(super) fn wire(world: &World) -> Arc<FakeQueues> {
    let queues = Arc::new(FakeQueues::default());
    let targets = DeliverByService::new()
        .with("lambda", world.dispatcher.function_targets())
        .with("sqs", queues.clone());
    world.dispatcher.deliver_through(Arc::new(targets));
    queues
}

async fn wired(act: Act, policy: EventPolicy) -> (World, Arc<FakeQueues>) {
    let world = world(Script::act(act)).await;
    world.set_policy("f", policy);
    let queues = wire(&world);
    (world, queues)
}

async fn failed(world: &World) -> Vec<EventStatus> {
    let query = EventQuery {
        failed: true,
        limit: 100,
        ..EventQuery::default()
    };
    world.dispatcher.list(query).await.unwrap()
}

async fn accept(world: &World) -> RequestId {
    let event = event("f");
    let id = event.request_id;
    world.dispatcher.accept(event).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn a_success_is_told_to_its_destination() {
    let policy = EventPolicy {
        on_success: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Echo(TENTH), policy).await;
    let id = accept(&world).await;
    pass(MINUTE).await;
    let bodies = queues.bodies();
    assert_eq!(bodies.len(), 1);
    let expected = json!({
        "version": "1.0",
        "timestamp": bodies[0]["timestamp"],
        "requestContext": {
            "requestId": id.to_string(),
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": { "a": 1 },
        "responseContext": { "statusCode": 200, "executedVersion": "$LATEST" },
        "responsePayload": { "a": 1 },
    });
    assert_eq!(bodies[0], expected);
    assert_eq!(world.queued_records().await, 0);
    assert!(failed(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_destination_and_dead_letter_queue() {
    let policy = EventPolicy {
        retries_max: 1,
        on_failure: Some(QUEUE.to_owned()),
        dead_letter: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Raise, policy).await;
    let id = accept(&world).await;
    pass(30 * MINUTE).await;
    assert_eq!(world.ledger.invoked(), 2, "one retry was configured");
    let taken = queues.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    let record: Value = serde_json::from_slice(&taken[0].1.body).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(record["responseContext"]["functionError"], "Unhandled");
    assert_eq!(record["responsePayload"]["errorType"], "ValueError");
    assert_eq!(taken[1].1.body, event("f").payload);
    let attributes = &taken[1].1.attributes;
    assert_eq!(attributes["RequestID"], id.to_string());
    assert_eq!(attributes["ErrorCode"], "200");
    assert_eq!(attributes["ErrorMessage"], "no");
    assert_eq!(world.queued_records().await, 0);
    assert!(failed(&world).await.is_empty(), "it is at its destination");
}

#[tokio::test(start_paused = true)]
async fn an_age_of_its_own_ends_an_event_and_says_why() {
    let policy = EventPolicy {
        age_max: Some(MINUTE),
        dead_letter: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Raise, policy).await;
    world.put("f", Script::act(Act::Raise), Some(0));
    accept(&world).await;
    pass(Duration::from_secs(50)).await;
    assert_eq!(queues.bodies().len(), 0);
    pass(MINUTE).await;
    let taken = queues.taken.lock().unwrap().clone();
    assert_eq!(taken[0].1.attributes["ErrorCode"], "429");
    assert_eq!(taken[0].1.attributes["ErrorMessage"], "EventAgeExceeded");
    assert_eq!(world.ledger.invoked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_function_is_a_destination() {
    let policy = EventPolicy {
        on_success: Some(FUNCTION.to_owned()),
        ..EventPolicy::default()
    };
    let (world, _) = wired(Act::Echo(TENTH), policy).await;
    world.put("next", Script::act(Act::Echo(TENTH)), None);
    let id = accept(&world).await;
    pass(MINUTE).await;
    let attempts = world.ledger.attempts.lock().unwrap().clone();
    assert_eq!(attempts.len(), 2);
    assert_ne!(attempts[1].0, id.to_string(), "the next event is one of its own");
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_is_tried_again_and_the_function_is_not() {
    let policy = EventPolicy {
        on_success: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Echo(TENTH), policy).await;
    queues.is_down.store(true, Ordering::SeqCst);
    let id = accept(&world).await;
    pass(10 * MINUTE).await;
    let status = world.dispatcher.find(id).await.unwrap().expect("it is kept");
    assert_eq!(status.state, EventState::Delivering);
    assert_eq!(status.targets[0].arn, QUEUE);
    assert!(status.targets[0].error.contains("down"), "{status:?}");
    assert_eq!(status.refusal, Some("target unavailable"));
    queues.is_down.store(false, Ordering::SeqCst);
    pass(10 * MINUTE).await;
    assert_eq!(queues.bodies().len(), 1);
    assert_eq!(world.ledger.invoked(), 1);
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_destination_takes_in_its_time_is_kept_and_redriven_without_another_run() {
    let policy = EventPolicy {
        on_success: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Echo(TENTH), policy).await;
    queues.is_down.store(true, Ordering::SeqCst);
    let id = accept(&world).await;
    pass(7 * 60 * MINUTE).await;
    let given_up = failed(&world).await;
    assert_eq!(given_up.len(), 1);
    assert_eq!(
        (given_up[0].request_id, given_up[0].condition),
        (id, Some("Success"))
    );
    assert_eq!(world.queued_records().await, 0);
    queues.is_down.store(false, Ordering::SeqCst);
    assert!(world.dispatcher.redrive(id).await.unwrap());
    assert!(
        !world.dispatcher.redrive(id).await.unwrap(),
        "it is not there twice"
    );
    pass(MINUTE).await;
    assert_eq!(queues.bodies().len(), 1);
    assert_eq!(world.ledger.invoked(), 1);
    assert!(failed(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_target_refuses_is_not_tried_again() {
    let policy = EventPolicy {
        on_success: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    let (world, queues) = wired(Act::Echo(TENTH), policy).await;
    queues.refuses.store(true, Ordering::SeqCst);
    accept(&world).await;
    pass(SECOND).await;
    let given_up = failed(&world).await;
    assert!(given_up[0].targets[0].error.contains("too large"), "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_event_is_kept_across_a_restart_and_redriven_with_all_its_attempts() {
    let world = world(Script::act(Act::Raise)).await;
    let id = accept(&world).await;
    pass(30 * MINUTE).await;
    let given_up = failed(&world).await;
    assert_eq!(given_up[0].condition, Some("RetriesExhausted"));
    assert_eq!(given_up[0].failures, 3);
    assert!(given_up[0].notes[0].text.contains("ValueError: no"));
    world.dispatcher.drain(SECOND).await;
    let (functions, store) = world.crash();
    let world = open(DispatcherConfig::default(), functions, store).await;
    world.put("f", Script::act(Act::Raise), None);
    assert_eq!(failed(&world).await[0].request_id, id);
    assert!(world.dispatcher.redrive(id).await.unwrap());
    pass(90 * SECOND).await;
    world.put("f", Script::act(Act::Echo(TENTH)), None);
    pass(30 * MINUTE).await;
    assert_eq!(world.ledger.invoked(), 3, "two failures and a success");
    assert!(failed(&world).await.is_empty());
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_list_of_failed_events_is_bounded_and_discarded() {
    let config = DispatcherConfig {
        failed_max: 2,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("f", Script::act(Act::Raise), None);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(accept(&world).await);
        pass(10 * MINUTE).await;
    }
    let kept: Vec<_> = failed(&world)
        .await
        .iter()
        .map(|event| event.request_id)
        .collect();
    assert_eq!(kept, ids[1..]);
    assert!(world.dispatcher.discard(ids[1]).await.unwrap());
    assert!(!world.dispatcher.discard(ids[1]).await.unwrap());
    assert_eq!(failed(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_poisoned_event_among_good_ones_holds_up_nothing() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    world.put(
        "poisoned",
        Script::act(Act::Fault(squall_runtime::Fault::Protocol("bad".into()))),
        None,
    );
    let poisoned = event("poisoned");
    world.dispatcher.accept(poisoned.clone()).await.unwrap();
    for _ in 0..20 {
        accept(&world).await;
    }
    pass(10 * SECOND).await;
    assert_eq!(world.stats("f").queued_events, 0);
    pass(30 * MINUTE).await;
    assert_eq!(failed(&world).await[0].request_id, poisoned.request_id);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_given_up_for_lack_of_disk_is_given_up_later() {
    let store = SlowStore::new(Duration::ZERO);
    let world = world_on(store.clone(), DispatcherConfig::default()).await;
    world.put("f", Script::act(Act::Raise), None);
    accept(&world).await;
    pass(90 * SECOND).await;
    store.set_full(true);
    pass(10 * MINUTE).await;
    assert!(failed(&world).await.is_empty());
    assert_eq!(world.stats("f").queued_events, 1, "it is still on its way");
    store.set_full(false);
    pass(30 * MINUTE).await;
    assert_eq!(failed(&world).await.len(), 1);
    assert_eq!(world.stats("f").queued_events, 0);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_repeated_runs_its_function_once_also_after_a_crash() {
    let world = world(Script::act(Act::Hang)).await;
    let message = || Delivery {
        body: "{}".into(),
        ..Delivery::default()
    };
    let delivered = Delivery {
        id: Some(RequestId::random()),
        ..message()
    };
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let targets = world.dispatcher.function_targets();
    targets.deliver(arn, delivered.clone()).await.unwrap();
    targets.deliver(arn, delivered.clone()).await.unwrap();
    assert_eq!(world.stats("f").queued_events, 1);
    let (functions, store) = world.crash();
    let world = open(DispatcherConfig::default(), functions, store).await;
    world.put("f", Script::act(Act::Echo(TENTH)), None);
    let targets = world.dispatcher.function_targets();
    targets.deliver(arn, delivered.clone()).await.unwrap();
    pass(MINUTE).await;
    targets.deliver(arn, delivered.clone()).await.unwrap();
    pass(MINUTE).await;
    let attempts = world.ledger.attempts.lock().unwrap().clone();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].0, delivered.id.unwrap().to_string());
    // One without an id is another each time.
    targets.deliver(arn, message()).await.unwrap();
    targets.deliver(arn, message()).await.unwrap();
    pass(MINUTE).await;
    assert_eq!(world.ledger.invoked(), 3);
}
