//! The one verb. Gateway, workflows and event sources call it; the dispatcher implements it, and later a peer does.

use std::time::Duration;

use async_trait::async_trait;
use http::Request;

use crate::{Body, FunctionRef, Invocation, Outcome, RevisionId, Streamed};

/// Runs events in instances of their functions.
#[async_trait]
pub trait Invoke: Send + Sync + 'static {
    /// Runs the event and waits for its outcome.
    ///
    /// Dropping the future does not stop the invocation: only its deadline does.
    ///
    /// # Errors
    /// The platform's refusals and faults. A function's own fault is an [`Outcome`].
    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, InvokeError>;

    /// Runs the event, and gives the answer as it comes where the function can. With a `request` the event is that HTTP
    /// request instead of the invocation's payload: only for functions that [`take`](Self::takes_http) such.
    ///
    /// Dropping the future, or what it gives, does not stop the invocation: only its deadline does.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke), as far as they are known before the answer begins.
    async fn stream(
        &self,
        invocation: Invocation,
        request: Option<Request<Body>>,
    ) -> Result<Streamed, InvokeError> {
        match request {
            None => self.invoke(invocation).await.map(Streamed::Whole),
            Some(_) => Err(InvokeError::Platform(format!(
                "`{}` takes no HTTP requests",
                invocation.target
            ))),
        }
    }

    /// Whether the function takes HTTP requests as they are; others take events.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke).
    async fn takes_http(&self, _target: &FunctionRef) -> Result<bool, InvokeError> {
        Ok(false)
    }

    /// Takes the event to run later. When this returns `Ok`, the event survives power loss and runs at least once.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke); nothing was taken then.
    async fn accept(&self, invocation: Invocation) -> Result<(), InvokeError>;

    /// What an invocation would run now. Runs nothing.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke).
    async fn resolve(&self, target: &FunctionRef) -> Result<Resolution, InvokeError>;

    /// Says whether the function could be invoked, and runs nothing.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke).
    async fn dry_run(&self, target: &FunctionRef) -> Result<(), InvokeError> {
        self.resolve(target).await.map(|_| ())
    }
}

/// What a function is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// The revision that runs: another one after each change that instances see.
    pub revision: RevisionId,
    /// The most of its invocations that run at once, where it has a limit of its own; 0 stops it.
    pub reserved_concurrency: Option<u32>,
}

/// Which limit a throttled call met. The names are those of Lambda's `Reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleReason {
    /// The whole installation runs as many invocations as it may.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// The function's queue of waiting calls, or of accepted events, is full.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// The value of `Reason` in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
        }
    }
}

/// Why an event did not reach an instance.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// No such function, version or alias. Holds the ARN that was looked for.
    #[error("function not found: {0}")]
    NotFound(String),
    /// The function exists but cannot run now, because of its state (`Pending`, `Failed`).
    #[error("the function is in the state {state}: {reason}")]
    NotReady {
        /// Lambda's `State`.
        state: String,
        /// Lambda's `StateReason`, for a person.
        reason: String,
    },
    /// The function has another revision than the only one that may run the event.
    #[error("`{0}` was changed meanwhile")]
    Changed(String),
    /// A limit was met; the call may be tried again.
    #[error("throttled: {}", reason.as_str())]
    Throttled {
        /// Which limit.
        reason: ThrottleReason,
        /// When to try again.
        retry_after: Duration,
    },
    /// The payload is larger than this kind of invocation may carry.
    #[error("the payload has {bytes} bytes, more than the {bytes_max} that are allowed")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The platform makes the code of an active function ready again, and had not done so in the time that a start may
    /// take. Another try finds it further.
    #[error("`{function}` cannot start yet: {why}")]
    Preparing {
        /// The name of the function, and its version.
        function: String,
        /// What is being done, behind the function's name.
        why: &'static str,
    },
    /// The server is draining; another try finds it restarted.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The platform's own fault; the log has the details.
    #[error("{0}")]
    Platform(String),
}

impl InvokeError {
    /// Whether the same call may succeed later, without anybody changing the function.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Preparing { .. }
            | Self::ShuttingDown
            | Self::Platform(_)
            | Self::NotReady { .. } => true,
            Self::NotFound(_) | Self::Changed(_) | Self::PayloadTooLarge { .. } => false,
        }
    }
}
