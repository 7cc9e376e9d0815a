//! Refusals in Lambda's form: a status, a name in `x-amzn-ErrorType`, and a body whose casing is part of the contract.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use squall_events::mapping::MappingError;
use squall_registry::RegistryError;
use squall_types::{InvokeError, NameError, OnceError};

use crate::body::BodyError;
use crate::reply::{self, Body};
use crate::sigv4::SignatureError;

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    name: &'static str,
    message: String,
    reason: Option<&'static str>,
    retry_after: Option<Duration>,
}

/// The exceptions whose body says `message`; all others say `Message`. Source: botocore's service model.
const LOWER_CASE_MESSAGE: &[&str] = &[
    "CodeStorageExceededException",
    "InvalidParameterValueException",
    "InvalidRequestContentException",
    "PolicyLengthExceededException",
    "PreconditionFailedException",
    "ProvisionedConcurrencyConfigNotFoundException",
    "RequestTooLargeException",
    "ResourceConflictException",
    "ResourceNotReadyException",
    "SerializedRequestEntityTooLargeException",
    "TooManyRequestsException",
    "UnsupportedMediaTypeException",
    // Not in the model, but sent by the service's front door in this form.
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "UnrecognizedClientException",
    "ValidationException",
];

/// Names whose body has no `Type`.
const WITHOUT_TYPE: &[&str] = &["ValidationException"];

impl ApiError {
    pub(crate) fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
            reason: None,
            retry_after: None,
        }
    }

    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// A bound was reached; the call may be tried again.
    pub(crate) fn throttled(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message)
        }
    }

    /// Our own fault: the details are for the log, where this writes them, once.
    pub(crate) fn platform(details: impl std::fmt::Display) -> Self {
        tracing::error!(%details, "could not answer a request");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceException",
            "The server could not do this; its log says why. The call may be tried again.",
        )
    }

    /// For services that write errors in a form of their own.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// As above.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// As above.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Where no signature came: what a function URL says instead of what the API says.
    pub(crate) fn unsigned_is_forbidden(self) -> Self {
        match self.name {
            "MissingAuthenticationTokenException" => {
                Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", "Forbidden")
            }
            _ => self,
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let key = if LOWER_CASE_MESSAGE.contains(&self.name) {
            "message"
        } else {
            "Message"
        };
        let mut body = json!({ key: self.message });
        if !WITHOUT_TYPE.contains(&self.name) {
            let fault = if self.status.is_server_error() {
                "Server"
            } else {
                "User"
            };
            body["Type"] = Value::from(fault);
        }
        if let Some(reason) = self.reason {
            body["Reason"] = Value::from(reason);
        }
        let mut response = reply::json(self.status, &body);
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.name));
        if let Some(retry_after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(retry_after.as_secs().max(1)),
            );
        }
        response
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        let (status, name) = match error {
            SignatureError::Missing => (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException"),
            SignatureError::Incomplete(_) => (StatusCode::BAD_REQUEST, "IncompleteSignatureException"),
            SignatureError::UnknownKey => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
            SignatureError::Invalid(_) | SignatureError::Mismatch => {
                (StatusCode::FORBIDDEN, "InvalidSignatureException")
            }
        };
        Self::new(status, name, error.to_string())
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        let text = error.to_string();
        match error {
            RegistryError::NotFound(_) => Self::not_found(text),
            RegistryError::Conflict(_) => Self::new(StatusCode::CONFLICT, "ResourceConflictException", text),
            RegistryError::InvalidParameter(_) => Self::invalid_parameter(text),
            RegistryError::Validation(_) => Self::validation(text),
            RegistryError::PolicyTooLong(_) => {
                Self::new(StatusCode::BAD_REQUEST, "PolicyLengthExceededException", text)
            }
            RegistryError::PreconditionFailed => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailedException",
                text,
            ),
            RegistryError::InvalidZip(_) => Self::invalid_parameter(text),
            RegistryError::TooLarge(_) => {
                let unzipped = text.starts_with("Unzipped");
                if unzipped {
                    Self::invalid_parameter(text)
                } else {
                    Self::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "RequestEntityTooLargeException",
                        text,
                    )
                }
            }
            RegistryError::Platform(details) => Self::platform(details),
        }
    }
}

impl From<MappingError> for ApiError {
    fn from(error: MappingError) -> Self {
        let text = error.to_string();
        match error {
            MappingError::InvalidParameter(_) => Self::invalid_parameter(text),
            MappingError::Conflict(_) => Self::new(StatusCode::CONFLICT, "ResourceConflictException", text),
            MappingError::NotFound => Self::not_found(text),
            MappingError::Store(details) => Self::platform(details),
        }
    }
}

impl From<InvokeError> for ApiError {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::NotFound(arn) => Self::not_found(format!("Function not found: {arn}")),
            InvokeError::Changed(_) => Self::new(
                StatusCode::CONFLICT,
                "ResourceConflictException",
                error.to_string(),
            ),
            InvokeError::NotReady { state, reason } => Self::new(
                StatusCode::CONFLICT,
                "ResourceConflictException",
                format!(
                    "The operation cannot be performed at this time. \
                     The function is currently in the following state: {state} ({reason})"
                ),
            ),
            InvokeError::Throttled { reason, retry_after } => Self {
                reason: Some(reason.as_str()),
                retry_after: Some(retry_after),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequestsException",
                    "Rate Exceeded.",
                )
            },
            InvokeError::PayloadTooLarge { bytes, bytes_max } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                format!("{bytes} byte payload is too large for the invocation (limit {bytes_max} bytes)"),
            ),
            InvokeError::Preparing { .. } => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "ServiceException",
                    format!("{error}. The call may be tried again."),
                )
            },
            InvokeError::ShuttingDown => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceException",
                    "The server is shutting down.",
                )
            },
            InvokeError::Platform(details) => Self::platform(details),
        }
    }
}

impl From<OnceError> for ApiError {
    fn from(error: OnceError) -> Self {
        match error {
            // Among the errors that Invoke has in Lambda's model, the one that nobody retries.
            OnceError::KeyReused => Self::invalid_parameter(
                "The idempotency key was used for another call of this function: \
                 with another payload, qualifier, client context or invocation type.",
            ),
            OnceError::Invoke(error) => error.into(),
        }
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::QualifierMismatch => Self::invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ),
            NameError::Function(value) | NameError::Arn(value) => Self::validation(format!(
                "1 validation error detected: Value '{value}' at 'functionName' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?\
                 ([a-z]{{2}}(-gov)?-[a-z]+-\\d{{1}}:)?(\\d{{12}}:)?(function:)?([a-zA-Z0-9-_]+)\
                 (:(\\$LATEST|[a-zA-Z0-9-_]+))? and the name have length less than or equal to 64"
            )),
            NameError::Qualifier(value) => Self::validation(format!(
                "1 validation error detected: Value '{value}' at 'qualifier' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)"
            )),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
                "The request is too large",
            ),
            BodyError::NoRoom => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceException",
                    "Too many large requests at once; try again.",
                )
            },
            BodyError::Broken(how) => Self::new(
                StatusCode::BAD_REQUEST,
                "SerializationException",
                format!("The body was cut short: {how}"),
            ),
        }
    }
}
