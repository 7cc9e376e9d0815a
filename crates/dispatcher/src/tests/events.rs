//! Accepted events: run at least once, tried again on Lambda's schedule, fair, bounded, kept across a crash.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use squall_store::{Batch, Memory, Space, Store};
use squall_types::{AcceptedEvents, EventQuery, Invoke, InvokeError, ThrottleReason};

use super::fake::*;
use crate::queue::Queue;
use crate::queue::record::Event;
use crate::{DispatcherConfig, OpenError};

const AT_ONCE: Duration = Duration::ZERO;

/// When attempts were made, in seconds since the first.
fn attempt_seconds(world: &World) -> Vec<u64> {
    let attempts = world.ledger.attempts.lock().unwrap();
    let first = attempts[0].1;
    attempts.iter().map(|(_, at)| (*at - first).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_accepted_event_runs_once_with_its_request_id() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    let event = event("f");
    world.dispatcher.accept(event.clone()).await.unwrap();
    assert_eq!(world.stats("f").queued_events, 1);
    pass(MINUTE).await;
    let attempts = world.ledger.attempts.lock().unwrap().clone();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].0, event.request_id.to_string());
    assert_eq!(world.stats("f").queued_events, 0);
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_function_is_tried_again_after_one_and_two_minutes() {
    let world = world(Script::act(Act::Raise)).await;
    world.dispatcher.accept(event("f")).await.unwrap();
    pass(30 * MINUTE).await;
    assert_eq!(attempt_seconds(&world), [0, 60, 180]);
    let attempts = world.ledger.attempts.lock().unwrap().clone();
    assert!(attempts.iter().all(|(id, _)| *id == attempts[0].0));
    assert_eq!(world.stats("f").queued_events, 0);
    assert_eq!(world.queued_records().await, 0);
    let lines = world.lines("f").await;
    let dropped = format!("{} Event given up: RetriesExhausted", attempts[0].0);
    assert!(lines.last().unwrap().ends_with(&dropped), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn throttles_back_off_and_use_up_no_attempts() {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    world.put("f", Script::act(Act::Raise), Some(0));
    world.dispatcher.accept(event("f")).await.unwrap();
    // Attempts at 0, 1, 3, 7, 15, 31, 63 seconds.
    pass(40 * SECOND).await;
    assert_eq!(world.ledger.invoked(), 0);
    assert_eq!(world.stats("f").queued_events, 1);
    world.put("f", Script::act(Act::Raise), None);
    pass(30 * MINUTE).await;
    assert_eq!(attempt_seconds(&world), [0, 60, 180]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_run_is_dropped_at_its_greatest_age() {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), Some(0));
    world.dispatcher.accept(event("f")).await.unwrap();
    pass(6 * 60 * MINUTE - MINUTE).await;
    assert_eq!(world.stats("f").queued_events, 1);
    assert!(world.stats("f").oldest_event_age.unwrap() > 5 * 60 * MINUTE);
    pass(2 * MINUTE).await;
    assert_eq!(world.stats("f").queued_events, 0);
    assert_eq!(world.queued_records().await, 0);
    assert!(world.lines("f").await[0].ends_with("Event given up: EventAgeExceeded"));
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let first = machine();
    let (mut ids, functions, store) = first.block_on(async {
        // Some hang when the server dies, the others never began.
        let world = world(Script::act(Act::Hang)).await;
        let mut ids = Vec::new();
        for _ in 0..200 {
            let event = event("f");
            ids.push(event.request_id.to_string());
            world.dispatcher.accept(event).await.unwrap();
        }
        pass(TENTH).await;
        let (functions, store) = world.crash();
        (ids, functions, store)
    });
    drop(first);
    machine().block_on(async {
        let world = open(DispatcherConfig::default(), functions, store).await;
        world.put("f", Script::act(Act::Echo(TENTH)), None);
        assert_eq!(world.stats("f").queued_events, 200);
        pass(MINUTE).await;
        let attempts = world.ledger.attempts.lock().unwrap().clone();
        let mut ran: Vec<_> = attempts.into_iter().map(|(id, _)| id).collect();
        ran.sort();
        ids.sort();
        assert_eq!(ran, ids);
        assert_eq!(world.queued_records().await, 0);
    });
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_across_a_restart() {
    let world = world(Script::act(Act::Raise)).await;
    world.dispatcher.accept(event("f")).await.unwrap();
    pass(90 * SECOND).await;
    assert_eq!(world.ledger.invoked(), 2);
    world.dispatcher.drain(SECOND).await;
    let (functions, store) = world.crash();
    let world = open(DispatcherConfig::default(), functions, store).await;
    world.put("f", Script::act(Act::Raise), None);
    pass(30 * MINUTE).await;
    assert_eq!(world.ledger.invoked(), 1, "the third attempt is the last");
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_waiting_events_in_the_store() {
    let config = DispatcherConfig {
        async_max: 1,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("f", Script::act(Act::Echo(SECOND)), None);
    for _ in 0..3 {
        world.dispatcher.accept(event("f")).await.unwrap();
    }
    pass(TENTH).await;
    world.dispatcher.drain(10 * SECOND).await;
    assert_eq!(world.ledger.answered(), 1, "what ran was finished");
    assert_eq!(world.queued_records().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_an_answer() {
    let config = DispatcherConfig {
        queued_per_function_max: 2,
        queued_max: 3,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    for name in ["a", "b"] {
        world.put(name, Script::act(Act::Echo(AT_ONCE)), Some(0));
    }
    let mut answers = Vec::new();
    for name in ["a", "a", "a", "b", "b"] {
        answers.push(match world.dispatcher.accept(event(name)).await {
            Ok(()) => true,
            Err(InvokeError::Throttled { reason, .. }) => {
                assert_eq!(reason, ThrottleReason::CallerRateLimitExceeded);
                false
            }
            Err(error) => panic!("{error}"),
        });
    }
    assert_eq!(answers, [true, true, false, true, false]);
    assert_eq!(world.queued_records().await, 3);
}

#[tokio::test(start_paused = true)]
async fn events_run_on_the_code_of_their_time() {
    let world = world(Script::act(Act::Raise)).await;
    world.dispatcher.accept(event("f")).await.unwrap();
    pass(SECOND).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    pass(MINUTE).await;
    assert_eq!(attempt_seconds(&world), [0, 60]);
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_deleted_function_are_dropped() {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    world.put("f", Script::act(Act::Raise), None);
    world.put("other", Script::act(Act::Echo(AT_ONCE)), Some(0));
    for name in ["f", "f", "other"] {
        world.dispatcher.accept(event(name)).await.unwrap();
    }
    pass(SECOND).await;
    world.delete("f");
    pass(AT_ONCE).await;
    assert_eq!(world.stats("f").queued_events, 0);
    assert_eq!(world.stats("other").queued_events, 1);
    assert_eq!(world.queued_records().await, 1);
}

#[tokio::test(start_paused = true)]
async fn one_functions_events_hold_up_no_other() {
    let config = DispatcherConfig {
        async_max: 3,
        async_per_function_max: 2,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("many", Script::act(Act::Hang), None);
    world.put("few", Script::act(Act::Echo(TENTH)), None);
    for _ in 0..20 {
        world.dispatcher.accept(event("many")).await.unwrap();
    }
    world.dispatcher.accept(event("few")).await.unwrap();
    pass(SECOND).await;
    assert_eq!(world.stats("few").queued_events, 0);
    assert_eq!(world.stats("many").busy, 2, "never more than a function's share");
    assert!(
        world.call("few").await.unwrap().result.is_ok(),
        "calls do not wait behind events"
    );
}

#[tokio::test(start_paused = true)]
async fn an_accept_that_its_caller_left_halfway_is_still_run() {
    let store = SlowStore::new(SECOND);
    let world = world_on(store.clone(), DispatcherConfig::default()).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    let accept = tokio::time::timeout(TENTH, world.dispatcher.accept(event("f"))).await;
    assert!(accept.is_err(), "the caller left");
    pass(MINUTE).await;
    assert_eq!(world.ledger.answered(), 1);
    assert_eq!(world.stats("f").queued_events, 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_written_is_not_acknowledged() {
    let store = SlowStore::new(AT_ONCE);
    let config = DispatcherConfig {
        queued_max: 1,
        ..DispatcherConfig::default()
    };
    let world = world_on(store.clone(), config).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    store.set_full(true);
    let refused = world.dispatcher.accept(event("f")).await;
    assert!(matches!(refused, Err(InvokeError::Platform(_))));
    store.set_full(false);
    world
        .dispatcher
        .accept(event("f"))
        .await
        .expect("its place in the queue is free again");
    pass(SECOND).await;
    assert_eq!(world.ledger.answered(), 1);
}

#[tokio::test]
async fn a_damaged_event_keeps_the_queue_from_opening() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let damaged = Batch::durable().append(Space("events"), &b"e"[..], &b"\x01 no such thing"[..]);
    store.commit(damaged).await.unwrap();
    let opened = Queue::open(store, &DispatcherConfig::default(), &FakeFunctions::none(1)).await;
    assert!(matches!(opened.err(), Some(OpenError::Damaged { .. })));
}

/// Accepts an event at one moment of the wall clock, and opens the queue at another, `days` later or earlier.
async fn across_a_jump(days: i64) -> World {
    let day = Duration::from_secs(24 * 3600);
    let jump = day * u32::try_from(days.unsigned_abs()).unwrap();
    let now = SystemTime::now();
    let accepted = if days > 0 { now - jump } else { now + jump };
    let record = Event::new(event("f"), accepted).encode();
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let batch = Batch::durable().append(Space("events"), &b"e"[..], record);
    store.commit(batch).await.unwrap();
    let functions = FakeFunctions::none(1000);
    let world = open(DispatcherConfig::default(), functions, store).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    world
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_holds_up_no_event() {
    let world = across_a_jump(-10).await;
    pass(SECOND).await;
    assert_eq!(world.ledger.answered(), 1);
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_forward_ends_an_event_but_does_not_lose_it() {
    let world = across_a_jump(10).await;
    pass(MINUTE).await;
    assert_eq!(world.queued_records().await, 0);
    let query = EventQuery {
        failed: true,
        limit: 10,
        ..EventQuery::default()
    };
    let failed = world.dispatcher.list(query).await.unwrap();
    assert_eq!(failed[0].condition, Some("EventAgeExceeded"));
}
