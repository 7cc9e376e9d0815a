//! What goes into an instance, and what comes out.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use squall_types::{Body, Encoding, FunctionError, RequestId, Version};
use tokio::sync::oneshot;

use crate::Host;

/// One event as an instance sees it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Names the invocation.
    pub request_id: RequestId,
    /// The event; never empty (`{}` where the caller sent nothing is the gateway's business).
    pub payload: Bytes,
    /// How the payload is written.
    pub encoding: Encoding,
    /// When the platform will kill the instance. Functions read it as their remaining time.
    pub deadline: SystemTime,
    /// The ARN as the caller named the function, with the qualifier that it used.
    pub invoked_function_arn: Arc<str>,
    /// `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
    /// Decoded client context, JSON.
    pub client_context: Option<Bytes>,
    /// Answers what the instance asks of the platform while it runs the event; `None` where nothing does.
    pub host: Option<Arc<dyn Host>>,
}

/// An event that ran to its end inside the instance, which lives on.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The handler's answer, or the error that it raised.
    pub result: Result<Bytes, FunctionError>,
    /// How the answer is written; an error is JSON always.
    pub encoding: Encoding,
    /// The most resident memory that the instance has had, in bytes; 0 when it is not known.
    pub memory_bytes_max: u64,
}

/// An event whose answer may come in pieces.
#[derive(Debug)]
pub struct Exchange {
    /// The HTTP request that is the event, for instances that take such; `None` where the event is a payload.
    pub request: Option<Request<Body>>,
    /// Where the answer goes once its head is there. Who never begins answers with the [`Reply`] instead.
    pub responder: Responder,
}

/// The way of one answer to its caller.
#[derive(Debug)]
pub struct Responder {
    version: Version,
    caller: oneshot::Sender<(Version, Response<Body>)>,
}

impl Responder {
    /// A way to whoever holds the other end; the answer is told to come from `version`.
    pub fn new(version: Version, caller: oneshot::Sender<(Version, Response<Body>)>) -> Self {
        Self { version, caller }
    }

    /// Begins the answer: its head is there, its body comes as it is read.
    /// The caller may be gone, and its body is dropped then; the event runs to its end all the same.
    pub fn begin(self, response: Response<Body>) {
        let _ = self.caller.send((self.version, response));
    }
}
