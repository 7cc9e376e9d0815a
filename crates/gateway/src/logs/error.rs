//! CloudWatch Logs' own refusals. Source: botocore's service model.

use squall_store::StoreError;

use super::pattern::PatternError;
use crate::awsjson::JsonError;
use crate::error::ApiError;

impl JsonError {
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
}

impl From<PatternError> for JsonError {
    fn from(error: PatternError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for JsonError {
    fn from(error: StoreError) -> Self {
        ApiError::platform(error).into()
    }
}
