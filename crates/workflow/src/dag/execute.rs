//! Executes a run: attempts until one ends, within the run's time; within an attempt, functions as they become ready.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use squall_types::FunctionError;

use super::dags::Inner;
use super::fused;
use super::progress::Progress;
use super::run::Run;
use super::step::{self, Answer, StepError};
use super::{Argument, Ending, RunState, Value};

/// The server is draining: the run has not ended.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Executes a run to its end.
pub(crate) async fn execute(inner: &Inner, run: &Run) -> Result<Ending, Stopped> {
    let timeout = Duration::from_millis(run.options.timeout_ms);
    let ended = tokio::select! {
        biased;
        () = run.cancelled.cancelled() => return Ok(Ending::Cancelled),
        ended = tokio::time::timeout(timeout, attempts(inner, run)) => ended,
    };
    ended.unwrap_or_else(|_| {
        let text = format!("the run took longer than {} ms", run.options.timeout_ms);
        Ok(failed(
            run,
            run.topology.sink,
            FunctionError::new("Squall.RunTimedOut", &text).body,
        ))
    })
}

fn failed(run: &Run, node: usize, error: Bytes) -> Ending {
    Ending::Failed {
        function: run.topology.name(node).to_owned(),
        error,
    }
}

async fn attempts(inner: &Inner, run: &Run) -> Result<Ending, Stopped> {
    let inputs = match resolve(inner, run).await? {
        Ok(inputs) => inputs,
        Err(ending) => return Ok(ending),
    };
    let mut pause = inner.config.backoff;
    for attempt in 1.. {
        match once(inner, run, inputs.as_deref()).await {
            Ok(value) => return Ok(written(inner, run, value).await),
            Err(StepError::Stopped) => return Err(Stopped),
            Err(StepError::Final { function, error }) => return Ok(Ending::Failed { function, error }),
            Err(StepError::Lost { function, error }) if attempt >= inner.config.attempts_max => {
                return Ok(Ending::Failed { function, error });
            }
            Err(StepError::Lost { function, error }) => {
                let error = String::from_utf8_lossy(&error);
                tracing::info!(run = %run.id, function, attempt, %error, "executing a run again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// One attempt: the sink's value, or the first error.
async fn once(inner: &Inner, run: &Run, inputs: Option<&[Vec<Argument>]>) -> Result<Value, StepError> {
    let topology = &run.topology;
    if let Some(ended) = fused::run(inner, run, inputs.unwrap_or(&run.inputs)).await {
        return ended;
    }
    let mut progress = Progress::new(topology);
    let mut answers: Vec<Option<Arc<Answer>>> = vec![None; topology.upstream.len()];
    let mut running = FuturesUnordered::new();
    let begun = begin(inner, run)?;
    let start = |node: usize, answers: &[Option<Arc<Answer>>]| {
        let (mut arguments, mut travelling) = step::arguments(run, node, answers);
        if topology.upstream[node].is_empty() {
            travelling.extend(begun.clone());
        }
        if let Some(inputs) = inputs {
            arguments.splice(..inputs[node].len(), inputs[node].iter().cloned());
        }
        async move { (node, step::run(inner, run, node, arguments, travelling).await) }
    };
    let mut ready: Vec<usize> = topology.sources().collect();
    loop {
        let (node, answer) = if running.is_empty()
            && let [only] = ready[..]
        {
            // The set wakes its task after each poll of an only future, and with it a thread; a chain goes without.
            ready.clear();
            start(only, &answers).await
        } else {
            running.extend(ready.drain(..).map(|node| start(node, &answers)));
            running
                .next()
                .await
                .expect("the sink of a DAG runs after all others")
        };
        let answer = answer?;
        if node == topology.sink {
            return Ok(answer.value);
        }
        answers[node] = Some(Arc::new(answer));
        progress.answered(node, |next| ready.push(next));
    }
}

/// Several sources must not begin a session each, or their sessions would not go together where they meet.
fn begin(inner: &Inner, run: &Run) -> Result<Option<Bytes>, StepError> {
    if run.topology.sources().nth(1).is_none() {
        return Ok(None);
    }
    let begun = inner.state.begin(run.options.level.as_deref(), run.id);
    begun.map_err(|text| StepError::Lost {
        function: run.topology.name(run.topology.sink).to_owned(),
        error: FunctionError::new("Squall.NoSession", &text).body,
    })
}

/// The arguments with what other runs ended with in the places of those runs; `None` where none is meant.
async fn resolve(inner: &Inner, run: &Run) -> Result<Result<Option<Vec<Vec<Argument>>>, Ending>, Stopped> {
    let is_run = |argument: &Argument| matches!(argument, Argument::Run(_));
    if !run.inputs.iter().flatten().any(is_run) {
        return Ok(Ok(None));
    }
    let mut inputs = run.inputs.clone();
    for (node, arguments) in inputs.iter_mut().enumerate() {
        for argument in arguments {
            let Argument::Run(id) = *argument else { continue };
            let wrong = |text: String| {
                let error = FunctionError::new("Squall.ArgumentFailed", &text).body;
                Ok(Err(failed(run, node, error)))
            };
            match inner.wait_for(id).await {
                Ok(RunState::Running) => return Err(Stopped),
                Ok(RunState::Ended(ending)) => match &*ending {
                    Ending::Done(value) => *argument = Argument::Value(value.clone()),
                    Ending::Failed { error, .. } => return Ok(Err(failed(run, node, error.clone()))),
                    Ending::Cancelled => {
                        return wrong(format!(
                            "the run {id} was cancelled, and its result is an argument"
                        ));
                    }
                },
                Err(error) => return wrong(error.to_string()),
            }
        }
    }
    Ok(Ok(Some(inputs)))
}

/// Writes the result under its key, where one was asked for.
async fn written(inner: &Inner, run: &Run, value: Value) -> Ending {
    let Some(output) = &run.options.output else {
        return Ending::Done(value);
    };
    match inner.state.put(output, &value).await {
        Ok(()) => Ending::Done(value),
        Err(text) => failed(
            run,
            run.topology.sink,
            FunctionError::new("Squall.OutputNotWritten", &text).body,
        ),
    }
}
