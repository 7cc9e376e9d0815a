//! Events and answers that travel in pieces: HTTP requests as they are, and responses while they are being made.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;

use crate::{InvokeError, Outcome, Version};

/// Why a body ended before its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body in pieces. It is pulled: who does not read it makes who writes it wait.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What came of an invocation whose answer may come in pieces.
#[derive(Debug)]
pub enum Streamed {
    /// It ended, and its whole answer is here: the function does not stream, or failed before it began to answer.
    Whole(Outcome),
    /// The function has begun to answer.
    Begun(Begun),
}

/// An answer that has begun.
pub struct Begun {
    /// The version that runs.
    pub executed_version: Version,
    /// The head, and the body as it comes. Dropping it does not stop the invocation.
    /// The body ends with an error where the function failed, or met its deadline, halfway.
    pub response: Response<Body>,
    /// How the invocation ended, when it has; its result is empty, since the answer went through `response`.
    /// Dropping it does not stop the invocation either.
    pub ended: Ended,
}

/// Waits for the end of an invocation.
pub type Ended = Pin<Box<dyn Future<Output = Result<Outcome, InvokeError>> + Send>>;

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun")
            .field("executed_version", &self.executed_version)
            .field("status", &self.response.status())
            .finish_non_exhaustive()
    }
}
