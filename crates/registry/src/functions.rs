//! Functions as a whole: create, read, list, update, delete.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use squall_types::{FunctionName, FunctionRef, Qualifier, RevisionId, Version};
use uuid::Uuid;

use crate::package::Package;
use crate::record::{FunctionRecord, VersionRecord};
use crate::registry::{Edit, Registry};
use crate::state::not_found;
use crate::{
    CodeSource, CreateFunction, Function, FunctionConfig, LastUpdateStatus, Page, RegistryError, State,
    UpdateCode, UpdateConfiguration, validate, versions,
};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// Lambda's words for what is being made ready, on creation and on update alike.
pub(crate) const CREATING: &str = "The function is being created.";
/// The machine that code must be built for: the host's own.
pub(crate) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};

impl Registry {
    /// Takes a function. Its package is checked and durable when this returns; it becomes Active soon after.
    ///
    /// # Errors
    /// What is wrong with the request; a conflict when the name is taken.
    pub async fn create_function(&self, request: CreateFunction) -> Result<FunctionConfig> {
        validate::create(&request, self.limits())?;
        (self.inner.check)(&request.runtime).map_err(RegistryError::InvalidParameter)?;
        if self.functions().get(&request.name).is_some() {
            let arn = self.home().function_arn(&request.name, None);
            return Err(RegistryError::Conflict(format!("Function already exist: {arn}")));
        }
        let CodeSource::Zip(zip) = request.code.clone();
        if request.dry_run {
            let package = self.inner.packages.check(zip).await?;
            return Ok(new_config(request, &package));
        }
        let _not_swept = self.inner.sweeping.read().await;
        let package = self.inner.packages.keep(zip).await?;
        let publish = request.publish;
        let tags = request.tags.clone();
        let config = new_config(request, &package);
        let latest = VersionRecord {
            config,
            package: package.sha256_hex,
            revision: RevisionId::random(),
        };
        let mut edit = Edit {
            record: new_record(latest, tags),
            versions: BTreeMap::new(),
        };
        let answer = if publish {
            versions::publish(&mut edit, None)
        } else {
            edit.record.latest.config.clone()
        };
        self.add(edit).await?;
        Ok(answer)
    }

