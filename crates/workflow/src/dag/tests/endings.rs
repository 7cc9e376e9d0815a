//! Recorded runs: they survive the server, their endings are kept and forgotten.

use super::*;

fn background(dags: &Dags) -> CancellationToken {
    let stop = CancellationToken::new();
    let (dags, until) = (dags.clone(), stop.clone());
    tokio::spawn(async move { dags.run(until).await });
    stop
}

async fn submit(dags: &Dags, id: RunId, options: Options) -> Result<RunId, DagError> {
    let inputs = vec![(String::new(), vec![json("4")])];
    dags.submit(the_dag(), inputs, options, id, None).await
}

#[tokio::test]
async fn a_recorded_run_is_executed_again_after_the_server_died_and_its_result_is_kept() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let first = Arc::new(
        Functions::default()
            .number("a", |x| x)
            .number("b", |x| x)
            .hold("b"),
    );
    let dags = open(store.clone(), &first).await;
    let shape = spec(&["a", "b"], &[("a", "b")]);
    dags.register("dag", shape.clone()).await.expect("a DAG");
    let id = RunId::random();
    submit(&dags, id, Options::default()).await.expect("taken");
    first.invoked("b", 1).await;

    // The server dies here: nothing of the first engine is asked to end.
    let second = Arc::new(Functions::default().number("a", |x| x + 1).number("b", |x| x * x));
    let dags = open(store.clone(), &second).await;
    assert_eq!(dags.get("dag").expect("it is kept").spec, shape);
    assert!(matches!(
        dags.state(id, Duration::ZERO).await,
        Ok(RunState::Running)
    ));
    let stop = background(&dags);
    let state = dags.state(id, Duration::from_secs(60)).await.expect("a run");
    assert!(matches!(state, RunState::Ended(ending) if *ending == Ending::Done(value("25"))));
    stop.cancel();

    let third = open(store, &second).await;
    let state = third.state(id, Duration::ZERO).await.expect("a run");
    assert!(matches!(state, RunState::Ended(ending) if *ending == Ending::Done(value("25"))));
    let again = submit(&third, id, Options::default()).await;
    assert!(
        matches!(again, Err(DagError::Exists(_))),
        "one id is one run: {again:?}"
    );
}

#[tokio::test]
async fn a_run_that_a_drain_stopped_goes_on_after_the_restart() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let draining = Arc::new(Functions::default().with("a", |_, _| Err(InvokeError::ShuttingDown)));
    let dags = open(store.clone(), &draining).await;
    dags.register("dag", spec(&["a"], &[])).await.expect("a DAG");
    let id = RunId::random();
    submit(&dags, id, Options::default()).await.expect("taken");
    draining.invoked("a", 1).await;
    dags.drain().await;
    assert!(matches!(
        submit(&dags, RunId::random(), Options::default()).await,
        Err(DagError::ShuttingDown)
    ));
    let working = Arc::new(Functions::default().number("a", |x| x + 1));
    let dags = open(store, &working).await;
    let _stop = background(&dags);
    let state = dags.state(id, Duration::from_secs(60)).await.expect("a run");
    assert!(matches!(state, RunState::Ended(ending) if *ending == Ending::Done(value("5"))));
}

#[tokio::test]
async fn an_ending_is_forgotten_when_its_time_has_come() {
    let functions = Functions::default().number("a", |x| x);
    let (dags, _functions) = engine(functions, spec(&["a"], &[])).await;
    let (short, long) = (RunId::random(), RunId::random());
    let options = Options {
        keep_ms: 1,
        ..Options::default()
    };
    submit(&dags, short, options).await.expect("taken");
    submit(&dags, long, Options::default()).await.expect("taken");
    for id in [short, long] {
        assert!(matches!(
            dags.state(id, Duration::from_secs(60)).await,
            Ok(RunState::Ended(_))
        ));
    }
    let mut after = None;
    while dags.state(short, Duration::ZERO).await.is_ok() {
        dags.sweep(&mut after).await.expect("a sweep");
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        dags.state(short, Duration::ZERO).await,
        Err(DagError::NotFound(_))
    ));
    assert!(matches!(
        dags.state(long, Duration::ZERO).await,
        Ok(RunState::Ended(_))
    ));
}

#[tokio::test]
async fn a_failure_is_kept_as_a_result_is() {
    let functions = Functions::default().with("a", |_, _| failed("ValueError", "no"));
    let (dags, _functions) = engine(functions, spec(&["a"], &[])).await;
    let id = submit(&dags, RunId::random(), Options::default())
        .await
        .expect("taken");
    let state = dags.state(id, Duration::from_secs(60)).await.expect("a run");
    assert!(
        matches!(state, RunState::Ended(ending) if matches!(&*ending, Ending::Failed { function, .. } if function == "a"))
    );
    assert!(dags.runs().is_empty());
}
