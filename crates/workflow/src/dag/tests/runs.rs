//! How runs go: results from function to function, other attempts, cancellation.

use super::*;

#[tokio::test]
async fn results_go_from_function_to_function() {
    let functions = Functions::default()
        .number("inc", |x| x + 1)
        .number("square", |x| x * x);
    let (dags, functions) = engine(functions, spec(&["inc", "square"], &[("inc", "square")])).await;
    let ending = call(&dags, "3").await.expect("a run");
    assert_eq!(*ending, Ending::Done(value("16")));
    assert_eq!(functions.names(), ["inc", "square"]);
}

#[tokio::test]
async fn a_sink_gets_its_own_arguments_and_then_each_result_in_the_order_of_the_edges() {
    let echo = |one: &Invocation, _| Ok(Ok(one.payload.clone()));
    let functions = Functions::default()
        .with("a", echo)
        .with("b", echo)
        .with("sink", echo);
    let (dags, functions) = engine(
        functions,
        spec(&["a", "b", "sink"], &[("b", "sink"), ("a", "sink")]),
    )
    .await;
    let inputs = vec![
        ("a".to_owned(), vec![json("1")]),
        ("b".to_owned(), vec![json("2")]),
        ("sink".to_owned(), vec![json("\"own\"")]),
    ];
    let id = RunId::random();
    let options = Options {
        level: Some("causal".to_owned()),
        ..Options::default()
    };
    let ending = dags
        .call(the_dag(), inputs, options, id, None)
        .await
        .expect("a run");
    assert_eq!(*ending, Ending::Done(value("[\"own\",2,1]")));
    let invoked = functions.invoked.lock().expect("nobody panics");
    let session = &invoked[2].session;
    assert_eq!(
        session.travelling,
        ["after b", "after a"],
        "every session before it comes along"
    );
    assert_eq!(
        (session.level.as_deref(), session.transaction),
        (Some("causal"), Some(id.0))
    );
    assert_eq!(
        invoked.iter().map(|one| one.session.goes_on).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(invoked[2].placement, Placement::Anywhere);
}

#[tokio::test]
async fn a_users_error_ends_the_run_and_nothing_runs_after_it() {
    let functions = Functions::default()
        .with("a", |_, _| failed("ValueError", "not today"))
        .number("b", |x| x);
    let (dags, functions) = engine(functions, spec(&["a", "b"], &[("a", "b")])).await;
    let ending = call(&dags, "1").await.expect("a run");
    let Ending::Failed { function, error } = &*ending else {
        panic!("{ending:?}")
    };
    let error: serde_json::Value = serde_json::from_slice(error).expect("JSON");
    assert_eq!(
        (function.as_str(), &error["errorType"]),
        ("a", &"ValueError".into())
    );
    assert_eq!(functions.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn the_whole_run_is_executed_again_when_an_instance_died() {
    let functions = Functions::default()
        .number("a", |x| x + 1)
        .with("b", |one, before| {
            if before < 2 {
                failed("Runtime.ExitError", "signal: killed")
            } else {
                Ok(Ok(one.payload.clone()))
            }
        });
    let (dags, functions) = engine(functions, spec(&["a", "b"], &[("a", "b")])).await;
    assert_eq!(*call(&dags, "1").await.expect("a run"), Ending::Done(value("2")));
    assert_eq!(functions.names(), ["a", "b", "a", "b", "a", "b"]);
    let invoked = functions.invoked.lock().expect("nobody panics");
    let transactions: std::collections::HashSet<_> =
        invoked.iter().map(|one| one.session.transaction).collect();
    assert_eq!(transactions.len(), 1, "all attempts are one transaction");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_always_dies_fails_the_run_after_the_last_attempt() {
    let functions = Functions::default().with("a", |_, _| failed("Runtime.ExitError", "exit status 1"));
    let (dags, functions) = engine(functions, spec(&["a"], &[])).await;
    assert!(
        matches!(&*call(&dags, "1").await.expect("a run"), Ending::Failed { function, .. } if function == "a")
    );
    assert_eq!(functions.names().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_did_not_run_is_tried_again_without_those_before_it() {
    let throttled = InvokeError::Throttled {
        reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
        retry_after: Duration::from_secs(1),
    };
    let preparing = InvokeError::Preparing {
        function: "b:$LATEST".to_owned(),
        why: "its code is on its way",
    };
    for refusal in [throttled, preparing] {
        let functions = Functions::default()
            .number("a", |x| x)
            .with("b", move |one, before| {
                if before == 0 {
                    Err(refusal.clone())
                } else {
                    Ok(Ok(one.payload.clone()))
                }
            });
        let (dags, functions) = engine(functions, spec(&["a", "b"], &[("a", "b")])).await;
        assert_eq!(*call(&dags, "5").await.expect("a run"), Ending::Done(value("5")));
        assert_eq!(functions.names(), ["a", "b", "b"]);
    }
}

#[tokio::test]
async fn a_cancelled_run_starts_no_further_function() {
    let functions = Functions::default()
        .number("a", |x| x)
        .number("b", |x| x)
        .hold("a");
    let (dags, functions) = engine(functions, spec(&["a", "b"], &[("a", "b")])).await;
    let id = RunId::random();
    let inputs = vec![(String::new(), vec![json("1")])];
    let run = tokio::spawn({
        let dags = dags.clone();
        async move { dags.call(the_dag(), inputs, Options::default(), id, None).await }
    });
    functions.invoked("a", 1).await;
    assert!(matches!(dags.cancel(id).await, Ok(RunState::Ended(ending)) if *ending == Ending::Cancelled));
    functions.let_go_on();
    assert_eq!(*run.await.expect("no panic").expect("a run"), Ending::Cancelled);
    assert_eq!(functions.names(), ["a"]);
    assert!(dags.runs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_its_time_is_over() {
    let functions = Functions::default().number("a", |x| x).hold("a");
    let (dags, _functions) = engine(functions, spec(&["a"], &[])).await;
    let options = Options {
        timeout_ms: 1000,
        ..Options::default()
    };
    let ending = dags
        .call(the_dag(), Vec::new(), options, RunId::random(), None)
        .await
        .expect("a run");
    let Ending::Failed { error, .. } = &*ending else {
        panic!("{ending:?}")
    };
    assert!(String::from_utf8_lossy(error).contains("the run took longer than 1000 ms"));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_its_run() {
    let functions = Functions::default()
        .number("a", |x| x + 1)
        .number("b", |x| x)
        .hold("a");
    let (dags, functions) = engine(functions, spec(&["a", "b"], &[("a", "b")])).await;
    let id = RunId::random();
    let inputs = vec![(String::new(), vec![json("1")])];
    let left = tokio::spawn({
        let dags = dags.clone();
        async move { dags.call(the_dag(), inputs, Options::default(), id, None).await }
    });
    functions.invoked("a", 1).await;
    left.abort();
    functions.let_go_on();
    functions.invoked("b", 1).await;
    let state = dags.state(id, Duration::from_secs(60)).await.expect("a run");
    assert!(matches!(state, RunState::Ended(ending) if *ending == Ending::Done(value("2"))));
}

#[tokio::test]
async fn the_result_of_one_run_is_an_argument_of_another() {
    let functions = Functions::default().number("a", |x| x * 10).hold("a");
    let (dags, functions) = engine(functions, spec(&["a"], &[])).await;
    let (first, second) = (RunId::random(), RunId::random());
    let run = |id, argument| {
        let dags = dags.clone();
        let inputs = vec![("a".to_owned(), vec![argument])];
        tokio::spawn(async move { dags.call(the_dag(), inputs, Options::default(), id, None).await })
    };
    let one = run(first, json("7"));
    functions.invoked("a", 1).await;
    let two = run(second, Argument::Run(first));
    functions.let_go_on();
    assert_eq!(
        *one.await.expect("no panic").expect("a run"),
        Ending::Done(value("70"))
    );
    assert_eq!(
        *two.await.expect("no panic").expect("a run"),
        Ending::Done(value("700"))
    );
    let lost = run(RunId::random(), Argument::Run(RunId::random()))
        .await
        .expect("no panic");
    assert!(matches!(&*lost.expect("a run"), Ending::Failed { .. }));
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_runs() {
    let functions = Functions::default().number("a", |x| x);
    let (dags, functions) = engine(functions, spec(&["a"], &[])).await;
    let check = async |inputs: Inputs, options: Options, expected: &str| {
        let refused = dags.call(the_dag(), inputs, options, RunId::random(), None).await;
        assert_eq!(refused.expect_err("refused").to_string(), expected);
    };
    let level = Options {
        level: Some("linearizable".to_owned()),
        ..Options::default()
    };
    check(
        Vec::new(),
        level,
        "`linearizable` is not a level of consistency: use one of lww, repeatable-read, \
         single-key-causal, multi-key-causal, causal, atomic",
    )
    .await;
    let unknown = vec![("x".to_owned(), Vec::new())];
    check(
        unknown,
        Options::default(),
        "arguments are given to `x`, which is not a function of the DAG",
    )
    .await;
    let unknown = dags
        .register("other", spec(&["a", "ghost"], &[("a", "ghost")]))
        .await;
    let text = unknown.expect_err("refused").to_string();
    assert_eq!(
        text,
        "the DAG names the function `ghost`, but there is no function `ghost`"
    );
    assert!(functions.names().is_empty());
}

/// State that begins sessions, and nothing else.
struct Sessions;

#[async_trait]
impl SharedState for Sessions {
    fn caches(&self) -> u16 {
        1
    }

    fn cached_on(&self, _: &[&Reference]) -> Vec<usize> {
        vec![0]
    }

    fn begin(&self, level: Option<&str>, _: RunId) -> Result<Option<Bytes>, String> {
        Ok(Some(format!("begun at {}", level.unwrap_or("none")).into()))
    }

    async fn put(&self, _: &Reference, _: &Value) -> Result<(), String> {
        Err("nothing is kept".to_owned())
    }
}

#[tokio::test]
async fn several_sources_go_on_with_one_session() {
    let echo = |one: &Invocation, _| Ok(Ok(one.payload.clone()));
    let functions = Functions::default()
        .with("a", echo)
        .with("b", echo)
        .with("sink", echo);
    let functions = Arc::new(functions);
    let opened = Dags::open(
        Arc::new(Memory::new()),
        functions.clone(),
        Arc::new(Sessions),
        Config::default(),
    );
    let dags = opened.await.expect("an engine");
    let shape = spec(&["a", "b", "sink"], &[("a", "sink"), ("b", "sink")]);
    dags.register("dag", shape).await.expect("a DAG");
    let options = Options {
        level: Some("atomic".to_owned()),
        ..Options::default()
    };
    let inputs = vec![
        ("a".to_owned(), vec![json("1")]),
        ("b".to_owned(), vec![json("2")]),
    ];
    let ending = dags
        .call(the_dag(), inputs, options, RunId::random(), None)
        .await
        .expect("a run");
    assert_eq!(*ending, Ending::Done(value("[1,2]")));
    let invoked = functions.invoked.lock().expect("nobody panics");
    let travelling = |one: usize| invoked[one].session.travelling.clone();
    assert_eq!(
        (travelling(0), travelling(1)),
        (vec!["begun at atomic".into()], vec!["begun at atomic".into()])
    );
    assert_eq!(travelling(2), ["after a", "after b"]);
}
