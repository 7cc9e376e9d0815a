//! How state is named: buckets, keys, caches, runs. Everything here is checked when it is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::StateError;

/// The longest bucket name, in characters: as long as a function's, since a function has a bucket of its name.
const BUCKET_NAME_CHARS_MAX: usize = 64;
/// The most bytes of a key: what a store's key holds beside the bucket.
pub const KEY_BYTES_MAX: usize = 1000;

/// The name of a bucket: 1 to 64 of `[a-zA-Z0-9-_.]`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        let fits = !text.is_empty() && text.len() <= BUCKET_NAME_CHARS_MAX;
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if fits && text.bytes().all(named) {
            Ok(Self(text.into()))
        } else {
            Err(StateError::Invalid(format!(
                "`{text}` is not a bucket name: use 1 to {BUCKET_NAME_CHARS_MAX} of letters, digits, `-`, `_` and `.`"
            )))
        }
    }
}

impl TryFrom<String> for BucketName {
    type Error = StateError;
    fn try_from(text: String) -> Result<Self, StateError> {
        text.parse()
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> String {
        name.as_str().to_owned()
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key in a bucket: 1 to [`KEY_BYTES_MAX`] bytes. Keys of a bucket are ordered bytewise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Where it is.
    pub bucket: BucketName,
    /// Its name there.
    pub key: Bytes,
}

impl Key {
    /// # Errors
    /// [`StateError::Invalid`] when the key is empty or too long.
    pub fn new(bucket: BucketName, key: impl Into<Bytes>) -> Result<Self, StateError> {
        let key = key.into();
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StateError::Invalid(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, and this one has {}",
                key.len()
            )));
        }
        Ok(Self { bucket, key })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key.escape_ascii())
    }
}

/// Which cache of this node: one for each group of executors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheId(pub u16);

/// One invocation or one run of a DAG: what its sessions have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub(crate) u128);

impl RunId {
    /// One that nobody had before.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u128())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", uuid::Uuid::from_u128(self.0))
    }
}
