//! SQS's refusals: the name that JSON clients know, and the code that Query clients knew before, which every client
//! still shows. Source: botocore's service models of both protocols.

use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use squall_events::queue::QueueError;

use super::query;
use crate::error::ApiError;
use crate::reply::Body;

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(super) struct SqsError {
    status: StatusCode,
    name: &'static str,
    message: String,
}

/// Names whose code in the Query protocol is another.
const CODES: [(&str, &str); 14] = [
    ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
    ("QueueNameExists", "QueueAlreadyExists"),
    ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
    (
        "TooManyEntriesInBatchRequest",
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    ),
    (
        "BatchEntryIdsNotDistinct",
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    ),
    (
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
    ),
    (
        "InvalidBatchEntryId",
        "AWS.SimpleQueueService.InvalidBatchEntryId",
    ),
    ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
    (
        "PurgeQueueInProgress",
        "AWS.SimpleQueueService.PurgeQueueInProgress",
    ),
    (
        "UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
    ),
    (
        "QueueDeletedRecently",
        "AWS.SimpleQueueService.QueueDeletedRecently",
    ),
    ("InvalidAttributeName", "InvalidAttributeName"),
    ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
    ("OverLimit", "OverLimit"),
];

impl SqsError {
    pub(super) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            name,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}."),
        )
    }

    pub(super) fn serialization(why: &str) -> Self {
        Self::new(
            "SerializationException",
            format!("The request could not be read: {why}."),
        )
    }

    pub(super) fn unsupported(message: &str) -> Self {
        Self::new("UnsupportedOperation", message)
    }

    pub(super) fn invalid_action(action: &str) -> Self {
        Self::new(
            "InvalidAction",
            format!("The action {action} is not valid for this endpoint."),
        )
    }

    fn code(&self) -> &'static str {
        let other = CODES.iter().find(|(name, _)| *name == self.name);
        other.map_or(self.name, |(_, code)| *code)
    }

    fn fault(&self) -> &'static str {
        if self.status.is_server_error() {
            "Receiver"
        } else {
            "Sender"
        }
    }

    /// In a batch's answer.
    pub(super) fn entry(&self, id: &str) -> Value {
        json!({
            "Id": id,
            "SenderFault": !self.status.is_server_error(),
            "Code": self.code(),
            "Message": self.message,
        })
    }

    pub(super) fn json_response(&self) -> Response<Body> {
        let kind = format!("com.amazonaws.sqs#{}", self.name);
        let mut response =
            super::json_answer(self.status, &json!({ "__type": kind, "message": self.message }));
        let both = format!("{};{}", self.code(), self.fault());
        let headers = response.headers_mut();
        headers.insert(
            "x-amzn-query-error",
            HeaderValue::from_str(&both).expect("codes are letters and dots"),
        );
        response
    }

    pub(super) fn xml(&self, request_id: &str) -> (StatusCode, String) {
        let text = query::refusal(self.fault(), self.code(), &self.message, request_id);
        (self.status, text)
    }
}

impl From<QueueError> for SqsError {
    fn from(error: QueueError) -> Self {
        let name = match &error {
            QueueError::NoSuchQueue => "QueueDoesNotExist",
            QueueError::NameExists(_) => "QueueNameExists",
            QueueError::UnknownAttribute(_) => "InvalidAttributeName",
            QueueError::InvalidAttribute(_) => "InvalidAttributeValue",
            QueueError::InvalidName(_) | QueueError::InvalidParameter(_) | QueueError::TooLarge(_) => {
                "InvalidParameterValue"
            }
            QueueError::ExpiredReceipt(_) => "InvalidParameterValue",
            QueueError::Missing(_) => "MissingParameter",
            QueueError::InvalidContents(_) => "InvalidMessageContents",
            QueueError::InvalidReceipt(_) => "ReceiptHandleIsInvalid",
            QueueError::NotInFlight => "MessageNotInflight",
            QueueError::OverLimit(_) => "OverLimit",
            QueueError::PurgeInProgress(_) => "PurgeQueueInProgress",
            QueueError::NotFound(_) => "ResourceNotFoundException",
            QueueError::Unsupported(_) => "UnsupportedOperation",
            QueueError::Store(details) => {
                tracing::error!(%details, "could not answer a request");
                return Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    name: "InternalFailure",
                    message: "The server could not do this; its log says why. The call may be tried again."
                        .to_owned(),
                };
            }
        };
        Self::new(name, error.to_string())
    }
}

impl From<ApiError> for SqsError {
    /// What the front door refuses has the same names in every service.
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status(),
            name: error.name(),
            message: error.message().to_owned(),
        }
    }
}
