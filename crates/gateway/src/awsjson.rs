//! The JSON protocol as EventBridge and CloudWatch Logs speak it: the operation in `X-Amz-Target`, JSON in and out, and
//! refusals with a name in `__type`. SQS's dialect is its own.

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squall_types::RequestId;

use crate::error::ApiError;
use crate::reply::{self, Body};

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(crate) struct JsonError {
    status: StatusCode,
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

impl JsonError {
    pub(crate) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name,
            message: message.into(),
        }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn serialization(why: &serde_json::Error) -> Self {
        let message = format!("The request could not be read: {why}.");
        Self::new("SerializationException", message)
    }

    pub(crate) fn not_implemented(operation: &str) -> Self {
        let message = format!("{operation} is not implemented by Squall");
        Self::new("NotImplementedException", message).with_status(StatusCode::NOT_IMPLEMENTED)
    }

    pub(crate) fn unknown(service: &str, operation: &str) -> Self {
        let message = format!("{service} has no operation `{operation}`");
        Self::new("UnknownOperationException", message)
    }
}

impl From<ApiError> for JsonError {
    /// What the front door refuses has the same names in every service.
    fn from(error: ApiError) -> Self {
        Self::new(error.name(), error.message()).with_status(error.status())
    }
}

/// The operation that a request names, for a service whose names begin with `prefix` there.
pub(crate) fn operation<'a>(head: &'a Parts, prefix: &str) -> &'a str {
    let target = head.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
    target.strip_prefix(prefix).unwrap_or(target)
}

/// What an operation is given; nothing is `{}`.
pub(crate) fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|why| JsonError::serialization(&why))
}

/// Writes what came of a request.
pub(crate) fn answer(result: Result<Value, JsonError>, request_id: RequestId) -> Response<Body> {
    let (status, text) = match result {
        // Operations without an output answer with nothing.
        Ok(Value::Null) => (StatusCode::OK, String::new()),
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(error) => {
            let document = json!({ "__type": error.name, "message": error.message });
            (error.status, document.to_string())
        }
    };
    let mut response = reply::plain(status, text);
    let media_type = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    reply::name_request(&mut response, request_id);
    response
}

/// Adds the members that are there.
pub(crate) fn with_some(mut shape: Value, members: &[(&str, Option<Value>)]) -> Value {
    for (name, value) in members {
        if let Some(value) = value {
            shape[name] = value.clone();
        }
    }
    shape
}
