//! DAGs whose functions one function holds: what it is given, whose its errors are, and when it is not run.

use super::*;

/// `inc` and `square`, held by `both`, which answers as `body` does.
async fn fused(
    body: impl Fn(&Invocation, usize) -> Answer + Send + Sync + 'static,
) -> (Dags, Arc<Functions>) {
    let plus_one =
        |one: &Invocation, _: usize| match &read_arguments(one.payload.clone()).expect("our form")[..] {
            [Argument::Value(value)] => {
                let number: i64 = serde_json::from_slice(&value.bytes).expect("a number");
                Ok(Ok((number + 1).to_string().into()))
            }
            other => panic!("{other:?}"),
        };
    let functions = Functions::default()
        .with("inc", plus_one)
        .with("again", plus_one)
        .with("both", body);
    engine(functions, fused_spec()).await
}

fn fused_spec() -> Spec {
    let mut spec = spec(&["inc", "again"], &[("inc", "again")]);
    for node in &mut spec.functions {
        node.takes = Takes::Arguments;
    }
    spec.fused = Some(Fused {
        function: "both".to_owned(),
        revisions: Vec::new(),
    });
    spec
}

fn seven(_: &Invocation, _: usize) -> Answer {
    Ok(Ok(Bytes::from_static(b"7")))
}

#[tokio::test]
async fn the_function_that_holds_them_gets_the_arguments_of_each_by_name() {
    let (dags, functions) = fused(seven).await;
    let inputs = vec![
        (String::new(), vec![json("1"), json("2")]),
        ("again".to_owned(), vec![json("3")]),
    ];
    let options = Options {
        level: Some("causal".to_owned()),
        ..Options::default()
    };
    let ending = dags
        .call(the_dag(), inputs, options, RunId::random(), None)
        .await
        .expect("a run");
    assert_eq!(*ending, Ending::Done(value("7")));
    assert_eq!(functions.names(), ["both"]);
    let invoked = functions.invoked.lock().expect("nobody panics");
    let given = read_inputs(invoked[0].payload.clone()).expect("our own form");
    let expected = vec![
        ("inc".to_owned(), vec![json("1"), json("2")]),
        ("again".to_owned(), vec![json("3")]),
    ];
    assert_eq!(given, expected);
    let session = &invoked[0].session;
    assert_eq!(
        (session.level.as_deref(), session.goes_on),
        (Some("causal"), false)
    );
}

#[tokio::test]
async fn where_a_function_has_changed_the_functions_run_by_themselves() {
    for changed in ["inc", "again", "both"] {
        let (dags, functions) = fused(seven).await;
        let dag = dags.get("dag").expect("it is there");
        assert!(dags.runs_fused(&dag).await);
        functions.update(changed);
        assert!(!dags.runs_fused(&dag).await, "{changed}");
        let ending = call(&dags, "3").await.expect("a run");
        assert_eq!(*ending, Ending::Done(value("5")), "{changed}");
        assert_eq!(functions.names(), ["inc", "again"], "{changed}");
        dags.register("dag", fused_spec()).await.expect("fused again");
        call(&dags, "3").await.expect("a run");
        assert_eq!(functions.names().last().map(String::as_str), Some("both"));
    }
}

#[tokio::test]
async fn what_was_noted_survives_a_restart() {
    let functions = Functions::default()
        .with("inc", seven)
        .with("again", seven)
        .with("both", seven);
    let functions = Arc::new(functions);
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let before = open(store.clone(), &functions).await;
    before.register("dag", fused_spec()).await.expect("a DAG");
    let after = open(store, &functions).await;
    let dag = after.get("dag").expect("it is there");
    assert!(after.runs_fused(&dag).await);
    functions.update("inc");
    assert!(!after.runs_fused(&dag).await);
}

#[tokio::test]
async fn an_error_is_of_the_function_that_it_names() {
    let of = |error: &'static str| async move {
        let raise = move |_: &Invocation, _: usize| -> Answer {
            Ok(Err(FunctionError {
                body: Bytes::from_static(error.as_bytes()),
            }))
        };
        let (dags, _) = fused(raise).await;
        match &*call(&dags, "3").await.expect("a run") {
            Ending::Failed { function, error } => (function.clone(), error.clone()),
            other => panic!("{other:?}"),
        }
    };
    let error = r#"{"errorType":"ValueError","errorMessage":"","function":"inc"}"#;
    assert_eq!(of(error).await, ("inc".to_owned(), error.into()));
    let timed_out = r#"{"errorType":"Sandbox.Timedout","errorMessage":""}"#;
    assert_eq!(of(timed_out).await.0, "both", "nobody knows which");
    assert_eq!(of(r#"{"errorType":"E","function":"ghost"}"#).await.0, "both");
}

#[tokio::test]
async fn a_fused_run_that_was_lost_is_executed_again() {
    let once_lost = |_: &Invocation, before: usize| match before {
        0 => failed("Runtime.ExitError", "killed"),
        _ => Ok(Ok(Bytes::from_static(b"7"))),
    };
    let (dags, functions) = fused(once_lost).await;
    assert_eq!(*call(&dags, "3").await.expect("a run"), Ending::Done(value("7")));
    assert_eq!(functions.names(), ["both", "both"]);
}

#[tokio::test]
async fn a_function_that_is_not_there_holds_nothing() {
    let functions = Functions::default().with("inc", seven).with("again", seven);
    let functions = Arc::new(functions);
    let dags = open(Arc::new(Memory::new()), &functions).await;
    let refused = dags.register("dag", fused_spec()).await.expect_err("no `both`");
    assert_eq!(refused.to_string(), "there is no function both to fuse");
}
