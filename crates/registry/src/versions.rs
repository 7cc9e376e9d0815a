//! Published versions: numbered from 1, never reused, immutable.

use squall_types::{FunctionName, RevisionId, Version};

use crate::functions::{check_revision, new_revision_id, page, version_place};
use crate::record::VersionRecord;
use crate::registry::{Edit, Registry};
use crate::state::not_found;
use crate::{FunctionConfig, LastUpdateStatus, Page, PublishVersion, RegistryError, State};

impl Registry {
    /// Publishes `$LATEST`. When nothing changed since the last version, that version is the answer.
    ///
    /// # Errors
    /// When the code or the revision id is not the one that was given; a conflict while an update is in progress.
    pub async fn publish_version(
        &self,
        name: &FunctionName,
        request: PublishVersion,
    ) -> Result<FunctionConfig, RegistryError> {
        let arn = self.home().function_arn(name, None);
        self.change(name, move |edit| {
            let latest = &edit.record.latest.config;
            check_revision(latest, request.revision_id.as_deref())?;
            if let Some(expected) = request.code_sha256.filter(|expected| *expected != latest.code_sha256) {
                return Err(RegistryError::InvalidParameter(format!(
                    "CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({}). \
                     Please try again with the CodeSHA256 in $LATEST.",
                    latest.code_sha256
                )));
            }
            if latest.state != State::Active {
                return Err(RegistryError::Conflict(format!(
                    "The operation cannot be performed at this time. \
                     The function is currently in the following state: {:?}",
                    latest.state
                )));
            }
            if latest.last_update_status == Some(LastUpdateStatus::InProgress) {
                return Err(RegistryError::Conflict(format!(
                    "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
                )));
            }
            if latest.last_update_status == Some(LastUpdateStatus::Failed) {
                return Err(RegistryError::Conflict(format!(
                    "The operation cannot be performed at this time. The last update failed for resource: {arn}"
                )));
            }
            Ok(publish(edit, request.description))
        })
        .await
    }

    /// `$LATEST` first, then the numbers ascending.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::InvalidParameter`] for a marker that no page gave.
    pub fn list_versions(
        &self,
        name: &FunctionName,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionConfig>, RegistryError> {
        let held = self.held(name)?;
        let versions = held.versions.values().map(|(version, _)| &version.config);
        let all = std::iter::once(&held.record.latest.config).chain(versions);
        page(all, |config| version_place(config.version), marker, max_items)
    }

    pub(crate) async fn delete_version(&self, name: &FunctionName, number: u64) -> Result<(), RegistryError> {
        let arn = self
            .home()
            .function_arn(name, Some(&squall_types::Qualifier::Version(number)));
        self.change(name, move |edit| {
            let version = Version::Published(number);
            let pointing: Vec<&str> = edit
                .record
                .aliases
                .values()
                .filter(|alias| {
                    alias.version == version || alias.additional.is_some_and(|(n, _)| n == number)
                })
                .map(|alias| alias.name.as_str())
                .collect();
            if !pointing.is_empty() {
                return Err(RegistryError::Conflict(format!(
                    "Version was not able to be deleted. The following aliases reference this version: [{}]",
                    pointing.join(", ")
                )));
            }
            edit.record.event_invoke.remove(&number.to_string());
            edit.record.policies.remove(&number.to_string());
            edit.versions
                .remove(&number)
                .map(|_| ())
                .ok_or_else(|| not_found(&arn))
        })
        .await
    }
}

/// Adds the next version, made from `$LATEST` as it is; or gives the last one where nothing changed.
pub(crate) fn publish(edit: &mut Edit, description: Option<String>) -> FunctionConfig {
    let record = &mut edit.record;
    if let Some((number, revision)) = record.last_published
        && revision == record.latest.revision
        && let Some(last) = edit.versions.get(&number)
        && last.config.role == record.latest.config.role
        && last.config.tracing_mode == record.latest.config.tracing_mode
        && last.config.dead_letter == record.latest.config.dead_letter
    {
        return last.config.clone();
    }
    let number = record.next_version;
    record.next_version += 1;
    record.last_published = Some((number, record.latest.revision));
    let mut config = record.latest.config.clone();
    config.version = Version::Published(number);
    config.description = description.unwrap_or(config.description);
    config.revision_id = new_revision_id();
    if config.last_update_status == Some(LastUpdateStatus::InProgress) {
        // New code came with this publication: the version becomes Active with it.
        config.state = State::Pending;
        (config.state_reason, config.state_reason_code) = (
            config.last_update_reason.take(),
            config.last_update_reason_code.take(),
        );
        config.last_update_status = None;
    }
    let package = record.latest.package.clone();
    let version = VersionRecord {
        config: config.clone(),
        package,
        revision: RevisionId::random(),
    };
    edit.versions.insert(number, version);
    config
}
