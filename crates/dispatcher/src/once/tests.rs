//! A call with a key is made once, whoever repeats it and whenever; what was kept survives a crash.

use std::sync::Arc;
use std::time::Duration;

use squall_store::Memory;
use squall_types::{AcceptedEvents, Invoke};

use super::*;
use crate::DispatcherConfig;
use crate::tests::fake::*;

fn key(text: &str) -> IdempotencyKey {
    text.parse().expect("a key")
}

fn event_with(payload: &'static str) -> Invocation {
    Invocation::new(
        "f".parse().expect("a name"),
        Bytes::from_static(payload.as_bytes()),
    )
}

async fn call(world: &World, payload: &'static str) -> Result<First<Outcome>, OnceError> {
    world.dispatcher.invoke_once(&key("k"), event_with(payload)).await
}

/// The answer of the one call that ran, which a repeat has too.
#[track_caller]
fn check_repeat(first: &First<Outcome>, repeat: &First<Outcome>) {
    assert!(!first.is_repeat && repeat.is_repeat);
    assert_eq!(first.request_id, repeat.request_id);
    assert_eq!(first.answer.result, repeat.answer.result);
    assert_eq!(first.answer.executed_version, repeat.answer.executed_version);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_has_the_first_answer_and_runs_nothing() {
    for act in [Act::Echo(TENTH), Act::Raise] {
        let world = world(Script::act(act)).await;
        let first = call(&world, "[1]").await.unwrap();
        let repeat = call(&world, "[1]").await.unwrap();
        check_repeat(&first, &repeat);
        assert_eq!(world.ledger.invoked(), 1);
        let other = world.dispatcher.invoke_once(&key("l"), event_with("[1]")).await;
        assert!(!other.unwrap().is_repeat);
        assert_eq!(world.ledger.invoked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_survives_a_crash() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    let first = call(&world, "[1]").await.unwrap();
    let (functions, store) = world.crash();
    let world = open(DispatcherConfig::default(), functions, store).await;
    check_repeat(&first, &call(&world, "[1]").await.unwrap());
    assert_eq!(world.ledger.invoked(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_repeats_a_call_that_runs_waits_for_it() {
    let world = world(Script::act(Act::Echo(SECOND))).await;
    let calls = (0..10).map(|_| {
        let dispatcher = world.dispatcher.clone();
        tokio::spawn(async move { dispatcher.invoke_once(&key("k"), event_with("[1]")).await })
    });
    let calls: Vec<_> = calls.collect();
    pass(TENTH).await;
    assert!(matches!(call(&world, "[2]").await, Err(OnceError::KeyReused)));
    let mut repeats = 0;
    for call in calls {
        let first = call.await.unwrap().unwrap();
        assert_eq!(first.answer.result.unwrap(), "[1]");
        repeats += usize::from(first.is_repeat);
    }
    assert_eq!((world.ledger.invoked(), repeats), (1, 9));
    assert!(world.dispatcher.inner().once.flights().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_stands_for_one_call_only() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    world.put("g", Script::act(Act::Echo(TENTH)), None);
    call(&world, "[1]").await.unwrap();
    let mut qualified = event_with("[1]");
    qualified.target = "f:$LATEST".parse().unwrap();
    for other in [event_with("[2]"), qualified] {
        let refused = world.dispatcher.invoke_once(&key("k"), other).await;
        assert!(matches!(refused, Err(OnceError::KeyReused)));
    }
    let refused = world.dispatcher.accept_once(&key("k"), event_with("[1]")).await;
    assert!(matches!(refused, Err(OnceError::KeyReused)));
    let mut of_another = event_with("[2]");
    of_another.target = "g".parse().unwrap();
    assert!(
        !world
            .dispatcher
            .invoke_once(&key("k"), of_another)
            .await
            .unwrap()
            .is_repeat
    );
}

#[tokio::test(start_paused = true)]
async fn what_did_not_run_is_not_kept() {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    world.put("f", Script::act(Act::Echo(TENTH)), Some(0));
    let throttled = call(&world, "[1]").await;
    assert!(matches!(
        throttled,
        Err(OnceError::Invoke(InvokeError::Throttled { .. }))
    ));
    world.put("f", Script::act(Act::Echo(TENTH)), None);
    assert!(!call(&world, "[1]").await.unwrap().is_repeat);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_stop_the_keeping() {
    let world = world(Script::act(Act::Echo(SECOND))).await;
    let left = tokio::time::timeout(TENTH, call(&world, "[1]")).await;
    assert!(left.is_err());
    assert!(call(&world, "[1]").await.unwrap().is_repeat);
    assert_eq!(world.ledger.invoked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_kept_is_no_answer() {
    let store = SlowStore::new(Duration::ZERO);
    let world = world_on(store.clone(), DispatcherConfig::default()).await;
    world.put("f", Script::act(Act::Echo(TENTH)), None);
    store.set_full(true);
    let refused = call(&world, "[1]").await;
    assert!(matches!(
        refused,
        Err(OnceError::Invoke(InvokeError::Platform(_)))
    ));
    store.set_full(false);
    assert!(!call(&world, "[1]").await.unwrap().is_repeat);
}

#[tokio::test(start_paused = true)]
async fn no_more_keys_are_taken_than_can_be_kept() {
    let config = DispatcherConfig {
        results_max: 1,
        ..DispatcherConfig::default()
    };
    let world = world_on(Arc::new(Memory::new()), config).await;
    world.put("f", Script::act(Act::Echo(TENTH)), None);
    call(&world, "[1]").await.unwrap();
    let one_more = world.dispatcher.invoke_once(&key("l"), event_with("[1]")).await;
    assert!(matches!(
        one_more,
        Err(OnceError::Invoke(InvokeError::Throttled { .. }))
    ));
    // A repeat needs no room.
    assert!(call(&world, "[1]").await.unwrap().is_repeat);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_accepted_once_and_its_result_found_by_its_id() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    let accept = |world: &World| {
        let dispatcher = world.dispatcher.clone();
        async move {
            dispatcher
                .accept_once(&key("k"), event_with("[1]"))
                .await
                .unwrap()
        }
    };
    let first = accept(&world).await;
    let repeat = accept(&world).await;
    assert!(!first.is_repeat && repeat.is_repeat);
    assert_eq!(first.request_id, repeat.request_id);
    pass(MINUTE).await;
    assert_eq!(world.ledger.invoked(), 1);
    let (functions, store) = world.crash();
    let world = open(DispatcherConfig::default(), functions, store).await;
    assert_eq!(accept(&world).await.request_id, first.request_id);
    let result = world.dispatcher.result(first.request_id).await.unwrap().unwrap();
    assert_eq!(result.response.as_deref(), Some(&b"[1]"[..]));
    assert_eq!(world.queued_records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_result_tells_how_an_event_ended() {
    let world = world(Script::act(Act::Raise)).await;
    let event = event("f");
    world.dispatcher.accept(event.clone()).await.unwrap();
    pass(SECOND).await;
    assert_eq!(world.dispatcher.result(event.request_id).await.unwrap(), None);
    pass(30 * MINUTE).await;
    let result = world.dispatcher.result(event.request_id).await.unwrap().unwrap();
    assert_eq!((result.condition, result.failures), ("RetriesExhausted", 3));
    assert_eq!(
        (result.is_success, result.executed_version.as_deref()),
        (false, Some("$LATEST"))
    );
    assert_eq!(result.notes.len(), 4);
    let error: serde_json::Value = serde_json::from_slice(&result.response.unwrap()).unwrap();
    assert!(error["errorMessage"].is_string());
}

/// The answer `[1]` of version 7, as format 1 was first written.
const FORMAT_1: &str = "01295c5ea7\
    0505050505050505050505050505050505050505050505050505050505050505\
    108f5a3c529a3b4c7e9d550d2f7a1b6c1101010701035b315d0103454e44";

#[test]
fn what_the_first_release_wrote_is_read_and_still_written() {
    let outcome = Outcome {
        executed_version: Version::Published(7),
        result: Err(FunctionError {
            body: Bytes::from_static(b"[1]"),
        }),
        encoding: Encoding::Json,
        session: None,
        log_tail: Some(Bytes::from_static(b"END")),
        usage: Usage::default(),
    };
    let id: RequestId = "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().unwrap();
    let record = answer_record([5; 32], id, &outcome);
    let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, FORMAT_1);
    let read = read_answer(&record).unwrap();
    assert_eq!((read.request_id, read.is_repeat), (id, true));
    assert_eq!(read.answer.result, outcome.result);
    assert_eq!(read.answer.log_tail, outcome.log_tail);
    assert_eq!(read.answer.executed_version, outcome.executed_version);
}