    /// A function by name and optional qualifier (a version or an alias).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn function(&self, target: &FunctionRef) -> Result<Function> {
        let held = self.held(&target.name)?;
        let version = held.version(target.qualifier.as_ref());
        let absent = || not_found(&self.home().function_arn(&target.name, target.qualifier.as_ref()));
        let version = version.ok_or_else(absent)?;
        Ok(Function {
            config: version.config.clone(),
            tags: held.record.tags.clone(),
            reserved_concurrency: held.record.reserved_concurrency,
            package_sha256_hex: version.package.clone(),
        })
    }

    /// Functions ordered by name; `all_versions` lists published versions too, behind their `$LATEST`.
    ///
    /// # Errors
    /// [`RegistryError::InvalidParameter`] when the marker is not one that a page gave.
    pub fn list_functions(
        &self,
        all_versions: bool,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionConfig>> {
        let functions = self.functions();
        let items = functions.by_name.values().flat_map(|held| {
            let versions = held.versions.values().map(|(version, _)| &version.config);
            std::iter::once(&held.record.latest.config).chain(versions.filter(move |_| all_versions))
        });
        page(
            items,
            // A space sorts before all that a name may hold, so `a` stays before `a-b`.
            |config| format!("{} {}", config.name, version_place(config.version)),
            marker,
            max_items,
        )
    }

    /// Gives `$LATEST` other code. Calls run the code before until this is ready.
    ///
    /// # Errors
    /// What is wrong with the package; a conflict while another update is in progress.
    pub async fn update_code(&self, request: UpdateCode) -> Result<FunctionConfig> {
        validate::architecture(request.architecture.as_deref())?;
        let held = self.held(&request.name)?;
        check_revision(&held.record.latest.config, request.revision_id.as_deref())?;
        let CodeSource::Zip(zip) = request.code;
        if request.dry_run {
            let package = self.inner.packages.check(zip).await?;
            let mut config = held.record.latest.config.clone();
            (config.code_sha256, config.code_bytes) = (package.sha256_base64, package.bytes);
            return Ok(config);
        }
        let _not_swept = self.inner.sweeping.read().await;
        let package = self.inner.packages.keep(zip).await?;
        let (publish, revision_id) = (request.publish, request.revision_id);
        let arn = self.home().function_arn(&request.name, None);
        let answer = self
            .change(&request.name, move |edit| {
                check_revision(&edit.record.latest.config, revision_id.as_deref())?;
                begin_update(&mut edit.record, &arn, |latest| {
                    latest.config.code_sha256 = package.sha256_base64;
                    latest.config.code_bytes = package.bytes;
                    latest.package = package.sha256_hex;
                })?;
                Ok(if publish {
                    versions::publish(edit, None)
                } else {
                    edit.record.latest.config.clone()
                })
            })
            .await?;
        Ok(answer)
    }

    /// Gives `$LATEST` another configuration.
    ///
    /// # Errors
    /// What is wrong with a value; a conflict while another update is in progress.
    pub async fn update_configuration(
        &self,
        name: &FunctionName,
        request: UpdateConfiguration,
    ) -> Result<FunctionConfig> {
        validate::update(&request, self.limits())?;
        if let Some(runtime) = &request.runtime {
            (self.inner.check)(runtime).map_err(RegistryError::InvalidParameter)?;
        }
        let arn = self.home().function_arn(name, None);
        let answer = self
            .change(name, move |edit| {
                check_revision(&edit.record.latest.config, request.revision_id.as_deref())?;
                begin_update(&mut edit.record, &arn, |latest| {
                    apply(&mut latest.config, request)
                })?;
                validate::handler(&edit.record.latest.config)?;
                Ok(edit.record.latest.config.clone())
            })
            .await?;
        Ok(answer)
    }

    /// Removes the whole function, or with a version number that version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; a conflict when an alias points at the version.
    pub async fn delete_function(&self, target: &FunctionRef) -> Result<()> {
        match &target.qualifier {
            None => self.remove(&target.name).await,
            Some(Qualifier::Version(number)) => self.delete_version(&target.name, *number).await,
            Some(Qualifier::Latest) => Err(RegistryError::InvalidParameter(
                "$LATEST version cannot be deleted without deleting the function.".to_owned(),
            )),
            Some(Qualifier::Alias(_)) => Err(RegistryError::InvalidParameter(
                "Deletion of aliases is not currently supported.".to_owned(),
            )),
        }
    }
}

fn new_record(latest: VersionRecord, tags: BTreeMap<String, String>) -> FunctionRecord {
    FunctionRecord {
        latest,
        serving: None,
        next_version: 1,
        last_published: None,
        tags,
        reserved_concurrency: None,
        aliases: BTreeMap::new(),
        urls: Vec::new(),
        event_invoke: BTreeMap::new(),
        policies: BTreeMap::new(),
    }
}

fn new_config(request: CreateFunction, package: &Package) -> FunctionConfig {
    let text = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
    FunctionConfig {
        version: Version::Latest,
        runtime: request.runtime,
        handler: request.handler.unwrap_or_default(),
        role: request.role,
        description: request.description.unwrap_or_default(),
        timeout_secs: request.timeout_secs.unwrap_or(3),
        memory_mib: request.memory_mib.unwrap_or(128),
        ephemeral_storage_mib: request.ephemeral_storage_mib.unwrap_or(512),
        environment: request.environment,
        architecture: text(request.architecture, ARCHITECTURE),
        log_group: request
            .log_group
            .unwrap_or_else(|| format!("/aws/lambda/{}", request.name)),
        log_format: text(request.log_format, "Text"),
        tracing_mode: text(request.tracing_mode, "PassThrough"),
        snap_start: text(request.snap_start, "None"),
        dead_letter: request.dead_letter.filter(|arn| !arn.is_empty()),
        name: request.name,
        code_sha256: package.sha256_base64.clone(),
        code_bytes: package.bytes,
        last_modified_ms: now_ms(),
        revision_id: new_revision_id(),
        state: State::Pending,
        state_reason: Some(CREATING.to_owned()),
        state_reason_code: Some("Creating".to_owned()),
        last_update_status: None,
        last_update_reason: None,
        last_update_reason_code: None,
    }
}

