//! What a register holds: bytes that state does not look into, and how they were encoded.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a value's bytes are to be read. State keeps it and does not interpret it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8 JSON.
    Json,
    /// Bytes as they are.
    #[default]
    Bytes,
    /// Python's pickle.
    Pickle,
    /// A numpy array: dtype and shape, then the elements.
    Ndarray,
}

impl Encoding {
    /// The word for it on every surface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bytes => "bytes",
            Self::Pickle => "pickle",
            Self::Ndarray => "ndarray",
        }
    }

    /// The encoding that a word names.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Bytes, Self::Pickle, Self::Ndarray]
            .into_iter()
            .find(|encoding| encoding.as_str() == text)
    }
}

/// A value. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value {
    /// The bytes.
    pub bytes: Bytes,
    /// How to read them.
    pub encoding: Encoding,
}

impl Value {
    /// A value of bytes as they are.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            encoding: Encoding::Bytes,
        }
    }

    /// A value of JSON text.
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self {
            bytes: text.into(),
            encoding: Encoding::Json,
        }
    }
}
