//! What the store holds of a function, and its format.
//!
//! One record per function holds all that changes together; each published version has a record of its own, since
//! there may be many and they never change.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::Space;
use squall_types::{AliasName, FunctionName, RevisionId};

use crate::{Alias, EventInvokeConfig, FunctionConfig, FunctionPolicy, FunctionUrl, RegistryError};

/// Functions, by name.
pub(crate) const FUNCTIONS: Space = Space("functions");
/// Published versions, by name, a NUL, and the number in big-endian.
pub(crate) const VERSIONS: Space = Space("function-versions");

const FORMAT: u32 = 1;

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
struct Versioned<T> {
    format: u32,
    record: T,
}

/// A record as it is stored.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, RegistryError> {
    serde_json::to_vec(&Versioned {
        format: FORMAT,
        record,
    })
    .map_err(|error| RegistryError::Platform(format!("could not write a record: {error}")))
}

/// A record as it was stored; refuses formats of later versions by name.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RegistryError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let key = String::from_utf8_lossy(key).replace('\0', ":");
    let damaged = |error| RegistryError::Platform(format!("the record of `{key}` is damaged: {error}"));
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format != FORMAT {
        return Err(RegistryError::Platform(format!(
            "the record of `{key}` has format {format}; this version reads {FORMAT}"
        )));
    }
    let versioned: Versioned<T> = serde_json::from_slice(bytes).map_err(damaged)?;
    Ok(versioned.record)
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
