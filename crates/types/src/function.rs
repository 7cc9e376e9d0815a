//! What an instance runs: one revision of one function version.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{FunctionName, Qualifier};

/// A version of a function: the mutable `$LATEST` or a published number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Version {
    /// `$LATEST`.
    Latest,
    /// Published, counted from 1, never reused, immutable in code and configuration.
    Published(u64),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Published(number) => write!(f, "{number}"),
        }
    }
}

impl From<Version> for Qualifier {
    fn from(version: Version) -> Self {
        match version {
            Version::Latest => Self::Latest,
            Version::Published(number) => Self::Version(number),
        }
    }
}

/// Names one revision for as long as the installation lives.
/// Two revisions with the same id are the same code under the same configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionId(pub Uuid);

impl RevisionId {
    /// A new id, never given before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A runtime identifier, as callers write it: `python3.11`, `nodejs20.x`, `provided.al2023`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum RuntimeName {
    /// `python3.MINOR`.
    Python {
        /// The minor version.
        minor: u32,
    },
    /// `nodejsMAJOR.x`.
    Node {
        /// The major version.
        major: u32,
    },
    /// `provided`, `provided.al2` and `provided.al2023`: an executable named `bootstrap`.
    Provided(String),
    /// `wasm`: a WebAssembly component or module.
    Wasm,
    /// Anything else, kept as it was written, so that an error can name it.
    Other(String),
}

impl FromStr for RuntimeName {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text.to_owned()))
    }
}

impl From<String> for RuntimeName {
    fn from(text: String) -> Self {
        let number = |digits: &str| digits.parse().ok().filter(|_| !digits.starts_with(['0', '+']));
        if let Some(minor) = text.strip_prefix("python3.").and_then(number) {
            return Self::Python { minor };
        }
        let major = text
            .strip_prefix("nodejs")
            .and_then(|rest| rest.strip_suffix(".x"));
        if let Some(major) = major.and_then(number) {
            return Self::Node { major };
        }
        match text.as_str() {
            "wasm" => Self::Wasm,
            "provided" | "provided.al2" | "provided.al2023" => Self::Provided(text),
            _ => Self::Other(text),
        }
    }
}

impl From<RuntimeName> for String {
    fn from(name: RuntimeName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { minor } => write!(f, "python3.{minor}"),
            Self::Node { major } => write!(f, "nodejs{major}.x"),
            Self::Wasm => f.write_str("wasm"),
            Self::Provided(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

/// A function's code, unpacked and never written to again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// SHA-256 of the package as it was uploaded, in lower-case hexadecimal.
    pub sha256: String,
    /// The folder that holds the unpacked package. Shared by every revision of the same code: copy it, do not run in it.
    pub dir: PathBuf,
}

/// Everything that an instance is made from. Immutable: an instance runs one revision and never changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Changes exactly when instances must be replaced: new code, or a configuration that instances see.
    pub id: RevisionId,
    /// The function.
    pub name: FunctionName,
    /// The version that this is a revision of.
    pub version: Version,
    /// The unqualified ARN of the function.
    pub function_arn: String,
    /// What runs it.
    pub runtime: RuntimeName,
    /// `module.function` for managed runtimes; free text for `provided`.
    pub handler: String,
    /// Memory limit in MiB; the CPU share follows it.
    pub memory_mib: u32,
    /// Size limit of the private `/tmp`, in MiB.
    pub ephemeral_storage_mib: u32,
    /// The longest that one invocation may take.
    pub timeout: Duration,
    /// The user's environment variables.
    pub environment: BTreeMap<String, String>,
    /// The code.
    pub code: Code,
    /// The log group, by default `/aws/lambda/NAME`.
    pub log_group: String,
}

/// Why a revision could not be made ready to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The code is not what its runtime runs: the owner's fault, in words for the owner.
    #[error("{0}")]
    Code(String),
    /// The platform's fault.
    #[error("{0}")]
    Platform(String),
    /// The server is stopping. Nothing is wrong with the code: it is prepared when the server starts again.
    #[error("the server stopped before the code was prepared")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: RuntimeName) {
        let parsed = RuntimeName::from(text.to_owned());
        assert_eq!(parsed, expected);
        assert_eq!(
            parsed.to_string(),
            text,
            "a runtime is displayed as it was written"
        );
    }

    #[test]
    fn runtime_identifiers_keep_their_spelling() {
        check("python3.11", RuntimeName::Python { minor: 11 });
        check("nodejs20.x", RuntimeName::Node { major: 20 });
        check("provided.al2023", RuntimeName::Provided("provided.al2023".into()));
        check("python3.", RuntimeName::Other("python3.".into()));
        check("python3.011", RuntimeName::Other("python3.011".into()));
        check("wasm", RuntimeName::Wasm);
        check("ruby3.3", RuntimeName::Other("ruby3.3".into()));
    }
}
