//! EventBridge's own refusals. Source: botocore's service model.

use http::StatusCode;
use squall_events::bus::BusError;

use crate::awsjson::JsonError;

impl JsonError {
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }
}

impl From<BusError> for JsonError {
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
                return Self::new(
                    "InternalException",
                    "The server could not do this; its log says why. The call may be tried again.",
                )
                .with_status(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        Self::new(name, error.to_string())
    }
}
