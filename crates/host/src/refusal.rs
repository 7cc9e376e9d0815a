//! State's errors in the words of a host.

use squall_runtime::HostError;
use squall_state::StateError;

/// What a function is told. Damage and a failing store are the platform's fault: the details are for its log.
pub fn refusal(error: StateError) -> HostError {
    let (kind, is_retryable) = (error.name(), error.is_retryable());
    let message = match &error {
        StateError::Corrupt(_) | StateError::Store(_) => {
            tracing::error!(%error, "state failed a function");
            "the state of this server could not be read or written; its log says why".to_owned()
        }
        _ => error.to_string(),
    };
    HostError {
        kind,
        message,
        is_retryable,
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> HostError {
    HostError {
        kind: "InvalidRequest",
        message: message.into(),
        is_retryable: false,
    }
}
