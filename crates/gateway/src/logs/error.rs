//! CloudWatch Logs' refusals: a name in `__type`, and a text. Source: botocore's service model.

use http::{Response, StatusCode};
use serde_json::json;
use squall_store::StoreError;

use super::pattern::PatternError;
use crate::error::ApiError;
use crate::reply::Body;

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(super) struct LogsError {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl LogsError {
    pub(super) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    pub(super) fn missing(member: &str) -> Self {
        Self::invalid(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    }

    pub(super) fn no_group() -> Self {
        Self::new(
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        )
    }

    pub(super) fn no_stream() -> Self {
        Self::new(
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        )
    }

    pub(super) fn serialization(why: &serde_json::Error) -> Self {
        Self::new(
            "SerializationException",
            format!("The request could not be read: {why}."),
        )
    }

    pub(super) fn not_implemented(action: &str) -> Self {
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            ..Self::new(
                "NotImplementedException",
                format!("{action} is not implemented by Squall"),
            )
        }
    }

    pub(super) fn unknown(action: &str) -> Self {
        Self::new(
            "UnknownOperationException",
            format!("CloudWatch Logs has no operation `{action}`"),
        )
    }

    pub(super) fn response(&self) -> Response<Body> {
        super::answer(
            self.status,
            &json!({ "__type": self.name, "message": self.message }),
        )
    }
}

impl From<PatternError> for LogsError {
    fn from(error: PatternError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for LogsError {
    fn from(error: StoreError) -> Self {
        ApiError::platform(error).into()
    }
}

impl From<ApiError> for LogsError {
    /// What the front door refuses has the same names in every service.
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status(),
            ..Self::new(error.name(), error.message())
        }
    }
}
