//! The life of instances: idle death, reaping, updates, deletion.

use std::time::Duration;

use squall_types::{Invocation, Invoke, InvokeError};

use super::fake::*;
use crate::DispatcherConfig;

const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_while_idle_is_noticed_at_once() {
    let world = world(Script::act(Act::EndLater(SECOND))).await;
    world.call("f").await.unwrap();
    assert_eq!(world.stats("f").idle, 1);
    pass(SECOND).await;
    assert_eq!((world.stats("f").idle, world.ledger.alive()), (0, 0));
    world.call("f").await.unwrap();
    assert_eq!(world.ledger.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn idle_instances_are_reaped_to_none_and_the_rest_follows() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    let calls: Vec<_> = (0..5).map(|_| world.begin("f")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    pass(5 * MINUTE).await;
    world.call("f").await.unwrap();
    pass(5 * MINUTE).await;
    assert_eq!(world.stats("f").idle, 1, "the one that was used is younger");
    pass(5 * MINUTE).await;
    assert_eq!((world.ledger.alive(), world.dispatcher.stats().instances), (0, 0));
    assert!(world.ledger.rested.lock().unwrap().is_empty());
    pass(11 * MINUTE).await;
    assert_eq!(world.ledger.rested.lock().unwrap().len(), 1);
    world.call("f").await.unwrap();
    assert_eq!(world.ledger.created(), 6, "it starts again when it is called");
}

#[tokio::test(start_paused = true)]
async fn an_update_drains_the_old_revision() {
    let world = world(Script::act(Act::Name(2 * SECOND))).await;
    let (idle, busy) = (world.begin("f"), world.begin("f"));
    pass(3 * SECOND).await;
    let old = [idle.await.unwrap().unwrap(), busy.await.unwrap().unwrap()].map(|o| o.result.unwrap());
    let running = world.begin("f");
    pass(AT_ONCE).await;
    let before = world.stats("f");
    assert_eq!((before.idle, before.busy), (1, 1));
    let revision = world.functions_revision("f");
    world.put("f", Script::act(Act::Name(AT_ONCE)), None);
    pass(AT_ONCE).await;
    assert_eq!(
        (world.stats("f").idle, world.ledger.alive()),
        (0, 1),
        "the idle one stops at once"
    );
    let new = world.call("f").await.unwrap().result.unwrap();
    assert!(!old.contains(&new));
    assert!(
        world.ledger.retired.lock().unwrap().is_empty(),
        "a busy one still runs"
    );
    assert!(old.contains(&running.await.unwrap().unwrap().result.unwrap()));
    pass(AT_ONCE).await;
    assert_eq!(*world.ledger.retired.lock().unwrap(), [revision]);
    assert_eq!(world.ledger.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_function_is_replaced_runs_the_new_code() {
    let script = Script {
        birth: Birth::Init(SECOND),
        act: Act::Raise,
    };
    let world = world(script).await;
    let call = world.begin("f");
    pass(TENTH).await;
    let old = world.functions_revision("f");
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    assert!(call.await.unwrap().unwrap().result.is_ok());
    pass(SECOND).await;
    assert_eq!(*world.ledger.retired.lock().unwrap(), [old]);
    assert_eq!(world.ledger.alive(), 1, "the old start's instance is gone");
}

#[tokio::test(start_paused = true)]
async fn a_call_for_one_revision_runs_no_other() {
    let script = Script {
        birth: Birth::Init(SECOND),
        act: Act::Echo(AT_ONCE),
    };
    let world = world(script).await;
    let only = |revision| Invocation {
        revision: Some(revision),
        ..event("f")
    };
    let old = world.functions_revision("f");
    let (dispatcher, waiting) = (world.dispatcher.clone(), only(old));
    let waiting = tokio::spawn(async move { dispatcher.invoke(waiting).await });
    pass(TENTH).await;
    let new = world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    assert!(matches!(waiting.await.unwrap(), Err(InvokeError::Changed(_))));
    let late = world.dispatcher.invoke(only(old)).await;
    assert!(matches!(late, Err(InvokeError::Changed(_))));
    assert!(world.dispatcher.invoke(only(new)).await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_deleted_function_are_told() {
    let config = DispatcherConfig {
        instances_max: 1,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("f", Script::act(Act::Echo(SECOND)), None);
    let (running, waiting) = (world.begin("f"), world.begin("f"));
    pass(5 * TENTH).await;
    world.delete("f");
    assert!(matches!(waiting.await.unwrap(), Err(InvokeError::NotFound(_))));
    assert!(running.await.unwrap().is_ok());
    pass(AT_ONCE).await;
    assert_eq!(
        (world.ledger.alive(), world.ledger.retired.lock().unwrap().len()),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_never_ran_is_retired_too() {
    let world = world(Script::act(Act::Echo(AT_ONCE))).await;
    world.delete("f");
    pass(AT_ONCE).await;
    assert_eq!(world.ledger.retired.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn missed_changes_are_made_up_for() {
    let world = world(Script::act(Act::Name(AT_ONCE))).await;
    let old = world.call("f").await.unwrap().result.unwrap();
    // More than the channel holds, before the dispatcher can look.
    for _ in 0..100 {
        world.put("f", Script::act(Act::Name(AT_ONCE)), None);
    }
    pass(AT_ONCE).await;
    assert_eq!(world.ledger.alive(), 0, "the old instance is gone");
    assert_ne!(world.call("f").await.unwrap().result.unwrap(), old);
}
