//! DAGs whose functions one function holds: what it is given, whose its errors are, and when it is not run.

use super::*;

/// `inc` and `again`, held by `both`, which answers as `body` does.
async fn fused(
    body: impl Fn(&Invocation, usize) -> Answer + Send + Sync + 'static,
) -> (Dags, Arc<Functions>) {
    let functions = functions().with("both", body);
    let spec = fused_spec(&functions);
    engine(functions, spec).await
}

fn functions() -> Functions {
    let plus_one =
        |one: &Invocation, _: usize| match &read_arguments(one.payload.clone()).expect("our form")[..] {
            [Argument::Value(value)] => {
                let number: i64 = serde_json::from_slice(&value.bytes).expect("a number");
                Ok(Ok((number + 1).to_string().into()))
            }
            other => panic!("{other:?}"),
        };
    Functions::default().with("inc", plus_one).with("again", plus_one)
}

/// What a client keeps that has fused them as they are.
fn fused_spec(functions: &Functions) -> Spec {
    let mut spec = spec(&["inc", "again"], &[("inc", "again")]);
    for node in &mut spec.functions {
        node.takes = Takes::Arguments;
    }
    spec.fused = Some(Fused {
        function: "both".to_owned(),
        revisions: ["inc", "again", "both"]
            .map(|name| functions.revision(name))
            .to_vec(),
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
        dags.register("dag", fused_spec(&functions))
            .await
            .expect("fused again");
        call(&dags, "3").await.expect("a run");
        assert_eq!(functions.names().last().map(String::as_str), Some("both"));
    }
}

#[tokio::test]
async fn what_was_noted_survives_a_restart() {
    let functions = Arc::new(functions().with("both", seven));
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let before = open(store.clone(), &functions).await;
    before
        .register("dag", fused_spec(&functions))
        .await
        .expect("a DAG");
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
    let too_large = r#"{"errorType":"Function.ResponseSizeTooLarge"}"#;
    assert_eq!(of(too_large).await.0, "again", "the last one's");
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
async fn what_is_not_as_it_was_fused_is_refused() {
    let functions = Arc::new(functions().with("both", seven));
    let dags = open(Arc::new(Memory::new()), &functions).await;
    let spec = fused_spec(&functions);
    let refused = async |spec: &Spec| dags.register("dag", spec.clone()).await.expect_err("not so");
    for changed in ["inc", "both"] {
        let spec = fused_spec(&functions);
        functions.update(changed);
        let error = refused(&spec).await;
        assert!(matches!(error, DagError::Conflict(_)), "{error:?}");
        let expected = format!("the DAG cannot be fused: `{changed}` was changed since they were fused");
        assert_eq!(error.to_string(), expected);
    }
    let mut absent = spec;
    absent.fused.as_mut().expect("it is fused").function = "ghost".to_owned();
    absent.fused.as_mut().expect("it is fused").revisions =
        fused_spec(&functions).fused.expect("too").revisions;
    assert_eq!(
        refused(&absent).await.to_string(),
        "the DAG cannot be fused: `ghost`: function not found: ghost"
    );
    assert!(dags.all().is_empty());
}

#[tokio::test]
async fn a_function_with_a_limit_of_its_own_runs_by_itself() {
    let (dags, functions) = fused(seven).await;
    functions.set("inc", functions.revision("inc"), Some(0));
    call(&dags, "3").await.expect("a run");
    assert_eq!(functions.names(), ["inc", "again"]);
    let error = dags
        .register("dag", fused_spec(&functions))
        .await
        .expect_err("a limit");
    assert!(
        error.to_string().contains("`inc` has reserved concurrency"),
        "{error}"
    );
}

#[tokio::test]
async fn what_does_not_reach_the_function_that_holds_them_reaches_them() {
    let refusals: [fn() -> InvokeError; 4] = [
        || InvokeError::Changed("both".to_owned()),
        || InvokeError::NotFound("both".to_owned()),
        || InvokeError::PayloadTooLarge {
            bytes: 9,
            bytes_max: 8,
        },
        || InvokeError::NotReady {
            state: "Pending".to_owned(),
            reason: String::new(),
        },
    ];
    for refusal in refusals {
        let (dags, functions) = fused(move |_, _| Err(refusal())).await;
        let ending = call(&dags, "3").await.expect("a run");
        assert_eq!(*ending, Ending::Done(value("5")), "{}", refusal());
        assert_eq!(functions.names(), ["both", "inc", "again"]);
    }
}
