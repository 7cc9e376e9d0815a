//! What is known of a function, as its owner sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use squall_types::{AliasName, FunctionName, RuntimeName, Version};

/// Lambda's `State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Being created; it cannot be invoked yet.
    Pending,
    /// Ready.
    Active,
    /// Creation failed; the reason is beside it.
    Failed,
}

/// Lambda's `LastUpdateStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastUpdateStatus {
    /// The newest code and configuration run.
    Successful,
    /// They are being prepared; calls run the ones before.
    InProgress,
    /// They could not be prepared; calls run the ones before.
    Failed,
}

/// One version of a function: Lambda's `FunctionConfiguration`, without what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionConfig {
    /// The function.
    pub name: FunctionName,
    /// `$LATEST` or a published number.
    pub version: Version,
    /// What runs it.
    pub runtime: RuntimeName,
    /// `module.function`, or free text.
    pub handler: String,
    /// The ARN of the execution role, stored and shown.
    pub role: String,
    /// For people.
    pub description: String,
    /// Seconds, 1 to 900.
    pub timeout_secs: u32,
    /// MiB, 128 to 10,240.
    pub memory_mib: u32,
    /// MiB of `/tmp`, 512 to 10,240.
    pub ephemeral_storage_mib: u32,
    /// The user's environment variables.
    pub environment: BTreeMap<String, String>,
    /// `x86_64` or `arm64`: the host's own, else creation is refused.
    pub architecture: String,
    /// Where logs go, by default `/aws/lambda/NAME`.
    pub log_group: String,
    /// `Text` or `JSON`.
    pub log_format: String,
    /// `PassThrough` or `Active`, stored and shown.
    pub tracing_mode: String,
    /// `None` or `PublishedVersions`.
    pub snap_start: String,
    /// The ARN that takes events that were given up. Records from before it existed have none.
    #[serde(default)]
    pub dead_letter: Option<String>,
    /// Base64 of the SHA-256 of the package, as Lambda shows it.
    pub code_sha256: String,
    /// Bytes of the package.
    pub code_bytes: u64,
    /// Milliseconds since 1970.
    pub last_modified_ms: i64,
    /// Changes with every change of this version, Lambda's optimistic lock.
    pub revision_id: String,
    /// Whether it can be invoked.
    pub state: State,
    /// Why it is not Active.
    pub state_reason: Option<String>,
    /// Lambda's code for the reason: `Creating`, `InvalidZipFile`, `InternalError`.
    pub state_reason_code: Option<String>,
    /// How the newest update went; `None` while the function is created.
    pub last_update_status: Option<LastUpdateStatus>,
    /// Why it is not Successful.
    pub last_update_reason: Option<String>,
    /// Lambda's code for that.
    pub last_update_reason_code: Option<String>,
}

/// A function as a whole: one of its versions, and what belongs to all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The version asked for.
    pub config: FunctionConfig,
    /// Tags of the function.
    pub tags: BTreeMap<String, String>,
    /// Reserved concurrency, where it is set.
    pub reserved_concurrency: Option<u32>,
    /// SHA-256 of the package in lower-case hexadecimal: names it for [`Registry::package`](crate::Registry::package).
    pub package_sha256_hex: String,
}

/// A name for a version, or for two with weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Its name.
    pub name: AliasName,
    /// The version it points at.
    pub version: Version,
    /// A second version, and the share of calls (0.0 to 1.0) that goes there.
    pub additional: Option<(u64, f64)>,
    /// For people.
    pub description: String,
    /// Changes with every change of the alias.
    pub revision_id: String,
}

/// Who may call a function URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlAuthType {
    /// Anybody: an open door, by its owner's word.
    #[serde(rename = "NONE")]
    None,
    /// Who signs with a key that may invoke the function.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

/// How a function URL answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvokeMode {
    /// The whole answer at once.
    #[serde(rename = "BUFFERED")]
    Buffered,
    /// The answer as it comes.
    #[serde(rename = "RESPONSE_STREAM")]
    ResponseStream,
}

/// Cross-origin rules that the platform answers for the function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Whether cookies may come along.
    pub allow_credentials: Option<bool>,
    /// Request headers that may be sent.
    pub allow_headers: Option<Vec<String>>,
    /// Methods that may be used.
    pub allow_methods: Option<Vec<String>>,
    /// Origins that may ask; `*` for all.
    pub allow_origins: Option<Vec<String>>,
    /// Response headers that scripts may read.
    pub expose_headers: Option<Vec<String>>,
    /// Seconds that a browser may keep the answer, at most 86,400.
    pub max_age_secs: Option<u32>,
}

/// A function's (or an alias's) own HTTP address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// The first label of its host name; names it.
    pub id: String,
    /// The function.
    pub function: FunctionName,
    /// The alias, where it belongs to one.
    pub alias: Option<AliasName>,
    /// Who may call.
    pub auth_type: UrlAuthType,
    /// Cross-origin rules.
    pub cors: Option<Cors>,
    /// How it answers.
    pub invoke_mode: InvokeMode,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970.
    pub last_modified_ms: i64,
}
