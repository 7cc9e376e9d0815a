//! The registry itself: its configuration, its limits, and its operations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use squall_store::Store;
use squall_types::{AliasName, FunctionName, FunctionRef, Home, Qualifier, Revision, RuntimeName, Version};
use tokio::sync::broadcast;

use crate::*;

/// Says whether this host can run a runtime, and if not, what to do about it.
pub type RuntimeCheck = Arc<dyn Fn(&RuntimeName) -> Result<(), String> + Send + Sync>;

/// Where the registry keeps code, and what it allows.
#[derive(Debug, Clone)]
pub struct Config {
    /// Account and region for ARNs.
    pub home: Home,
    /// The folder for packages and unpacked code; made if it is not there.
    pub dir: PathBuf,
    /// Sizes and counts.
    pub limits: Limits,
}

/// Lambda's limits, each settable.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each name is its own description")]
pub struct Limits {
    pub zip_bytes_max: u64,
    pub unzipped_bytes_max: u64,
    pub zip_entries_max: usize,
    pub environment_bytes_max: usize,
    pub timeout_secs_max: u32,
    pub memory_mib_max: u32,
    pub tags_max: usize,
    pub account_concurrency: u32,
    /// Of the account's concurrency, what reserved concurrency may never take.
    pub unreserved_concurrency_min: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            zip_bytes_max: 52_428_800,
            unzipped_bytes_max: 262_144_000,
            zip_entries_max: 100_000,
            environment_bytes_max: 4096,
            timeout_secs_max: 900,
            memory_mib_max: 10_240,
            tags_max: 50,
            account_concurrency: 1000,
            unreserved_concurrency_min: 100,
        }
    }
}

/// What a call runs.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The revision that instances are made from.
    pub revision: Arc<Revision>,
    /// The ARN with the qualifier that the caller used, as the function sees it.
    pub invoked_arn: String,
    /// The function's reserved concurrency: the most invocations that run at once; 0 stops it.
    pub reserved_concurrency: Option<u32>,
}

/// The set of functions. A cheap handle: clones share one registry.
#[derive(Clone)]
pub struct Registry {}

type Result<T, E = RegistryError> = std::result::Result<T, E>;

#[allow(unused_variables)]
impl Registry {
    /// Opens the registry that the store holds. Functions whose preparation was cut short are prepared again.
    pub async fn open(store: Arc<dyn Store>, config: Config, check: RuntimeCheck) -> Result<Self> {
        unimplemented!()
    }

    /// What a call to `target` runs now. In memory, for every call; chooses between an alias's two versions.
    pub fn resolve(&self, target: &FunctionRef) -> std::result::Result<Resolved, squall_types::InvokeError> {
        unimplemented!()
    }
    /// Tells of changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        unimplemented!()
    }
    /// Waits until no preparation (unpacking, checking) is under way.
    pub async fn settled(&self) {
        unimplemented!()
    }
    /// Account and region.
    pub fn home(&self) -> &Home {
        unimplemented!()
    }
    /// What is allowed.
    pub fn limits(&self) -> &Limits {
        unimplemented!()
    }
    /// What is in use.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }

    pub async fn create_function(&self, request: CreateFunction) -> Result<FunctionConfig> {
        unimplemented!()
    }
    /// By name and optional qualifier (version or alias).
    pub fn function(&self, target: &FunctionRef) -> Result<Function> {
        unimplemented!()
    }
    /// Ordered by name; `all_versions` lists published versions too.
    pub fn list_functions(
        &self,
        all_versions: bool,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionConfig>> {
        unimplemented!()
    }
    pub async fn update_code(&self, request: UpdateCode) -> Result<FunctionConfig> {
        unimplemented!()
    }
    pub async fn update_configuration(
        &self,
        name: &FunctionName,
        request: UpdateConfiguration,
    ) -> Result<FunctionConfig> {
        unimplemented!()
    }
    /// Without a qualifier the whole function; with a version number that version.
    pub async fn delete_function(&self, target: &FunctionRef) -> Result<()> {
        unimplemented!()
    }

    pub async fn publish_version(
        &self,
        name: &FunctionName,
        request: PublishVersion,
    ) -> Result<FunctionConfig> {
        unimplemented!()
    }
    /// `$LATEST` first, then numbers ascending.
    pub fn list_versions(
        &self,
        name: &FunctionName,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionConfig>> {
        unimplemented!()
    }

    pub async fn create_alias(&self, function: &FunctionName, request: CreateAlias) -> Result<Alias> {
        unimplemented!()
    }
    pub fn alias(&self, function: &FunctionName, alias: &AliasName) -> Result<Alias> {
        unimplemented!()
    }
    pub async fn update_alias(
        &self,
        function: &FunctionName,
        alias: &AliasName,
        request: UpdateAlias,
    ) -> Result<Alias> {
        unimplemented!()
    }
    pub async fn delete_alias(&self, function: &FunctionName, alias: &AliasName) -> Result<()> {
        unimplemented!()
    }
    pub fn list_aliases(
        &self,
        function: &FunctionName,
        version: Option<Version>,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<Alias>> {
        unimplemented!()
    }

    /// `qualifier` is `None` or an alias.
    pub async fn create_url(
        &self,
        function: &FunctionName,
        qualifier: Option<&Qualifier>,
        settings: FunctionUrlSettings,
    ) -> Result<FunctionUrl> {
        unimplemented!()
    }
    pub fn url(&self, function: &FunctionName, qualifier: Option<&Qualifier>) -> Result<FunctionUrl> {
        unimplemented!()
    }
    pub async fn update_url(
        &self,
        function: &FunctionName,
        qualifier: Option<&Qualifier>,
        settings: FunctionUrlSettings,
    ) -> Result<FunctionUrl> {
        unimplemented!()
    }
    pub async fn delete_url(&self, function: &FunctionName, qualifier: Option<&Qualifier>) -> Result<()> {
        unimplemented!()
    }
    pub fn list_urls(
        &self,
        function: &FunctionName,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionUrl>> {
        unimplemented!()
    }
    /// The URL with this id, for a request that arrives at its host name. In memory, for every call.
    pub fn url_by_id(&self, id: &str) -> Option<Arc<FunctionUrl>> {
        unimplemented!()
    }

    pub async fn put_concurrency(&self, function: &FunctionName, reserved: u32) -> Result<u32> {
        unimplemented!()
    }
    pub fn concurrency(&self, function: &FunctionName) -> Result<Option<u32>> {
        unimplemented!()
    }
    pub async fn delete_concurrency(&self, function: &FunctionName) -> Result<()> {
        unimplemented!()
    }

    pub async fn tag(&self, function: &FunctionName, tags: BTreeMap<String, String>) -> Result<()> {
        unimplemented!()
    }
    pub async fn untag(&self, function: &FunctionName, keys: &[String]) -> Result<()> {
        unimplemented!()
    }
    pub fn tags(&self, function: &FunctionName) -> Result<BTreeMap<String, String>> {
        unimplemented!()
    }

    /// The path of a package's zip file, by its SHA-256 in hexadecimal, where a function still uses it.
    pub fn package(&self, sha256_hex: &str) -> Option<PathBuf> {
        unimplemented!()
    }
}
