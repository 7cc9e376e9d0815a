//! EventBridge's refusals: a name in `__type`, and a text. Source: botocore's service model.

use http::{Response, StatusCode};
use serde_json::json;
use squall_events::bus::BusError;

use crate::error::ApiError;
use crate::reply::Body;

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(super) struct EventsError {
    status: StatusCode,
    pub(super) name: &'static str,
    pub(super) message: String,
}

impl EventsError {
    pub(super) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name,
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
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
            format!("EventBridge has no operation `{action}`"),
        )
    }

    pub(super) fn response(&self) -> Response<Body> {
        super::answer(
            self.status,
            &json!({ "__type": self.name, "message": self.message }),
        )
    }
}

impl From<BusError> for EventsError {
    fn from(error: BusError) -> Self {
        let name = match &error {
            BusError::NotFound(_) => "ResourceNotFoundException",
            BusError::Exists(_) => "ResourceAlreadyExistsException",
            BusError::Pattern(_) => "InvalidEventPatternException",
            BusError::Invalid(_) => "ValidationException",
            BusError::LimitExceeded(_) => "LimitExceededException",
            BusError::Full => "ThrottlingException",
            BusError::Store(details) => {
                tracing::error!(%details, "could not answer a request");
                return Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    ..Self::new(
                        "InternalException",
                        "The server could not do this; its log says why. The call may be tried again.",
                    )
                };
            }
        };
        Self::new(name, error.to_string())
    }
}

impl From<ApiError> for EventsError {
    /// What the front door refuses has the same names in every service.
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status(),
            ..Self::new(error.name(), error.message())
        }
    }
}