/// Sets what the request names.
fn apply(config: &mut FunctionConfig, request: UpdateConfiguration) {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut config.runtime, request.runtime);
    set(&mut config.handler, request.handler);
    set(&mut config.role, request.role);
    set(&mut config.description, request.description);
    set(&mut config.timeout_secs, request.timeout_secs);
    set(&mut config.memory_mib, request.memory_mib);
    set(&mut config.ephemeral_storage_mib, request.ephemeral_storage_mib);
    set(&mut config.environment, request.environment);
    set(&mut config.log_group, request.log_group);
    set(&mut config.log_format, request.log_format);
    set(&mut config.tracing_mode, request.tracing_mode);
    set(&mut config.snap_start, request.snap_start);
    let dead_letter = request
        .dead_letter
        .map(|arn| Some(arn).filter(|arn| !arn.is_empty()));
    set(&mut config.dead_letter, dead_letter);
}

/// Changes `$LATEST` by `update`, and keeps what calls run until the new one is ready.
fn begin_update(
    record: &mut FunctionRecord,
    arn: &str,
    update: impl FnOnce(&mut VersionRecord),
) -> Result<()> {
    let config = &record.latest.config;
    if config.state == State::Pending {
        return Err(RegistryError::Conflict(format!(
            "The operation cannot be performed at this time. \
             The function is currently in the following state: Pending (resource: {arn})"
        )));
    }
    if config.last_update_status == Some(LastUpdateStatus::InProgress) {
        return Err(RegistryError::Conflict(format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
        )));
    }
    let before = record.latest.clone();
    update(&mut record.latest);
    if runs_differently(&before, &record.latest) {
        record.latest.revision = RevisionId::random();
        if before.config.state == State::Active && record.serving.is_none() {
            record.serving = Some(before);
        }
    }
    let config = &mut record.latest.config;
    config.last_update_status = Some(LastUpdateStatus::InProgress);
    config.last_update_reason = Some(CREATING.to_owned());
    config.last_update_reason_code = Some("Creating".to_owned());
    touch(config);
    Ok(())
}

/// Whether instances of the one would not do for the other.
fn runs_differently(one: &VersionRecord, other: &VersionRecord) -> bool {
    let seen = |version: &VersionRecord| {
        let config = &version.config;
        let sizes = (
            config.timeout_secs,
            config.memory_mib,
            config.ephemeral_storage_mib,
        );
        let logs = (config.log_group.clone(), config.log_format.clone());
        let code = (
            version.package.clone(),
            config.runtime.clone(),
            config.handler.clone(),
        );
        (
            code,
            sizes,
            config.environment.clone(),
            logs,
            config.snap_start.clone(),
        )
    };
    seen(one) != seen(other)
}

/// Marks a change: a new revision id, and the time.
pub(crate) fn touch(config: &mut FunctionConfig) {
    config.revision_id = new_revision_id();
    config.last_modified_ms = now_ms();
}

pub(crate) fn new_revision_id() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn check_revision(config: &FunctionConfig, given: Option<&str>) -> Result<()> {
    match given {
        Some(given) if given != config.revision_id => Err(RegistryError::PreconditionFailed),
        _ => Ok(()),
    }
}

/// Milliseconds since 1970; a clock before that counts as 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One page of items that are ordered by `key`; the marker is the key of the last item of the page before.
///
/// That item may have been deleted meanwhile: the page goes on behind its place.
pub(crate) fn page<'a, T: Clone + 'a>(
    items: impl Iterator<Item = &'a T>,
    key: impl Fn(&T) -> String,
    marker: Option<&str>,
    max_items: usize,
) -> Result<Page<T>> {
    let after = marker.map(place).transpose()?;
    let behind = |item: &&T| after.as_ref().is_none_or(|after| key(item) > *after);
    let mut items = items.filter(behind).peekable();
    let page: Vec<T> = items.by_ref().take(max_items.max(1)).cloned().collect();
    let last = items.peek().and(page.last());
    let next_marker = last.map(|item| URL_SAFE_NO_PAD.encode(format!("{MARKER}{}", key(item))));
    Ok(Page {
        items: page,
        next_marker,
    })
}

/// What markers start with: their format, so that another one can be told from it.
const MARKER: &str = "after:";

/// The key in a marker.
fn place(marker: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.and_then(|text| text.strip_prefix(MARKER).map(str::to_owned));
    key.ok_or_else(|| RegistryError::InvalidParameter(format!("Invalid marker: {marker}")))
}

/// Orders versions as text: `$LATEST`, then the numbers ascending.
pub(crate) fn version_place(version: Version) -> String {
    match version {
        Version::Latest => String::new(),
        Version::Published(number) => format!("{number:020}"),
    }
}
