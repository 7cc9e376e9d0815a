//! Single calls, many calls, and everything that can go wrong with one.

use std::time::Duration;

use squall_runtime::{Exit, Fault};
use squall_types::{FunctionError, Invoke, InvokeError, ThrottleReason};
use tokio::time::Instant;

use super::fake::*;
use crate::DispatcherConfig;

const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_and_logged_as_lambda_does() {
    let world = world(Script::act(Act::Say(vec!["hello".into()], TENTH))).await;
    let mut event = event("f");
    event.log_tail = true;
    let id = event.request_id;
    let outcome = world.dispatcher.invoke(event).await.unwrap();
    assert_eq!(outcome.result.unwrap(), "{\"a\":1}");
    assert_eq!(outcome.usage.duration, TENTH);
    assert_eq!(outcome.usage.init_duration, Some(TENTH));
    let lines = world.lines("f").await;
    let expected = [
        "INIT_START Runtime Version: python3.11\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:python3.11"
            .to_owned(),
        "loading".to_owned(),
        format!("START RequestId: {id} Version: $LATEST"),
        "hello".to_owned(),
        format!("END RequestId: {id}"),
        format!(
            "REPORT RequestId: {id}\tDuration: 100.00 ms\tBilled Duration: 100 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 40 MB\tInit Duration: 100.00 ms\t"
        ),
    ];
    assert_eq!(lines, expected);
    let tail = outcome.log_tail.unwrap();
    assert_eq!(String::from_utf8_lossy(&tail), expected.join("\n") + "\n");

    let warm = world.call("f").await.unwrap();
    assert_eq!((warm.usage.init_duration, warm.log_tail), (None, None));
    assert_eq!(world.lines("f").await.len(), 10, "no second INIT_START");
    assert_eq!(world.ledger.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_of_a_cold_function_start_at_most_fifty_instances() {
    let world = world(Script::act(Act::Echo(TENTH))).await;
    let calls: Vec<_> = (0..50).map(|_| world.begin("f")).collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap().result.is_ok());
    }
    assert_eq!(world.ledger.created(), 50);
    assert_eq!(world.stats("f").idle, 50);
    assert_eq!(world.dispatcher.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_becomes_idle_serves_who_waits_for_a_start() {
    let script = Script {
        birth: Birth::Init(SECOND),
        act: Act::Echo(TENTH),
    };
    let world = world(script).await;
    world.call("f").await.unwrap();
    let calls = [world.begin("f"), world.begin("f"), world.begin("f")];
    pass(5 * TENTH).await;
    for call in calls {
        assert!(call.is_finished(), "all three were served by the one instance");
        let outcome = call.await.unwrap().unwrap();
        assert_eq!(outcome.usage.init_duration, None);
    }
    assert_eq!(world.stats("f").starting, 2);
    pass(SECOND).await;
    assert_eq!((world.ledger.created(), world.stats("f").idle), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn idle_instances_are_used_last_in_first_out() {
    let world = world(Script::act(Act::Name(TENTH))).await;
    let (first, second) = (world.begin("f"), world.begin("f"));
    pass(5 * TENTH).await;
    let (_, last) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    let name = last.result.unwrap();
    for _ in 0..3 {
        assert_eq!(world.call("f").await.unwrap().result.unwrap(), name);
    }
}

#[track_caller]
fn is_throttled<T>(result: &Result<T, InvokeError>, expected: ThrottleReason) {
    match result {
        Err(InvokeError::Throttled { reason, retry_after }) => {
            assert_eq!(*reason, expected);
            assert!(*retry_after > Duration::ZERO);
        }
        other => panic!("not throttled: {:?}", other.as_ref().err()),
    }
}

#[tokio::test(start_paused = true)]
async fn reserved_concurrency_throttles_at_once() {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    let over = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    world.put("stopped", Script::act(Act::Echo(AT_ONCE)), Some(0));
    is_throttled(&world.call("stopped").await, over);
    world.put("two", Script::act(Act::Echo(TENTH)), Some(2));
    let calls = [world.begin("two"), world.begin("two")];
    pass(AT_ONCE).await;
    is_throttled(&world.call("two").await, over);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    world.call("two").await.unwrap();
    assert_eq!(world.ledger.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn account_concurrency_throttles_at_once() {
    let world = world_with(DispatcherConfig::default(), 1).await;
    world.put("a", Script::act(Act::Echo(TENTH)), None);
    world.put("b", Script::act(Act::Echo(TENTH)), None);
    let call = world.begin("a");
    pass(AT_ONCE).await;
    is_throttled(
        &world.call("b").await,
        ThrottleReason::ConcurrentInvocationLimitExceeded,
    );
    call.await.unwrap().unwrap();
    world.call("b").await.unwrap();
}

fn one_instance() -> DispatcherConfig {
    DispatcherConfig {
        instances_max: 1,
        waiting_max: 2,
        ..DispatcherConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_host_limit_calls_wait_up_to_their_deadline() {
    let config = DispatcherConfig {
        waiting_max: 3,
        ..one_instance()
    };
    let world = world_with(config, 1000).await;
    world.put("f", Script::act(Act::Echo(2 * SECOND)), None);
    let calls = [world.begin("f"), world.begin("f"), world.begin("f")];
    pass(5 * SECOND).await;
    let [first, second, third] = calls;
    assert!(first.await.unwrap().is_ok());
    let waited = second.await.unwrap().unwrap();
    assert_eq!(
        waited.usage.duration,
        2 * SECOND,
        "the wait is not the function's time"
    );
    is_throttled(
        &third.await.unwrap(),
        ThrottleReason::ConcurrentInvocationLimitExceeded,
    );
    assert_eq!(
        (world.ledger.created(), world.dispatcher.stats().in_flight),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_waiting_calls_is_bounded() {
    let world = world_with(one_instance(), 1000).await;
    world.put("f", Script::act(Act::Echo(SECOND)), None);
    let running = world.begin("f");
    pass(5 * TENTH).await;
    let waiting = [world.begin("f"), world.begin("f")];
    pass(AT_ONCE).await;
    assert_eq!(world.stats("f").waiting, 2);
    is_throttled(&world.call("f").await, ThrottleReason::CallerRateLimitExceeded);
    running.await.unwrap().unwrap();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn idle_instances_of_others_make_room_at_the_host_limit() {
    let world = world_with(one_instance(), 1000).await;
    world.put("a", Script::act(Act::Echo(AT_ONCE)), None);
    world.put("b", Script::act(Act::Echo(AT_ONCE)), None);
    for name in ["a", "b", "a", "b"] {
        world.call(name).await.unwrap();
        assert_eq!(world.dispatcher.stats().instances, 1);
    }
    // A busy one makes room when it is done.
    let (first, second) = (world.begin("a"), world.begin("b"));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(world.ledger.created(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_keeps_every_instance_busy_starves_no_other() {
    let config = DispatcherConfig {
        instances_max: 2,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("greedy", Script::act(Act::Echo(TENTH)), None);
    world.put("modest", Script::act(Act::Echo(TENTH)), None);
    let greedy: Vec<_> = (0..50).map(|_| world.begin("greedy")).collect();
    pass(3 * TENTH).await;
    let begun = tokio::time::Instant::now();
    assert!(world.call("modest").await.unwrap().result.is_ok());
    assert!(begun.elapsed() < SECOND, "it took {:?}", begun.elapsed());
    for call in greedy {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_does_not_use_up_the_functions_time() {
    let script = Script {
        birth: Birth::Init(9 * SECOND),
        act: Act::Echo(SECOND),
    };
    let outcome = world(script).await.call("f").await.unwrap();
    assert_eq!(outcome.usage.duration, SECOND);
    assert_eq!(outcome.usage.init_duration, Some(9 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_kills_and_answers() {
    let world = world(Script::act(Act::Hang)).await;
    let event = event("f");
    let id = event.request_id;
    let outcome = world.dispatcher.invoke(event).await.unwrap();
    let told = "Task timed out after 3.00 seconds";
    let expected = (
        "Sandbox.Timedout".into(),
        format!("RequestId: {id} Error: {told}"),
    );
    assert_eq!(fault(&outcome), expected);
    assert_eq!(outcome.usage.duration, 3 * SECOND);
    pass(AT_ONCE).await;
    assert_eq!((world.ledger.alive(), world.dispatcher.stats().instances), (0, 0));
    let lines = world.lines("f").await;
    assert_eq!(lines[3], "my last words");
    assert!(lines[4].ends_with(&format!(" {id} {told}")), "{}", lines[4]);
    assert!(lines.last().unwrap().ends_with("\tStatus: timeout\t"));
}

async fn check_fault(script: Script, error_type: &str, message: &str) {
    let world = world(script).await;
    for attempt in 1..=2 {
        let event = event("f");
        let message = message.replace("ID", &event.request_id.to_string());
        let outcome = world.dispatcher.invoke(event).await.unwrap();
        assert_eq!(fault(&outcome), (error_type.to_owned(), message));
        assert_eq!(world.ledger.created(), attempt, "a broken instance is replaced");
    }
    pass(AT_ONCE).await;
    assert_eq!((world.ledger.alive(), world.dispatcher.stats().instances), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn faults_of_an_instance_are_told_and_it_is_replaced() {
    let exited = Fault::Exited(Exit::Status(3));
    let message = "RequestId: ID Error: Runtime exited with error: exit status 3";
    check_fault(Script::act(Act::Fault(exited)), "Runtime.ExitError", message).await;
    let broken = Fault::Protocol("a frame without end".into());
    let message = "RequestId: ID Error: a frame without end";
    check_fault(
        Script::act(Act::Fault(broken)),
        "Runtime.InvalidResponse",
        message,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_raised_error_keeps_the_instance() {
    let world = world(Script::act(Act::Raise)).await;
    for _ in 0..2 {
        let outcome = world.call("f").await.unwrap();
        assert_eq!(fault(&outcome), ("ValueError".to_owned(), "no".to_owned()));
    }
    assert_eq!((world.ledger.created(), world.stats("f").idle), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn failing_initialisations_are_told() {
    let failing = |fault| Script {
        birth: Birth::InitFails(TENTH, fault),
        act: Act::Hang,
    };
    let posted = FunctionError::new("Runtime.ImportModuleError", "no module");
    check_fault(
        failing(Fault::Init(posted)),
        "Runtime.ImportModuleError",
        "no module",
    )
    .await;
    let message = "RequestId: ID Error: Runtime exited with error: exit status 7";
    check_fault(
        failing(Fault::Exited(Exit::Status(7))),
        "Runtime.ExitError",
        message,
    )
    .await;
    let world = world(failing(Fault::Init(FunctionError::new(
        "Runtime.ImportModuleError",
        "no",
    ))))
    .await;
    world.call("f").await.unwrap();
    let lines = world.lines("f").await;
    let init = "INIT_REPORT Init Duration: 100.00 ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError";
    assert_eq!((lines[1].as_str(), lines[2].as_str()), ("loading", init));
    let hanging = Script {
        birth: Birth::InitHangs,
        act: Act::Hang,
    };
    let message = "RequestId: ID Error: Task timed out after 10.00 seconds";
    check_fault(hanging, "Sandbox.Timedout", message).await;
}

/// It waits as long as a start may last, and is told what for.
#[tokio::test(start_paused = true)]
async fn a_call_that_waited_in_vain_for_its_code_may_be_tried_again() {
    let check = |waited: Instant, refused: InvokeError| {
        assert_eq!(waited.elapsed().as_secs(), 30);
        assert!(matches!(refused, InvokeError::Preparing { .. }), "{refused:?}");
        let told = refused.to_string();
        assert_eq!(told, "`f:$LATEST` cannot start yet: its code is on its way");
        assert!(refused.is_retryable());
    };
    let act = Act::Hang;
    let world = world(Script {
        birth: Birth::CreateWaits,
        act,
    })
    .await;
    let begun = Instant::now();
    check(begun, world.call("f").await.unwrap_err());
    let begun = Instant::now();
    let asked = world.dispatcher.takes_http(&"f".parse().unwrap()).await;
    check(begun, asked.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn every_caller_of_a_function_that_cannot_start_is_answered() {
    for birth in [
        Birth::CreateFails,
        Birth::CreateHangs,
        Birth::CreateWaits,
        Birth::CreatePanics,
        Birth::InitHangs,
        Birth::InitFails(TENTH, Fault::Exited(Exit::Status(1))),
    ] {
        let config = DispatcherConfig {
            instances_max: 3,
            ..DispatcherConfig::default()
        };
        let world = world_with(config, 1000).await;
        let act = Act::Hang;
        world.put(
            "f",
            Script {
                birth: birth.clone(),
                act,
            },
            None,
        );
        let calls: Vec<_> = (0..10).map(|_| world.begin("f")).collect();
        for call in calls {
            // Those that found no room for a start wait no longer than their deadline.
            let answer = call.await.unwrap();
            let is_right = match &answer {
                Ok(outcome) => outcome.result.is_err(),
                Err(
                    InvokeError::Platform(_) | InvokeError::Preparing { .. } | InvokeError::Throttled { .. },
                ) => true,
                Err(_) => false,
            };
            assert!(is_right, "{birth:?}: {answer:?}");
        }
        pass(AT_ONCE).await;
        let stats = world.dispatcher.stats();
        assert_eq!((stats.in_flight, stats.instances), (0, 0), "{birth:?}");
        assert!(world.ledger.created() <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_stop_the_invocation() {
    let world = world(Script::act(Act::Echo(2 * SECOND))).await;
    // Before the instance is there, and while it runs.
    for wait in [TENTH / 2, SECOND] {
        let answered = world.ledger.answered();
        let call = tokio::time::timeout(wait, world.call("f")).await;
        assert!(call.is_err(), "the caller left");
        pass(5 * SECOND).await;
        assert_eq!(world.ledger.answered(), answered + 1);
        assert_eq!(world.dispatcher.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_long_invocation_can_be_followed() {
    let world = world(Script::act(Act::Say(vec!["working".into()], 2 * SECOND))).await;
    let call = world.begin("f");
    pass(SECOND + 2 * TENTH).await;
    let lines = world.lines("f").await;
    assert_eq!(lines.last().map(String::as_str), Some("working"));
    call.await.unwrap().unwrap();
    let lines = world.lines("f").await;
    assert_eq!(lines.iter().filter(|line| *line == "working").count(), 1);
    assert!(lines.last().unwrap().starts_with("REPORT"));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_unknown_is_refused() {
    let config = DispatcherConfig {
        payload_bytes_max: 8,
        async_payload_bytes_max: 7,
        ..DispatcherConfig::default()
    };
    let world = world_with(config, 1000).await;
    world.put("f", Script::act(Act::Echo(AT_ONCE)), None);
    let sized = |bytes: usize| {
        let mut event = event("f");
        event.payload = "x".repeat(bytes).into();
        event
    };
    assert!(world.dispatcher.invoke(sized(8)).await.is_ok());
    let refused = world.dispatcher.invoke(sized(9)).await;
    assert!(matches!(
        refused,
        Err(InvokeError::PayloadTooLarge {
            bytes: 9,
            bytes_max: 8
        })
    ));
    let refused = world.dispatcher.accept(sized(8)).await;
    assert!(matches!(
        refused,
        Err(InvokeError::PayloadTooLarge {
            bytes: 8,
            bytes_max: 7
        })
    ));
    assert!(matches!(world.call("other").await, Err(InvokeError::NotFound(_))));
    let target = "other".parse().unwrap();
    assert!(matches!(
        world.dispatcher.dry_run(&target).await,
        Err(InvokeError::NotFound(_))
    ));
    assert!(world.dispatcher.dry_run(&"f".parse().unwrap()).await.is_ok());
}
