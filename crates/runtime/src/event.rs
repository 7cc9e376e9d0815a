//! What goes into an instance, and what comes out.

use std::time::SystemTime;

use bytes::Bytes;
use squall_types::{FunctionError, RequestId};

/// One event as an instance sees it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Names the invocation.
    pub request_id: RequestId,
    /// The JSON document; never empty (`{}` where the caller sent nothing is the gateway's business).
    pub payload: Bytes,
    /// When the platform will kill the instance. Functions read it as their remaining time.
    pub deadline: SystemTime,
    /// The ARN as the caller named the function, with the qualifier that it used.
    pub invoked_function_arn: String,
    /// `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
    /// Decoded client context, JSON.
    pub client_context: Option<Bytes>,
}

/// An event that ran to its end inside the instance, which lives on.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The handler's answer, or the error that it raised.
    pub result: Result<Bytes, FunctionError>,
    /// The most resident memory that the instance has had, in bytes; 0 when it is not known.
    pub memory_bytes_max: u64,
}
