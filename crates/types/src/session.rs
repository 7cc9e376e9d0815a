//! What an invocation carries beside its event: how values are written, and the state session that it runs in.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a value is written: an event, an answer, a value in the functions' state. The platform looks into none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A JSON document: what every client and every runtime can read.
    #[default]
    Json,
    /// Bytes that mean what their owner says.
    Bytes,
    /// Python's pickle: read by Python alone.
    Pickle,
    /// A numpy array: a line of JSON (`dtype`, `shape`), padding up to 64 bytes, then its elements in C order.
    Ndarray,
}

/// The text names no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no encoding; there are json, bytes, pickle and ndarray")]
pub struct NoEncoding(pub String);

impl Encoding {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Json, Self::Bytes, Self::Pickle, Self::Ndarray];

    /// Its name in headers and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bytes => "bytes",
            Self::Pickle => "pickle",
            Self::Ndarray => "ndarray",
        }
    }

    /// The number that stands for it in records and frames. Never given to another.
    pub fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Bytes => 1,
            Self::Pickle => 2,
            Self::Ndarray => 3,
        }
    }

    /// The encoding of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Encoding {
    type Err = NoEncoding;

    fn from_str(text: &str) -> Result<Self, NoEncoding> {
        let found = Self::ALL.into_iter().find(|encoding| encoding.as_str() == text);
        found.ok_or_else(|| NoEncoding(text.to_owned()))
    }
}

/// The state session that an invocation starts with. By default it has one of its own, which ends with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSeed {
    /// The level of consistency, by name; `None` leaves it to the function.
    pub level: Option<String>,
    /// Names the transaction: two attempts of the same one take effect once. `None` is the request id.
    pub transaction: Option<Uuid>,
    /// What the functions before this one left, one for each; opaque to all but `state`.
    pub travelling: Vec<Bytes>,
    /// Others go on with the session: nothing is committed, and what they need comes back in `Outcome::session`.
    pub goes_on: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_found_by_its_name_and_by_its_code() {
        for encoding in Encoding::ALL {
            assert_eq!(encoding.as_str().parse(), Ok(encoding));
            assert_eq!(Encoding::from_code(encoding.code()), Some(encoding));
        }
        assert_eq!(Encoding::from_code(4), None);
        assert_eq!("xml".parse::<Encoding>(), Err(NoEncoding("xml".to_owned())));
    }
}
