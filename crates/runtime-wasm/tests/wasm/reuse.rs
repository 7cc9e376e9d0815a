//! Sandboxes that answer several calls, because their function asks for it.

use std::time::Duration;

use http_body_util::BodyExt;
use squall_runtime::{Instance, LogCapture, Runtime};
use squall_types::PrepareError;

use crate::components::HELLO;
use crate::host::{World, answer, call, error, event};
use crate::streams::{STREAM, exchange, request, whole};

const REUSE: &str = "SQUALL_WASM_REUSE";

async fn count(instance: &mut dyn Instance) -> String {
    let (reply, text) = whole(instance, "/count").await;
    assert!(reply.is_ok_and(|reply| reply.result.is_ok()));
    text.expect("a whole answer")
}

#[tokio::test]
async fn a_sandbox_answers_as_many_calls_as_its_function_asks_for() {
    let world = World::new();
    let mut instance = world.instance_of(&world.revision_with(STREAM, REUSE, "3")).await;
    for expected in ["001", "002", "003", "001", "002"] {
        assert_eq!(count(&mut *instance).await, expected);
    }
    let mut once = world.instance_of(&world.revision_with(STREAM, REUSE, "1")).await;
    for _ in 0..2 {
        assert_eq!(count(&mut *once).await, "001");
    }
}

#[tokio::test]
async fn events_of_the_api_are_answered_by_a_kept_sandbox_too() {
    let world = World::new();
    let mut instance = world.instance_of(&world.revision_with(HELLO, REUSE, "9")).await;
    for event in ["1", "[2]", "{}"] {
        let (reply, _) = call(&mut *instance, event).await;
        assert_eq!(answer(reply), format!("{{\"you\": {event}}}"));
    }
    let mut counting = world.instance_of(&world.revision_with(STREAM, REUSE, "9")).await;
    call(&mut *counting, "{}").await.0.expect("a reply");
    assert_eq!(count(&mut *counting).await, "002");
}

#[tokio::test]
async fn after_a_trap_the_next_call_starts_afresh() {
    let world = World::new();
    let revision = world.revision_with(STREAM, REUSE, "100");
    let mut instance = world.instance_of(&revision).await;
    assert_eq!(count(&mut *instance).await, "001");
    assert_eq!(count(&mut *instance).await, "002");
    let (reply, _) = whole(&mut *instance, "/trap").await;
    assert_eq!(error(reply)["errorType"], "Runtime.WasmTrap");
    assert_eq!(count(&mut *instance).await, "001");
    // It has answered second calls before: it still may.
    assert_eq!(count(&mut *instance).await, "002");
}

#[tokio::test]
async fn a_guest_that_never_answers_a_second_call_gets_no_other() {
    let world = World::new();
    let revision = world.revision_with(STREAM, REUSE, "100");
    let mut instance = world.instance_of(&revision).await;
    let (reply, _) = whole(&mut *instance, "/hang").await;
    assert!(reply.is_ok_and(|reply| reply.result.is_ok()));

    let (request, _) = request("/hang");
    let (exchange, _begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let hanging = instance.stream(&event, exchange, &mut log);
    let ended = tokio::time::timeout(Duration::from_millis(50), hanging).await;
    assert!(ended.is_err(), "it hangs until its deadline drops it");
    let lines = log.finish();
    let told = lines
        .iter()
        .any(|line| line.text.contains("did not answer the second call"));
    assert!(told, "{lines:?}");

    let mut next = world.instance_of(&revision).await;
    for _ in 0..3 {
        assert_eq!(count(&mut *next).await, "001");
    }
}

#[tokio::test]
async fn a_body_that_the_guest_does_not_read_is_given_up_with_the_call() {
    let world = World::new();
    let mut instance = world.instance_of(&world.revision_with(STREAM, REUSE, "9")).await;
    let (request, sender) = request("/count");
    let (exchange, _begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let reply = instance.stream(&event, exchange, &mut log).await;
    assert!(reply.is_ok_and(|reply| reply.result.is_ok()));
    assert!(sender.is_closed());
    assert_eq!(count(&mut *instance).await, "002");
}

#[tokio::test]
async fn an_answer_in_pieces_keeps_its_sandbox() {
    let world = World::new();
    let mut instance = world.instance_of(&world.revision_with(STREAM, REUSE, "9")).await;
    let (request, sender) = request("/echo");
    let (exchange, begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let call = instance.stream(&event, exchange, &mut log);
    let client = async {
        let (_, response) = begun.await.expect("an answer");
        sender.send("piece").await.expect("the component reads");
        drop(sender);
        response.into_body().collect().await.expect("the whole body")
    };
    let (reply, body) = tokio::join!(call, client);
    assert!(reply.is_ok_and(|reply| reply.result.is_ok()));
    assert_eq!(body.to_bytes(), "piece");
    assert_eq!(count(&mut *instance).await, "002");
}

#[tokio::test]
async fn what_is_no_number_of_calls_is_refused_with_its_name() {
    let world = World::new();
    for wrong in ["yes", "0", "-1", "1000001"] {
        let prepared = world
            .runtime
            .prepare(&world.revision_with(HELLO, REUSE, wrong))
            .await;
        match prepared {
            Err(PrepareError::Code(why)) => assert!(why.contains(REUSE) && why.contains(wrong), "{why}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}
