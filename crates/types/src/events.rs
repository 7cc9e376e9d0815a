//! Looking after accepted events: which wait, which were given up and why, and having those run again.
//!
//! The gateway asks; the dispatcher, which keeps them, answers.

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use crate::{FunctionName, InvokeError, RequestId};

/// Where an accepted event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// It waits for an attempt, or runs.
    Waiting,
    /// It ran to its end; its destination or dead-letter queue has not taken it yet.
    Delivering,
    /// It was given up, or what came of it could not be handed over.
    Failed,
}

/// Something that happened to an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventNote {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// For a person.
    pub text: String,
}

/// A destination or dead-letter queue that has not taken the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingTarget {
    /// What it is.
    pub arn: String,
    /// Why it has not; empty before the first try.
    pub error: String,
}

/// All that is known of an accepted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventStatus {
    /// Names it; every attempt carries it.
    pub request_id: RequestId,
    /// Its place in the order of acceptance; names the page behind it.
    #[serde(skip)]
    pub sequence: u64,
    /// The function, with the qualifier that the caller gave.
    pub function: String,
    /// Where it is.
    pub state: EventState,
    /// Milliseconds since 1970.
    pub accepted_ms: i64,
    /// How often the function failed on it.
    pub failures: u8,
    /// When it is tried next; `None` when it is not, or runs now.
    pub due_ms: Option<i64>,
    /// Lambda's condition, once it ended: `Success`, `RetriesExhausted`, `EventAgeExceeded`; here also `FunctionDeleted`.
    pub condition: Option<&'static str>,
    /// Why the newest attempt did not begin: `throttled`, `not ready`, `platform fault`.
    pub refusal: Option<&'static str>,
    /// What happened so far.
    pub notes: Vec<EventNote>,
    /// Who has yet to take it.
    pub targets: Vec<PendingTarget>,
    /// The event itself.
    #[serde(skip)]
    pub payload: Bytes,
}

/// What came of an accepted event, kept for a time after its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventResult {
    /// Names it; every attempt carried it.
    pub request_id: RequestId,
    /// The function, with the qualifier that the caller gave.
    pub function: String,
    /// Milliseconds since 1970.
    pub accepted_ms: i64,
    /// As above.
    pub ended_ms: i64,
    /// How often the function failed on it.
    pub failures: u8,
    /// Lambda's condition, as in [`EventStatus`].
    pub condition: &'static str,
    /// Whether the function answered.
    pub is_success: bool,
    /// The version that ran last, where one did.
    pub executed_version: Option<String>,
    /// What happened to it.
    pub notes: Vec<EventNote>,
    /// Until when this is kept; milliseconds since 1970.
    pub kept_until_ms: i64,
    /// What the function answered last: its answer or its error, where it ran.
    #[serde(skip)]
    pub response: Option<Bytes>,
}

/// A question for events, in the order of their acceptance.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Those that were given up; else those that are on their way.
    pub failed: bool,
    /// Only those of one function.
    pub function: Option<FunctionName>,
    /// Only those behind this place.
    pub after: u64,
    /// The most to return.
    pub limit: usize,
}

/// Who keeps accepted events.
#[async_trait]
pub trait AcceptedEvents: Send + Sync + 'static {
    /// Events, the first accepted first.
    ///
    /// # Errors
    /// [`InvokeError::Platform`].
    async fn list(&self, query: EventQuery) -> Result<Vec<EventStatus>, InvokeError>;

    /// One event that is on its way or was given up. One that ended well is not kept.
    ///
    /// # Errors
    /// [`InvokeError::Platform`].
    async fn find(&self, id: RequestId) -> Result<Option<EventStatus>, InvokeError>;

    /// What came of an event, while that is kept; `None` also for what has not ended.
    ///
    /// # Errors
    /// [`InvokeError::Platform`].
    async fn result(&self, id: RequestId) -> Result<Option<EventResult>, InvokeError>;

    /// Has an event that was given up run again, with all its attempts; where only the handing over failed, has that
    /// tried again. Durable when it returns; `false` when no event of this id was given up.
    ///
    /// # Errors
    /// [`InvokeError::Platform`] and [`InvokeError::Throttled`], when the queue is full.
    async fn redrive(&self, id: RequestId) -> Result<bool, InvokeError>;

    /// Forgets an event that was given up; `false` when there is none.
    ///
    /// # Errors
    /// [`InvokeError::Platform`].
    async fn discard(&self, id: RequestId) -> Result<bool, InvokeError>;
}
