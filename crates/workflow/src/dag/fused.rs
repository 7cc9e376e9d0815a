//! A DAG whose functions run in one process: operator fusion, after Cloudflow (Sreekanti et al., 2020).
//!
//! The function that holds them was made of the functions as they were. Each attempt of a run looks whether they still
//! are, and only that revision of it may run: where anything differs, the functions run by themselves.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use squall_types::{Encoding, FunctionError, InvokeError, RevisionId};

use super::dags::Inner;
use super::run::Run;
use super::step::{self, Event, StepError};
use super::{Argument, DagError, Topology, Value, write_inputs};

/// What the runtime says of an answer that is too large; it is the last function's.
const RESPONSE_TOO_LARGE: &str = "Function.ResponseSizeTooLarge";

/// Why DAGs run their functions by themselves, by their names, as far as the log has been told.
#[derive(Debug, Default)]
pub(crate) struct OutOfDate(Mutex<HashMap<String, String>>);

impl OutOfDate {
    /// Tells the log, once for as long as it is so.
    fn note(&self, dag: &str, stale: &Stale) {
        let why = stale.to_string();
        let mut told = self.told();
        if told.get(dag) != Some(&why) {
            tracing::warn!(dag, "a fused DAG runs its functions by themselves: {why}");
            told.insert(dag.to_owned(), why);
        }
    }

    /// The DAG runs fused, or is no more.
    pub(crate) fn forget(&self, dag: &str) {
        self.told().remove(dag);
    }

    fn told(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // No change of it can panic half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the function that holds the others must not stand for them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stale {
    #[error("`{0}` was changed since they were fused")]
    Changed(String),
    #[error("`{0}` has reserved concurrency, which a process for several functions would not keep")]
    Reserved(String),
    #[error("the function that holds them does not see the buckets that they see")]
    Buckets,
    #[error("`{function}`: {error}")]
    Absent { function: String, error: InvokeError },
}

/// Looks at a DAG that is to be kept.
///
/// # Errors
/// Where it could not run fused now.
pub(crate) async fn check(inner: &Inner, dag: &Topology) -> Result<(), DagError> {
    let Err(stale) = current(inner, dag).await else {
        return Ok(());
    };
    let text = format!("the DAG cannot be fused: {stale}");
    Err(match stale {
        Stale::Absent {
            error: InvokeError::ShuttingDown,
            ..
        } => DagError::ShuttingDown,
        Stale::Absent { .. } | Stale::Reserved(_) => DagError::Invalid(text),
        Stale::Changed(_) | Stale::Buckets => DagError::Conflict(text),
    })
}

/// The revision of the function that holds those of a DAG, where it may stand for them; `None` where none does.
///
/// # Errors
/// Why it may not.
pub(crate) async fn current(inner: &Inner, dag: &Topology) -> Result<Option<RevisionId>, Stale> {
    let (Some(target), Some(fused)) = (&dag.fused, &dag.spec.fused) else {
        return Ok(None);
    };
    let functions = dag.targets.iter().chain([target]);
    for (function, revision) in functions.zip(&fused.revisions) {
        let resolved = inner.invoke.resolve(function).await;
        let resolved = resolved.map_err(|error| Stale::Absent {
            function: function.to_string(),
            error,
        })?;
        if resolved.revision != *revision {
            return Err(Stale::Changed(function.to_string()));
        }
        if resolved.reserved_concurrency.is_some() && function != target {
            return Err(Stale::Reserved(function.to_string()));
        }
    }
    if !inner.state.sees_what(target, &dag.targets) {
        return Err(Stale::Buckets);
    }
    Ok(fused.revisions.last().copied())
}

/// Runs all functions of a DAG in the one that holds them. `None` where they are to run by themselves, and nothing has
/// run.
pub(crate) async fn run(
    inner: &Inner,
    run: &Run,
    inputs: &[Vec<Argument>],
) -> Option<Result<Value, StepError>> {
    let target = run.topology.fused.as_ref()?;
    let current = current(inner, &run.topology).await;
    note(inner, run, current.as_ref().err());
    let revision = current.ok()?;
    let names = run.topology.spec.functions.iter().map(|node| node.name.as_str());
    let event = Event {
        place: step::place(inner, inputs.iter().flatten()),
        revision,
        payload: write_inputs(names.zip(inputs.iter().map(Vec::as_slice))).into(),
        encoding: Encoding::Bytes,
        travelling: Vec::new(),
        goes_on: false,
    };
    match step::invoke(inner, run, target, event).await {
        Ok(outcome) => {
            let function = match &outcome.result {
                Ok(_) => String::new(),
                Err(error) => whose(&run.topology, error),
            };
            Some(step::answer(&function, outcome).map(|answer| answer.value))
        }
        // It did not run: changed between the look and the call, or what fits each function is too large for all.
        Err(
            InvokeError::Changed(_)
            | InvokeError::NotFound(_)
            | InvokeError::NotReady { .. }
            | InvokeError::PayloadTooLarge { .. },
        ) => None,
        Err(error) => Some(Err(step::failed(&target.to_string(), &error))),
    }
}

/// Notes whether a run's DAG is out of date. Not of a run that began before the DAG was kept as it is now, nor of what
/// passes by itself.
fn note(inner: &Inner, run: &Run, stale: Option<&Stale>) {
    let Some(dag) = &run.dag else { return };
    let kept = inner.catalog.get(dag);
    if kept.is_ok_and(|kept| kept.spec.fused == run.topology.spec.fused) {
        match stale {
            None => inner.out_of_date.forget(dag),
            Some(Stale::Absent { error, .. }) if error.is_retryable() => {}
            Some(stale) => inner.out_of_date.note(dag, stale),
        }
    }
}

/// Which function an error is of, where it says so; where the process died or took too long, nobody knows, and it is
/// of the one that holds them.
fn whose(dag: &Topology, error: &FunctionError) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        function: Option<String>,
        #[serde(rename = "errorType")]
        kind: String,
    }
    let said: Said = serde_json::from_slice(&error.body).unwrap_or_default();
    let is_one = |name: &String| dag.spec.functions.iter().any(|node| node.name == *name);
    match said.function.filter(is_one) {
        Some(function) => function,
        None if said.kind == RESPONSE_TOO_LARGE => dag.name(dag.sink).to_owned(),
        None => dag.fused.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
