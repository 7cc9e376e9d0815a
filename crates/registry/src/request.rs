//! What can be asked of the registry, in its own words: the gateway translates Lambda's JSON into these.

use std::collections::BTreeMap;

use bytes::Bytes;
use squall_types::{AliasName, FunctionName, RuntimeName, Version};

use crate::{Cors, InvokeMode, UrlAuthType};

/// Where code comes from.
#[derive(Debug, Clone)]
pub enum CodeSource {
    /// The bytes of a zip archive.
    Zip(Bytes),
}

/// CreateFunction. `None` means Lambda's default.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of FunctionConfig")]
pub struct CreateFunction {
    pub name: FunctionName,
    pub runtime: RuntimeName,
    pub handler: Option<String>,
    pub role: String,
    pub description: Option<String>,
    pub timeout_secs: Option<u32>,
    pub memory_mib: Option<u32>,
    pub ephemeral_storage_mib: Option<u32>,
    pub environment: BTreeMap<String, String>,
    pub architecture: Option<String>,
    pub log_group: Option<String>,
    pub log_format: Option<String>,
    pub tracing_mode: Option<String>,
    pub snap_start: Option<String>,
    /// Empty means none.
    pub dead_letter: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub code: CodeSource,
    /// Also publish version 1.
    pub publish: bool,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

/// UpdateFunctionCode.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of FunctionConfig")]
pub struct UpdateCode {
    pub name: FunctionName,
    pub code: CodeSource,
    pub architecture: Option<String>,
    pub publish: bool,
    pub dry_run: bool,
    /// The update is refused when this is not the current revision id.
    pub revision_id: Option<String>,
}

/// UpdateFunctionConfiguration. `None` leaves a value as it is.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of FunctionConfig")]
pub struct UpdateConfiguration {
    pub runtime: Option<RuntimeName>,
    pub handler: Option<String>,
    pub role: Option<String>,
    pub description: Option<String>,
    pub timeout_secs: Option<u32>,
    pub memory_mib: Option<u32>,
    pub ephemeral_storage_mib: Option<u32>,
    pub environment: Option<BTreeMap<String, String>>,
    pub log_group: Option<String>,
    pub log_format: Option<String>,
    pub tracing_mode: Option<String>,
    pub snap_start: Option<String>,
    /// Empty means none.
    pub dead_letter: Option<String>,
    /// The update is refused when this is not the current revision id.
    pub revision_id: Option<String>,
}

/// PublishVersion.
#[derive(Debug, Clone, Default)]
pub struct PublishVersion {
    /// Refuse when the code is another.
    pub code_sha256: Option<String>,
    /// The version's own description.
    pub description: Option<String>,
    /// Refuse when this is not the current revision id.
    pub revision_id: Option<String>,
}

/// CreateAlias.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of Alias")]
pub struct CreateAlias {
    pub name: AliasName,
    pub version: Version,
    pub additional: Option<(u64, f64)>,
    pub description: Option<String>,
}

/// UpdateAlias. `None` leaves a value as it is.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of Alias")]
pub struct UpdateAlias {
    pub version: Option<Version>,
    /// `Some(None)` removes the second version.
    pub additional: Option<Option<(u64, f64)>>,
    pub description: Option<String>,
    pub revision_id: Option<String>,
}

/// Create- and UpdateFunctionUrlConfig. `None` means the default, or leaves a value as it is.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of FunctionUrl")]
pub struct FunctionUrlSettings {
    pub auth_type: Option<UrlAuthType>,
    pub cors: Option<Cors>,
    pub invoke_mode: Option<InvokeMode>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Give this as `marker` for the next page; `None` on the last.
    pub next_marker: Option<String>,
}

/// What the account has in use: GetAccountSettings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all packages.
    pub code_bytes: u64,
    /// Number of functions.
    pub functions: u64,
    /// The sum of all reserved concurrency.
    pub reserved_concurrency: u32,
}
