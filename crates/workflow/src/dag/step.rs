//! One function of a run: its event, its invocation, and what its outcome means for the run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use squall_types::{
    Encoding, FunctionError, FunctionRef, Invocation, InvokeError, Outcome, Placement, RequestId, RevisionId,
    SessionSeed,
};

use super::dags::Inner;
use super::place::Place;
use super::run::Run;
use super::{Argument, Reference, Takes, Value, write_arguments};

/// The longest that a throttled function waits before it is tried again.
const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a function left for those after it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// Its session's context.
    pub(crate) session: Option<Bytes>,
}

/// Why a function gave no answer.
#[derive(Debug)]
pub(crate) enum StepError {
    /// It failed by itself, or can never run: the run has failed.
    Final { function: String, error: Bytes },
    /// The platform lost it: the run is executed again.
    Lost { function: String, error: Bytes },
    /// The server is draining.
    Stopped,
}

/// Errors of the platform's making that another attempt of the whole run may not meet: an instance that died, and what
/// the state layer says where a snapshot is gone with its cache or a transaction has met another. `Aborted` is what
/// the SDKs make of the latter inside of a function.
const LOST: [&str; 7] = [
    "Runtime.ExitError",
    "Aborted",
    "Conflict",
    "NoConsistentVersion",
    "RunExpired",
    "SessionOver",
    "SnapshotLost",
];

/// What a function of a run is invoked with.
pub(crate) struct Event<'a> {
    pub(crate) place: Option<Place<'a>>,
    /// The only revision of the function that may run it.
    pub(crate) revision: Option<RevisionId>,
    pub(crate) payload: Bytes,
    pub(crate) encoding: Encoding,
    /// Contexts of the sessions that it goes on with.
    pub(crate) travelling: Vec<Bytes>,
    /// Whether other functions go on with its session.
    pub(crate) goes_on: bool,
}

/// Runs one node.
pub(crate) async fn run(
    inner: &Inner,
    run: &Run,
    node: usize,
    arguments: Vec<Argument>,
    travelling: Vec<Bytes>,
) -> Result<Answer, StepError> {
    let name = run.topology.name(node);
    let (payload, encoding) = event(run, node, &arguments).map_err(|text| StepError::Final {
        function: name.to_owned(),
        error: FunctionError::new("Squall.BadArgument", &text).body,
    })?;
    let event = Event {
        place: place(inner, arguments.iter()),
        revision: None,
        payload,
        encoding,
        travelling,
        goes_on: node != run.topology.sink,
    };
    match invoke(inner, run, &run.topology.targets[node], event).await {
        Ok(outcome) => answer(name, outcome),
        Err(error) => Err(failed(name, &error)),
    }
}

/// Invokes a function of a run, again where it was throttled.
pub(crate) async fn invoke(
    inner: &Inner,
    run: &Run,
    target: &FunctionRef,
    event: Event<'_>,
) -> Result<Outcome, InvokeError> {
    loop {
        let invocation = Invocation {
            request_id: RequestId::random(),
            target: target.clone(),
            revision: event.revision,
            payload: event.payload.clone(),
            encoding: event.encoding,
            client_context: None,
            trace_id: run.trace_id.clone(),
            log_tail: false,
            placement: event
                .place
                .as_ref()
                .map_or(Placement::Anywhere, |place| Placement::Cache(place.cache)),
            session: SessionSeed {
                level: run.options.level.clone(),
                transaction: Some(run.id.0),
                travelling: event.travelling.clone(),
                goes_on: event.goes_on,
            },
        };
        match inner.invoke.invoke(invocation).await {
            // It did not run: this function alone is tried again, as long as the run may take.
            Err(InvokeError::Throttled { retry_after, .. }) => {
                tokio::time::sleep(retry_after.min(THROTTLE_PAUSE_MAX)).await;
            }
            Err(InvokeError::Preparing { .. }) => tokio::time::sleep(THROTTLE_PAUSE_MAX).await,
            ended => return ended,
        }
    }
}

/// Where a function should run by the keys that its arguments refer to; anywhere when there are none.
pub(crate) fn place<'a, 'b>(
    inner: &'a Inner,
    arguments: impl Iterator<Item = &'b Argument>,
) -> Option<Place<'a>> {
    let keys: Vec<&Reference> = arguments
        .filter_map(|argument| match argument {
            Argument::Reference(reference) => Some(reference),
            _ => None,
        })
        .collect();
    (!keys.is_empty()).then(|| inner.places.choose(&inner.state.cached_on(&keys)))
}

