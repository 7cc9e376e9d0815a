//! All functions in memory: what is read on every call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use squall_types::{Code, FunctionName, Home, Qualifier, Revision, RevisionId, Version};

use crate::package::Packages;
use crate::record::{FunctionRecord, VersionRecord};
use crate::{FunctionUrl, RegistryError, State};

/// A version that calls can run.
#[derive(Debug, Clone)]
pub(crate) struct Runnable {
    pub(crate) revision: Arc<Revision>,
    /// The ARN with this version as its qualifier.
    pub(crate) qualified_arn: Arc<str>,
}

/// A function in memory.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) record: FunctionRecord,
    /// The store's revision of the record: what the next write expects.
    pub(crate) stored: u64,
    pub(crate) arn: Arc<str>,
    /// What an unqualified call runs; `None` before the first preparation succeeded.
    pub(crate) latest: Option<Runnable>,
    pub(crate) versions: BTreeMap<u64, (VersionRecord, Runnable)>,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub(crate) by_name: BTreeMap<FunctionName, Arc<Held>>,
    pub(crate) urls: HashMap<String, Arc<FunctionUrl>>,
}

/// Makes what is held from what is stored.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    pub(crate) home: Home,
    pub(crate) packages: Packages,
}

impl Builder {
    pub(crate) fn runnable(&self, record: &VersionRecord) -> Runnable {
        let config = &record.config;
        let qualifier = Qualifier::from(config.version);
        let revision = Revision {
            id: record.revision,
            name: config.name.clone(),
            version: config.version,
            function_arn: self.home.function_arn(&config.name, None),
            runtime: config.runtime.clone(),
            handler: config.handler.clone(),
            memory_mib: config.memory_mib,
            ephemeral_storage_mib: config.ephemeral_storage_mib,
            timeout: Duration::from_secs(config.timeout_secs.into()),
            environment: config.environment.clone(),
            code: Code {
                sha256: record.package.clone(),
                dir: self.packages.code_dir(&record.package),
            },
            log_group: config.log_group.clone(),
        };
        Runnable {
            revision: Arc::new(revision),
            qualified_arn: self.home.function_arn(&config.name, Some(&qualifier)).into(),
        }
    }

    /// Holds a record. What `before` held is kept where it is the same revision, so that pools go on.
    pub(crate) fn held(
        &self,
        record: FunctionRecord,
        stored: u64,
        versions: BTreeMap<u64, (VersionRecord, Runnable)>,
        before: Option<&Held>,
    ) -> Held {
        let runs = record.serving.as_ref().unwrap_or(&record.latest);
        let kept = before
            .and_then(|held| held.latest.as_ref())
            .filter(|r| r.revision.id == runs.revision);
        let latest = match (kept, runs.config.state) {
            (Some(kept), State::Active) => Some(kept.clone()),
            (None, State::Active) => Some(self.runnable(runs)),
            _ => None,
        };
        let arn = self.home.function_arn(&record.latest.config.name, None).into();
        Held {
            record,
            stored,
            arn,
            latest,
            versions,
        }
    }
}

impl Held {
    /// The stored version that a qualifier names: an alias stands for its first version.
    pub(crate) fn version(&self, qualifier: Option<&Qualifier>) -> Option<&VersionRecord> {
        match qualifier {
            None | Some(Qualifier::Latest) => Some(&self.record.latest),
            Some(Qualifier::Version(number)) => self.versions.get(number).map(|(record, _)| record),
            Some(Qualifier::Alias(alias)) => match self.record.aliases.get(alias)?.version {
                Version::Latest => Some(&self.record.latest),
                Version::Published(number) => self.versions.get(&number).map(|(record, _)| record),
            },
        }
    }

    /// What calls of a version run.
    pub(crate) fn runnable(&self, version: Version) -> Option<&Runnable> {
        match version {
            Version::Latest => self.latest.as_ref(),
            Version::Published(number) => self.versions.get(&number).map(|(_, runnable)| runnable),
        }
    }

    /// Whether a revision can be invoked.
    pub(crate) fn state_of(&self, revision: &Revision) -> Option<State> {
        match revision.version {
            // What is in `latest` was prepared before it came there.
            Version::Latest => Some(State::Active),
            Version::Published(number) => self.versions.get(&number).map(|(record, _)| record.config.state),
        }
    }

    /// The revisions that calls can resolve to.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = RevisionId> {
        let versions = self.versions.values().map(|(_, runnable)| runnable.revision.id);
        self.latest
            .iter()
            .map(|runnable| runnable.revision.id)
            .chain(versions)
    }

    /// Those of them that can be invoked.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Arc<Revision>> {
        let versions = self.versions.values().map(|(_, runnable)| runnable);
        let all = self
            .latest
            .iter()
            .chain(versions)
            .map(|runnable| &runnable.revision);
        all.filter(|revision| self.state_of(revision) == Some(State::Active))
    }

    /// The packages that this function needs.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &String> {
        let record = &self.record;
        let own = std::iter::once(&record.latest).chain(&record.serving);
        own.chain(self.versions.values().map(|(version, _)| version))
            .map(|version| &version.package)
    }
}

impl Functions {
    pub(crate) fn get(&self, name: &FunctionName) -> Option<&Arc<Held>> {
        self.by_name.get(name)
    }

    /// Replaces what is held of one function, and its URLs.
    pub(crate) fn put(&mut self, held: Held) {
        let name = held.record.latest.config.name.clone();
        self.urls.retain(|_, url| url.function != name);
        self.urls.extend(
            held.record
                .urls
                .iter()
                .map(|url| (url.id.clone(), Arc::new(url.clone()))),
        );
        self.by_name.insert(name, Arc::new(held));
    }

    pub(crate) fn remove(&mut self, name: &FunctionName) {
        self.urls.retain(|_, url| url.function != *name);
        self.by_name.remove(name);
    }

    pub(crate) fn used_packages(&self) -> HashSet<String> {
        self.by_name
            .values()
            .flat_map(|held| held.packages().cloned().collect::<Vec<_>>())
            .collect()
    }
}

/// Lambda's words for a function that is not there.
pub(crate) fn not_found(arn: &str) -> RegistryError {
    RegistryError::NotFound(format!("Function not found: {arn}"))
}
