//! One event on its way to a function, and what came of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Encoding, FunctionRef, RevisionId, SessionSeed, Version};

/// Names one invocation. Every attempt of an asynchronous event carries the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new id, never given before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Where an invocation would best run. A hint: the dispatcher may ignore it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// No preference.
    #[default]
    Anywhere,
    /// Beside this cache of the functions' state, by its number.
    Cache(u16),
}

/// One event for one function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Names it in logs, errors and records.
    pub request_id: RequestId,
    /// The function that the caller named.
    pub target: FunctionRef,
    /// The only revision of it that may run the event; `None` for whichever it is now.
    pub revision: Option<RevisionId>,
    /// The event: a JSON document, unless `encoding` says otherwise. Empty means that the caller sent none.
    pub payload: Bytes,
    /// How the event is written. What is not JSON comes from another function or from Squall's own clients.
    pub encoding: Encoding,
    /// The decoded JSON of `X-Amz-Client-Context`.
    pub client_context: Option<Bytes>,
    /// `X-Amzn-Trace-Id`, as received or made.
    pub trace_id: Option<String>,
    /// Whether the caller wants the end of the log with the answer.
    pub log_tail: bool,
    /// Where it would best run.
    pub placement: Placement,
    /// The state session that it runs in.
    pub session: SessionSeed,
}

impl Invocation {
    /// An invocation of `target` with `payload`, a new request id and no wishes.
    pub fn new(target: FunctionRef, payload: Bytes) -> Self {
        Self {
            request_id: RequestId::random(),
            target,
            revision: None,
            payload,
            encoding: Encoding::Json,
            client_context: None,
            trace_id: None,
            log_tail: false,
            placement: Placement::Anywhere,
            session: SessionSeed::default(),
        }
    }
}

/// The function's own fault: it raised, exited, ran out of time, or answered too much.
/// The platform did its part, so a caller gets HTTP 200 with `X-Amz-Function-Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// The JSON body for the caller: `errorType`, `errorMessage`, and what else the runtime posted.
    pub body: Bytes,
}

impl FunctionError {
    /// An error of the platform's own making, with Lambda's two fields.
    pub fn new(error_type: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errorType": error_type, "errorMessage": message });
        Self {
            body: body.to_string().into(),
        }
    }
}

/// What one invocation used, as the REPORT line says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// From the event's arrival at the instance to its answer.
    pub duration: Duration,
    /// The instance's start, where this invocation caused one.
    pub init_duration: Option<Duration>,
    /// The most resident memory that the instance has had, in bytes; 0 when it is not known.
    pub memory_bytes_max: u64,
}

impl Usage {
    /// The duration rounded up to whole milliseconds, as Lambda bills it.
    pub fn billed(&self) -> Duration {
        let nanos = self.duration.as_nanos();
        Duration::from_millis(
            u64::try_from(nanos.div_ceil(1_000_000))
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }
}

/// An invocation that reached an instance and ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The version that ran: an alias may choose between two.
    pub executed_version: Version,
    /// The function's answer, or its fault.
    pub result: Result<Bytes, FunctionError>,
    /// How the answer is written; a fault is JSON always.
    pub encoding: Encoding,
    /// The session's context for whoever goes on with it, where the invocation asked for that.
    pub session: Option<Bytes>,
    /// The last 4 KiB of the log, where the caller asked for it.
    pub log_tail: Option<Bytes>,
    /// What it cost.
    pub usage: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bills_whole_milliseconds_and_at_least_one() {
        let billed = |micros| {
            Usage {
                duration: Duration::from_micros(micros),
                ..Usage::default()
            }
            .billed()
            .as_millis()
        };
        assert_eq!([billed(0), billed(1), billed(1000), billed(1001)], [1, 1, 1, 2]);
    }

    #[test]
    fn an_error_is_json_whatever_its_message_holds() {
        let error = FunctionError::new("Runtime.ExitError", "said \"no\"\n\\ and left\u{1}");
        let parsed: serde_json::Value = serde_json::from_slice(&error.body).expect("valid JSON");
        assert_eq!(parsed["errorMessage"], "said \"no\"\n\\ and left\u{1}");
    }
}
