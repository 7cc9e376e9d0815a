//! Making code ready to run, beside the requests: Pending becomes Active or Failed, InProgress Successful or Failed.

use squall_types::{FunctionName, PrepareError};

use crate::functions::touch;
use crate::record::VersionRecord;
use crate::registry::{Edit, Registry};
use crate::{FunctionConfig, LastUpdateStatus, RegistryError, State};

impl Registry {
    /// Prepares a function's newest code in a task of its own.
    pub(crate) fn prepare(&self, name: FunctionName) {
        self.inner.preparing.send_modify(|count| *count += 1);
        let registry = self.clone();
        tokio::spawn(async move {
            let finished = Finished(registry.inner.preparing.clone());
            if let Err(error) = registry.prepare_now(&name).await {
                tracing::error!(function = %name, %error, "could not record that the function is prepared");
            }
            drop(finished);
        });
    }

    /// Prepares again what was not finished when the server ended, and what is missing on disk.
    pub(crate) async fn resume_preparations(&self) {
        let (mut unfinished, mut missing) = (Vec::new(), Vec::new());
        for (name, held) in &self.functions().by_name {
            let config = &held.record.latest.config;
            if is_unfinished(config) {
                unfinished.push(name.clone());
            }
            missing.extend(
                held.packages()
                    .filter(|package| !self.inner.packages.code_dir(package).exists())
                    .cloned(),
            );
        }
        for package in missing {
            if let Err(error) = self.inner.packages.unpack(&package).await {
                tracing::error!(%package, %error, "could not unpack a package again; its functions cannot start");
            }
        }
        for name in unfinished {
            self.prepare(name);
        }
    }

    /// Waits until no preparation is under way.
    pub async fn settled(&self) {
        let mut preparing = self.inner.preparing.subscribe();
        // The sender lives as long as the registry does, so this ends only when the count is 0.
        let _ = preparing.wait_for(|count| *count == 0).await;
    }

    async fn prepare_now(&self, name: &FunctionName) -> Result<(), RegistryError> {
        let Ok(held) = self.held(name) else { return Ok(()) };
        let package = held.record.latest.package.clone();
        let failure = match self.unpack_and_prepare(&held.record.latest).await {
            Ok(()) => None,
            // It stays unfinished in its record, which is prepared when the server starts again.
            Err(PrepareError::Stopped) => return Ok(()),
            Err(error) => Some(error),
        };
        if let Some(PrepareError::Platform(reason)) = &failure {
            tracing::warn!(function = %name, reason, "could not prepare the function's code");
        }
        let recorded = self.change(name, move |edit| {
            // Another update cannot have begun: it is refused while this one is in progress.
            finish(edit, &package, failure.as_ref());
            Ok(())
        });
        match recorded.await {
            // It was deleted meanwhile: nothing is left to prepare.
            Err(RegistryError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    /// First on disk, then in its runtime, which bounds by itself how many it prepares at once.
    async fn unpack_and_prepare(&self, record: &VersionRecord) -> Result<(), PrepareError> {
        let permit = self.inner.preparations.acquire().await;
        let unpacked = self.inner.packages.unpack(&record.package).await;
        drop(permit);
        unpacked.map_err(|error| PrepareError::Platform(error.to_string()))?;
        (self.inner.prepare)(self.inner.builder.runnable(record).revision).await
    }
}

struct Finished(tokio::sync::watch::Sender<usize>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

pub(crate) fn is_unfinished(config: &FunctionConfig) -> bool {
    config.state == State::Pending || config.last_update_status == Some(LastUpdateStatus::InProgress)
}

fn finish(edit: &mut Edit, package: &str, failure: Option<&PrepareError>) {
    let versions = edit
        .versions
        .values_mut()
        .filter(|version| version.config.state == State::Pending);
    for version in versions.filter(|version| version.package == package) {
        finish_config(&mut version.config, failure);
    }
    let record = &mut edit.record;
    if record.latest.package != package || !is_unfinished(&record.latest.config) {
        return;
    }
    finish_config(&mut record.latest.config, failure);
    if failure.is_none() {
        record.serving = None;
    }
}

fn finish_config(config: &mut FunctionConfig, failure: Option<&PrepareError>) {
    let creating = config.state == State::Pending;
    let code = failure.map(|failure| match failure {
        PrepareError::Code(_) => "FunctionError".to_owned(),
        PrepareError::Platform(_) | PrepareError::Stopped => "InternalError".to_owned(),
    });
    let reason = failure.map(ToString::to_string);
    if failure.is_none() {
        // Also of a function whose creation failed: an update is how it is mended.
        config.state = State::Active;
        (config.state_reason, config.state_reason_code) = (None, None);
    } else if creating {
        config.state = State::Failed;
        (config.state_reason, config.state_reason_code) = (reason.clone(), code.clone());
    }
    config.last_update_status = Some(if failure.is_none() {
        LastUpdateStatus::Successful
    } else {
        LastUpdateStatus::Failed
    });
    (config.last_update_reason, config.last_update_reason_code) = (reason, code);
    touch(config);
}
