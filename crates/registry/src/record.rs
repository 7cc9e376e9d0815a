//! What the store holds of a function, and its format.
//!
//! One record per function holds all that changes together; each published version has a record of its own, since
//! there may be many and they never change.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::{Seal, Space};
use squall_types::{AliasName, FunctionName, RevisionId};

use crate::{Alias, EventInvokeConfig, FunctionConfig, FunctionPolicy, FunctionUrl, RegistryError};

/// Functions, by name.
pub(crate) const FUNCTIONS: Space = Space("functions");
/// Published versions, by name, a NUL, and the number in big-endian.
pub(crate) const VERSIONS: Space = Space("function-versions");

/// A record sealed under its key, in base64: it holds the environments, where functions have their passwords.
const SEALED: u32 = 2;
/// A record as it is; read, and sealed when it is written again.
const PLAIN: u32 = 1;

/// One version: its configuration, and what instances of it are made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) config: FunctionConfig,
    /// SHA-256 of the package, in hexadecimal.
    pub(crate) package: String,
    /// Names the revision; another one whenever instances must be replaced.
    pub(crate) revision: RevisionId,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    /// `$LATEST`.
    pub(crate) latest: VersionRecord,
    /// What calls run while an update of `$LATEST` is prepared, or after one failed.
    pub(crate) serving: Option<VersionRecord>,
    /// The number of the next version; never goes back.
    pub(crate) next_version: u64,
    /// The newest published version and the revision of `$LATEST` that it was made from.
    pub(crate) last_published: Option<(u64, RevisionId)>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) reserved_concurrency: Option<u32>,
    pub(crate) aliases: BTreeMap<AliasName, Alias>,
    pub(crate) urls: Vec<FunctionUrl>,
    /// By qualifier. Records from before it existed have none.
    #[serde(default)]
    pub(crate) event_invoke: BTreeMap<String, EventInvokeConfig>,
    /// As above.
    #[serde(default)]
    pub(crate) policies: BTreeMap<String, FunctionPolicy>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    format: u32,
    sealed: String,
}

/// A record as it is stored under `key`.
pub(crate) fn encode<T: Serialize>(seal: &Seal, key: &[u8], record: &T) -> Result<Vec<u8>, RegistryError> {
    let failed = |error: &dyn Display| RegistryError::Platform(format!("could not write a record: {error}"));
    let content = serde_json::to_vec(record).map_err(|error| failed(&error))?;
    let sealed = seal.seal(key, &content).map_err(|error| failed(&error))?;
    let written = Sealed {
        format: SEALED,
        sealed: STANDARD.encode(sealed),
    };
    serde_json::to_vec(&written).map_err(|error| failed(&error))
}

/// A record as it was stored; refuses formats of later versions by name.
pub(crate) fn decode<T: DeserializeOwned>(seal: &Seal, key: &[u8], bytes: &[u8]) -> Result<T, RegistryError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    #[derive(Deserialize)]
    struct Plain<T> {
        record: T,
    }
    let name = String::from_utf8_lossy(key).replace('\0', ":");
    let damaged =
        |error: &dyn Display| RegistryError::Platform(format!("the record of `{name}` is damaged: {error}"));
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    match format {
        PLAIN => {
            let plain: Plain<T> = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
            Ok(plain.record)
        }
        SEALED => {
            let written: Sealed = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
            let sealed = STANDARD.decode(written.sealed).map_err(|error| damaged(&error))?;
            let content = seal.unseal(key, &sealed).map_err(|error| {
                RegistryError::Platform(format!("the record of `{name}` cannot be read: {error}"))
            })?;
            serde_json::from_slice(&content).map_err(|error| damaged(&error))
        }
        _ => Err(RegistryError::Platform(format!(
            "the record of `{name}` has format {format}; this version reads {PLAIN} and {SEALED}"
        ))),
    }
}

/// The key of a function's record.
pub(crate) fn function_key(name: &FunctionName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

/// The key of a published version's record.
pub(crate) fn version_key(name: &FunctionName, number: u64) -> Vec<u8> {
    let mut key = function_key(name);
    key.push(0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}
