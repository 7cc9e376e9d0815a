//! The protocol's states, and what may follow what. No HTTP happens here.
//!
//! ```text
//! Started ──next──→ Ready ──event──→ Running ──response, error──→ ResponseSent ──next──→ Ready
//!    └─init/error─→ InitError          └next: the same event again
//! ```
//! The names are those that AWS's emulator puts into its messages.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use squall_runtime::{Event, Fault};
use squall_types::FunctionError;
use tokio::sync::{oneshot, watch};

/// What the function posted for one event.
pub(super) type Answer = Result<Bytes, FunctionError>;

/// An event as `/next` answers it.
#[derive(Debug)]
pub(super) struct Outgoing {
    id: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Outgoing {
    /// Puts the event's particulars into headers.
    pub(super) fn new(event: &Event) -> Result<Self, Fault> {
        let id = event.request_id.to_string();
        let deadline = event.deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline_ms = deadline.as_millis().to_string();
        let mut headers = HeaderMap::with_capacity(6);
        // AWS's clients for Python and Node crash without it.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: &'static str, value: &[u8]| -> Result<(), Fault> {
            let value = HeaderValue::from_bytes(value)
                .map_err(|_| Fault::Protocol(format!("the header `{name}` cannot carry its value")))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        set("lambda-runtime-aws-request-id", id.as_bytes())?;
        set("lambda-runtime-deadline-ms", deadline_ms.as_bytes())?;
        set(
            "lambda-runtime-invoked-function-arn",
            event.invoked_function_arn.as_bytes(),
        )?;
        if let Some(trace_id) = &event.trace_id {
            set("lambda-runtime-trace-id", trace_id.as_bytes())?;
        }
        if let Some(context) = &event.client_context {
            set("lambda-runtime-client-context", &on_one_line(context)?)?;
        }
        Ok(Self {
            id,
            headers,
            payload: event.payload.clone(),
        })
    }
}

/// A header has no line ends; JSON as a person writes it has.
fn on_one_line(json: &[u8]) -> Result<Vec<u8>, Fault> {
    let context: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| Fault::Protocol(format!("the client context is not JSON: {error}")))?;
    Ok(context.to_string().into_bytes())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Started,
    InitError,
    Ready,
    Running,
    ResponseSent,
}

impl Phase {
    /// As AWS's emulator calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::InitError => "InitError",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::ResponseSent => "RuntimeResponseSentState",
        }
    }
}

/// Why the function may not do what it asks for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Invalid request ID")]
    InvalidRequestId,
    #[error(
        "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
    )]
    InvalidStateTransition { from: &'static str, to: &'static str },
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// The event that is out, or the last one: its id is checked even when it has been answered.
    event: Option<Arc<Outgoing>>,
    /// Who waits for the answer; there is one exactly while the event is unanswered.
    caller: Option<oneshot::Sender<Answer>>,
    init_error: Option<FunctionError>,
}

impl State {
    fn refuse(&self, to: &'static str) -> Refusal {
        Refusal::InvalidStateTransition {
            from: self.phase.name(),
            to,
        }
    }

    fn may_answer(&self, id: &str, to: &'static str) -> Result<(), Refusal> {
        match &self.event {
            Some(event) if event.id == id && self.phase == Phase::Running => Ok(()),
            Some(event) if event.id == id => Err(self.refuse(to)),
            _ => Err(Refusal::InvalidRequestId),
        }
    }
}

/// The state and everybody who waits for it to change.
#[derive(Debug, Default)]
pub(super) struct Machine {
    state: watch::Sender<State>,
}

impl Machine {
    /// See [`RuntimeApi::ready`](super::RuntimeApi::ready).
    pub(super) async fn ready(&self) -> Result<(), FunctionError> {
        let mut watcher = self.state.subscribe();
        let state = watcher.wait_for(|state| state.phase != Phase::Started).await;
        match &state.expect("the sender lives as long as this borrow").init_error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Lays an event out for the function. A former event that was not answered is given up.
    pub(super) fn send(&self, event: Outgoing) -> Result<oneshot::Receiver<Answer>, Fault> {
        let (caller, answer) = oneshot::channel();
        let mut sent = Ok(answer);
        self.state.send_modify(|state| {
            if matches!(state.phase, Phase::Started | Phase::InitError) {
                sent = Err(Fault::Protocol(
                    "an event came before the runtime was ready".into(),
                ));
                return;
            }
            state.event = Some(Arc::new(event));
            state.caller = Some(caller);
        });
        sent
    }

    /// The function asks for an event. Waits for one without a bound, as the long poll does.
    ///
    /// Nothing is lost when this is dropped, or when its answer does not arrive:
    /// an event that is not answered yet is given again.
    pub(super) async fn next(&self) -> Result<Arc<Outgoing>, Refusal> {
        self.change(|state| match state.phase {
            Phase::InitError => Err(state.refuse("Ready")),
            Phase::Running => Ok(()),
            Phase::Started | Phase::Ready | Phase::ResponseSent => {
                state.phase = Phase::Ready;
                Ok(())
            }
        })?;
        let mut watcher = self.state.subscribe();
        loop {
            let state = watcher.wait_for(|state| state.caller.is_some()).await;
            drop(state.expect("the sender lives as long as this borrow"));
            let event = self.change(|state| {
                // Somebody else's poll may have carried the event, and its answer may be there already.
                let event = state.caller.is_some().then(|| state.event.clone()).flatten();
                if event.is_some() {
                    state.phase = Phase::Running;
                }
                event
            });
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Whether an answer for `id` would be taken now, so that a refused body need not be read.
    pub(super) fn may_answer(&self, id: &str, to: &'static str) -> Result<(), Refusal> {
        self.state.borrow().may_answer(id, to)
    }

    /// The function has answered the event. The first whole answer counts.
    pub(super) fn answer(&self, id: &str, to: &'static str, answer: Answer) -> Result<(), Refusal> {
        let caller = self.change(|state| {
            state.may_answer(id, to)?;
            state.phase = Phase::ResponseSent;
            Ok(state.caller.take())
        })?;
        // A caller that is gone has given the instance up; the function need not know.
        caller.map(|caller| caller.send(answer));
        Ok(())
    }

    /// The function could not initialise itself.
    pub(super) fn fail_init(&self, error: FunctionError) -> Result<(), Refusal> {
        self.change(|state| {
            if state.phase != Phase::Started {
                return Err(state.refuse("InitError"));
            }
            state.phase = Phase::InitError;
            state.init_error = Some(error);
            Ok(())
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut result = None;
        self.state.send_modify(|state| result = Some(change(state)));
        result.expect("the closure has run")
    }
}
