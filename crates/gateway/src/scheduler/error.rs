//! Scheduler's refusals: a status, a name in `x-amzn-ErrorType`, a text in `Message`. Source: botocore's service model.

use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;
use squall_events::schedule::ScheduleError;

use crate::error::ApiError;
use crate::reply::{self, Body};

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(super) struct SchedulerError {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl SchedulerError {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    pub(super) fn quota(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "ServiceQuotaExceededException",
            message,
        )
    }

    pub(super) fn unknown(method: &Method, path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("no operation answers {method} /{path}"),
        )
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut response = reply::json(self.status, &json!({ "Message": self.message }));
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.name));
        response
    }
}

impl From<ScheduleError> for SchedulerError {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NotFound(_) => Self::not_found(error.to_string()),
            ScheduleError::Conflict(text) => Self::new(StatusCode::CONFLICT, "ConflictException", text),
            ScheduleError::Invalid(text) => Self::validation(text),
            ScheduleError::QuotaExceeded(text) => Self::quota(text),
            ScheduleError::Store(details) => {
                tracing::error!(%details, "could not answer a request");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalServerException",
                    "The server could not do this; its log says why. The call may be tried again.",
                )
            }
        }
    }
}

impl From<ApiError> for SchedulerError {
    /// What the front door refuses has the same names in every service.
    fn from(error: ApiError) -> Self {
        Self::new(error.status(), error.name(), error.message())
    }
}
