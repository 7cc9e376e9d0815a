//! A DAG whose functions run in one process: operator fusion, after Cloudflow (Sreekanti et al., 2020).
//!
//! The function that holds them was made of the functions as they were. Whether they still are is looked at in each
//! attempt, so a run gives what the functions would give by themselves, whatever became of them.

use serde::Deserialize;
use squall_types::{Encoding, FunctionError, FunctionRef, InvokeError, RevisionId};

use super::dags::Inner;
use super::run::Run;
use super::step::{self, Event, StepError};
use super::{Argument, DagError, Topology, Value, write_inputs};

/// Notes what the functions of a DAG are now, and the one that holds them.
///
/// # Errors
/// A function that is not there, or cannot be invoked yet.
pub(crate) async fn note(inner: &Inner, dag: &mut Topology) -> Result<(), DagError> {
    let Some(target) = &dag.fused else { return Ok(()) };
    let revisions = revisions(inner, dag, target).await.map_err(|error| match error {
        InvokeError::ShuttingDown => DagError::ShuttingDown,
        InvokeError::NotFound(arn) => DagError::Invalid(format!("there is no function {arn} to fuse")),
        error => DagError::Invalid(format!("the DAG cannot be fused now: {error}")),
    })?;
    if let Some(fused) = &mut dag.spec.fused {
        fused.revisions = revisions;
    }
    Ok(())
}

/// The function that holds those of a DAG, where all are what they were.
pub(crate) async fn current<'a>(inner: &Inner, dag: &'a Topology) -> Option<&'a FunctionRef> {
    let (target, fused) = (dag.fused.as_ref()?, dag.spec.fused.as_ref()?);
    match revisions(inner, dag, target).await {
        Ok(now) if now == fused.revisions => Some(target),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(function = %target, %error, "running the functions of a fused DAG by themselves");
            None
        }
    }
}

async fn revisions(
    inner: &Inner,
    dag: &Topology,
    target: &FunctionRef,
) -> Result<Vec<RevisionId>, InvokeError> {
    let mut revisions = Vec::with_capacity(dag.targets.len() + 1);
    for function in dag.targets.iter().chain([target]) {
        revisions.push(inner.invoke.revision(function).await?);
    }
    Ok(revisions)
}

/// Runs all functions of a DAG in the one that holds them.
pub(crate) async fn run(
    inner: &Inner,
    run: &Run,
    target: &FunctionRef,
    inputs: &[Vec<Argument>],
) -> Result<Value, StepError> {
    let names = run.topology.spec.functions.iter().map(|node| node.name.as_str());
    let event = Event {
        place: step::place(inner, inputs.iter().flatten()),
        payload: write_inputs(names.zip(inputs.iter().map(Vec::as_slice))).into(),
        encoding: Encoding::Bytes,
        travelling: Vec::new(),
        goes_on: false,
    };
    let outcome = step::invoke(inner, run, target, event).await;
    let outcome = outcome.map_err(|error| step::failed(&target.to_string(), &error))?;
    let function = match &outcome.result {
        Ok(_) => String::new(),
        Err(error) => whose(&run.topology, target, error),
    };
    step::answer(&function, outcome).map(|answer| answer.value)
}

/// Which function an error is of, where it says so; where the process died or took too long, nobody knows.
fn whose(dag: &Topology, target: &FunctionRef, error: &FunctionError) -> String {
    #[derive(Deserialize)]
    struct Whose {
        function: String,
    }
    let said = serde_json::from_slice::<Whose>(&error.body).map(|whose| whose.function);
    let is_one = |name: &String| dag.spec.functions.iter().any(|node| node.name == *name);
    said.ok().filter(is_one).unwrap_or_else(|| target.to_string())
}
