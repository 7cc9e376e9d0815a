//! The end of a server.

use std::time::Duration;

use squall_types::{Invoke, InvokeError};

use super::fake::*;

#[tokio::test(start_paused = true)]
async fn a_drain_lets_running_calls_finish_and_stops_everything() {
    let world = world(Script::act(Act::Echo(2 * SECOND))).await;
    world.call("f").await.unwrap();
    let running = world.begin("f");
    pass(TENTH).await;
    let drain = tokio::spawn({
        let dispatcher = world.dispatcher.clone();
        async move { dispatcher.drain(10 * SECOND).await }
    });
    pass(TENTH).await;
    assert!(matches!(world.call("f").await, Err(InvokeError::ShuttingDown)));
    let accepted = world.dispatcher.accept(event("f")).await;
    assert!(matches!(accepted, Err(InvokeError::ShuttingDown)));
    let asked = world.dispatcher.dry_run(&"f".parse().unwrap()).await;
    assert!(matches!(asked, Err(InvokeError::ShuttingDown)));
    assert!(running.await.unwrap().unwrap().result.is_ok());
    drain.await.unwrap();
    assert_eq!((world.ledger.alive(), world.dispatcher.stats().instances), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_what_does_not_finish_in_time() {
    let world = world(Script::act(Act::Hang)).await;
    let running = world.begin("f");
    pass(5 * TENTH).await;
    let begun = tokio::time::Instant::now();
    world.dispatcher.drain(SECOND).await;
    assert!(begun.elapsed() < 3 * SECOND);
    assert!(matches!(running.await.unwrap(), Err(InvokeError::ShuttingDown)));
    assert_eq!((world.ledger.alive(), world.dispatcher.stats().instances), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_idle_dispatcher_drains_at_once() {
    let world = world(Script::act(Act::Echo(Duration::ZERO))).await;
    let begun = tokio::time::Instant::now();
    world.dispatcher.drain(SECOND).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
