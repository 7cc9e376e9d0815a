//! How consistent a session is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::StateError;

/// What a session's reads and writes promise. The weaker cost less; papers and differences are in `docs/state.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Each key by itself: the last writer wins, and a read may be as stale as caches are.
    #[default]
    Lww,
    /// A run reads of a key what it has read or written of it before.
    RepeatableRead,
    /// No concurrent write of a key is lost: those that had not seen each other stay side by side.
    SingleKeyCausal,
    /// What one function reads is a causal cut: with a value, everything that it was made from.
    MultiKeyCausal,
    /// What a whole run reads is a causal cut, whichever caches it goes through.
    Causal,
    /// A run's writes become visible together at its end or never; it reads of another's all or nothing.
    Atomic,
}

impl Level {
    const ALL: [Self; 6] = [
        Self::Lww,
        Self::RepeatableRead,
        Self::SingleKeyCausal,
        Self::MultiKeyCausal,
        Self::Causal,
        Self::Atomic,
    ];

    /// The word for it on every surface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lww => "lww",
            Self::RepeatableRead => "repeatable-read",
            Self::SingleKeyCausal => "single-key-causal",
            Self::MultiKeyCausal => "multi-key-causal",
            Self::Causal => "causal",
            Self::Atomic => "atomic",
        }
    }

    /// Whether a run at this level may look into the past, so that it must be known that it is under way.
    pub(crate) fn looks_back(self) -> bool {
        !matches!(self, Self::Lww | Self::SingleKeyCausal)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join("`, `");
            StateError::Invalid(format!(
                "`{text}` is not a level of consistency: use one of `{all}`"
            ))
        })
    }
}