/// The event of a node, in the form that its function takes.
fn event(run: &Run, node: usize, arguments: &[Argument]) -> Result<(Bytes, Encoding), String> {
    match run.topology.spec.functions[node].takes {
        Takes::Arguments => Ok((write_arguments(arguments).into(), Encoding::Bytes)),
        Takes::Event => json_event(run.topology.name(node), arguments).map(|event| (event, Encoding::Json)),
    }
}

fn json_event(name: &str, arguments: &[Argument]) -> Result<Bytes, String> {
    let json = |argument: &Argument| match argument {
        Argument::Value(Value {
            encoding: Encoding::Json,
            bytes,
        }) => Ok(bytes.clone()),
        Argument::Value(value) => Err(format!(
            "`{name}` takes a JSON event and was given a value in the encoding {}",
            value.encoding
        )),
        _ => Err(format!("`{name}` takes a JSON event and was given a reference")),
    };
    match arguments {
        [] => Ok(Bytes::from_static(b"{}")),
        [only] => json(only),
        several => {
            let documents: Result<Vec<Bytes>, String> = several.iter().map(json).collect();
            Ok([b"[", documents?.join(&b","[..]).as_slice(), b"]"]
                .concat()
                .into())
        }
    }
}

/// What an outcome means for the run.
pub(crate) fn answer(function: &str, outcome: Outcome) -> Result<Answer, StepError> {
    match outcome.result {
        Ok(bytes) => Ok(Answer {
            value: Value {
                encoding: outcome.encoding,
                bytes,
            },
            session: outcome.session,
        }),
        Err(FunctionError { body: error }) => {
            let function = function.to_owned();
            Err(if is_lost(&error) {
                StepError::Lost { function, error }
            } else {
                StepError::Final { function, error }
            })
        }
    }
}

fn is_lost(error: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "errorType", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(error).is_ok_and(|error| LOST.contains(&&*error.kind))
}

/// What it means for the run that a function could not be invoked.
pub(crate) fn failed(function: &str, error: &InvokeError) -> StepError {
    if let InvokeError::ShuttingDown = error {
        return StepError::Stopped;
    }
    let function = function.to_owned();
    let kind = match error {
        InvokeError::NotFound(_) => "Squall.FunctionNotFound",
        InvokeError::PayloadTooLarge { .. } => "Squall.PayloadTooLarge",
        InvokeError::NotReady { .. } => "Squall.FunctionNotReady",
        _ => "Squall.Platform",
    };
    let is_retryable = error.is_retryable();
    let error = FunctionError::new(kind, &error.to_string()).body;
    if is_retryable {
        StepError::Lost { function, error }
    } else {
        StepError::Final { function, error }
    }
}

/// Arguments of a node: the caller's own first, then what the nodes before it answered.
pub(crate) fn arguments(
    run: &Run,
    node: usize,
    answers: &[Option<Arc<Answer>>],
) -> (Vec<Argument>, Vec<Bytes>) {
    let mut arguments = run.inputs[node].clone();
    let mut travelling = Vec::new();
    for up in &run.topology.upstream[node] {
        if let Some(answer) = &answers[*up] {
            arguments.push(Argument::Value(answer.value.clone()));
            travelling.extend(answer.session.clone());
        }
    }
    (arguments, travelling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_died_is_lost_and_an_exception_is_not() {
        assert!(is_lost(
            br#"{"errorMessage":"x","errorType":"Runtime.ExitError"}"#
        ));
        assert!(!is_lost(
            br#"{"errorType":"ValueError","errorMessage":"Runtime.ExitError"}"#
        ));
        assert!(!is_lost(br#"{"errorType":"Sandbox.Timedout"}"#));
        assert!(!is_lost(b"not JSON"));
    }

    #[test]
    fn a_json_event_is_the_argument_or_an_array_of_them() {
        let json = |text: &'static str| {
            Argument::Value(Value {
                encoding: Encoding::Json,
                bytes: Bytes::from_static(text.as_bytes()),
            })
        };
        let check = |arguments: &[Argument], expected: &str| {
            assert_eq!(json_event("f", arguments).expect("an event"), expected);
        };
        check(&[], "{}");
        check(&[json("{\"a\":1}")], "{\"a\":1}");
        check(&[json("1"), json("[2]")], "[1,[2]]");
        let pickled = Argument::Value(Value {
            encoding: Encoding::Pickle,
            bytes: Bytes::new(),
        });
        let complaint = json_event("f", &[pickled]).expect_err("not JSON");
        assert_eq!(
            complaint,
            "`f` takes a JSON event and was given a value in the encoding pickle"
        );
    }
}
