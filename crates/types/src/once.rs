//! Calls that are made at most once for a key of the caller's choice, however often the caller repeats them.
//!
//! The gateway asks; the dispatcher answers.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use crate::{Invocation, InvokeError, Outcome, RequestId};

/// The most bytes of a key.
const KEY_BYTES_MAX: usize = 255;

/// A caller's name for one call of one function: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Not an [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {KEY_BYTES_MAX} visible ASCII characters")]
pub struct NoIdempotencyKey;

impl IdempotencyKey {
    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = NoIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, NoIdempotencyKey> {
        let is_key =
            (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_key.then(|| Self(text.to_owned())).ok_or(NoIdempotencyKey)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the first call with a key came to, for its own caller and for all who repeat it.
#[derive(Debug, Clone)]
pub struct First<T> {
    /// The first call's id: logs and results are found by it.
    pub request_id: RequestId,
    /// Whether this answer is to a repeat, which ran nothing.
    pub is_repeat: bool,
    /// What it came to.
    pub answer: T,
}

/// Why a call with a key has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OnceError {
    /// The key stands for another call: another payload, qualifier, context or kind of invocation.
    #[error("the idempotency key stands for another call of this function")]
    KeyReused,
    /// Nothing is kept under the key then, and the call may be made again with it.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
}

/// Runs an event once for each key of a function.
///
/// What a call came to is kept for a time, durably, before its caller has it; a function's own fault is kept too.
/// A server that is killed while the function runs has kept nothing: a repeat runs it again.
#[async_trait]
pub trait InvokeOnce: Send + Sync + 'static {
    /// As [`Invoke::invoke`](crate::Invoke::invoke). Who repeats a call that runs waits for what it comes to.
    ///
    /// # Errors
    /// [`OnceError`].
    async fn invoke_once(
        &self,
        key: &IdempotencyKey,
        invocation: Invocation,
    ) -> Result<First<Outcome>, OnceError>;

    /// As [`Invoke::accept`](crate::Invoke::accept).
    ///
    /// # Errors
    /// [`OnceError`].
    async fn accept_once(&self, key: &IdempotencyKey, invocation: Invocation)
    -> Result<First<()>, OnceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_and_not_too_long() {
        for (text, is_key) in [
            ("order-17", true),
            ("", false),
            ("two words", false),
            ("ü", false),
            (&"k".repeat(255), true),
            (&"k".repeat(256), false),
        ] {
            assert_eq!(text.parse::<IdempotencyKey>().is_ok(), is_key, "{text}");
        }
    }
}
