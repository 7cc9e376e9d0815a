//! The registry itself: opening it, asking it, and the one way in which it is changed.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use squall_store::{Batch, Expect, Scan, Seal, Store};
use squall_types::{
    FunctionName, FunctionRef, Home, InvokeError, PrepareError, Qualifier, Revision, RevisionId, RuntimeName,
    Version,
};
use tokio::sync::{Semaphore, broadcast, watch};

use crate::package::Packages;
use crate::record::{self, FUNCTIONS, FunctionRecord, VERSIONS, VersionRecord};
use crate::state::{Builder, Functions, Held, Runnable, not_found};
use crate::{Change, FunctionUrl, RegistryError, State, prepare};

/// Says whether this host can run a runtime, and if not, what to do about it.
pub type RuntimeCheck = Arc<dyn Fn(&RuntimeName) -> Result<(), String> + Send + Sync>;

/// Makes a revision ready to run, whatever that means to its runtime, before calls can resolve to it.
pub type Prepare = Arc<dyn Fn(Arc<Revision>) -> Preparing + Send + Sync>;

/// A preparation under way.
pub type Preparing = Pin<Box<dyn Future<Output = Result<(), PrepareError>> + Send>>;

/// Changes that a slow listener may be behind; past it, it is told that it missed some.
const CHANGES_KEPT: usize = 4096;
/// Preparations that run at once: each unpacks on a thread of its own.
const PREPARATIONS_MAX: usize = 4;

/// Where the registry keeps code, and what it allows.
#[derive(Debug, Clone)]
pub struct Config {
    /// Account and region for ARNs.
    pub home: Home,
    /// The folder for packages and unpacked code; made if it is not there.
    pub dir: PathBuf,
    /// Sizes and counts.
    pub limits: Limits,
    /// What seals the functions' records, and with them their environments.
    pub seal: Seal,
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
    pub invoked_arn: Arc<str>,
    /// The function's reserved concurrency: the most invocations that run at once; 0 stops it.
    pub reserved_concurrency: Option<u32>,
}

/// The set of functions. A cheap handle: clones share one registry.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) check: RuntimeCheck,
    pub(crate) prepare: Prepare,
    pub(crate) packages: Packages,
    pub(crate) builder: Builder,
    functions: RwLock<Functions>,
    /// One change at a time: what is checked still holds when it is written.
    writing: tokio::sync::Mutex<()>,
    /// Held for reading from keeping a package until its record is written; for writing by the sweep.
    pub(crate) sweeping: tokio::sync::RwLock<()>,
    unused: Mutex<HashSet<String>>,
    changes: broadcast::Sender<Change>,
    pub(crate) preparing: watch::Sender<usize>,
    pub(crate) preparations: Semaphore,
    /// Spreads calls over an alias's two versions.
    spread: AtomicU64,
}

/// A change of one function under way: what its record becomes, and its versions.
pub(crate) struct Edit {
    pub(crate) record: FunctionRecord,
    pub(crate) versions: BTreeMap<u64, VersionRecord>,
}

type Result<T, E = RegistryError> = std::result::Result<T, E>;

impl Registry {
    /// Opens the registry that the store holds. Functions whose preparation was cut short are prepared again.
    ///
    /// # Errors
    /// [`RegistryError::Platform`] when the folder or a record cannot be read, or is of another format.
    pub async fn open(
        store: Arc<dyn Store>,
        config: Config,
        check: RuntimeCheck,
        prepare: Prepare,
    ) -> Result<Self> {
        let packages = Packages::open(&config.dir, config.limits.clone())?;
        let builder = Builder {
            home: config.home.clone(),
            packages: packages.clone(),
        };
        let functions = load(&*store, &config.seal, &builder).await?;
        packages.remove_unused(functions.used_packages()).await?;
        let registry = Self {
            inner: Arc::new(Inner {
                store,
                config,
                check,
                prepare,
                packages,
                builder,
                functions: RwLock::new(functions),
                writing: tokio::sync::Mutex::default(),
                sweeping: tokio::sync::RwLock::default(),
                unused: Mutex::default(),
                changes: broadcast::Sender::new(CHANGES_KEPT),
                preparing: watch::Sender::new(0),
                preparations: Semaphore::new(PREPARATIONS_MAX),
                spread: AtomicU64::new(0),
            }),
        };
        registry.resume_preparations().await;
        Ok(registry)
    }

    /// What a call to `target` runs now. In memory, for every call; chooses between an alias's two versions.
    ///
    /// # Errors
    /// [`InvokeError::NotFound`] and [`InvokeError::NotReady`].
    pub fn resolve(&self, target: &FunctionRef) -> Result<Resolved, InvokeError> {
        let held = self.functions().get(&target.name).cloned();
        let qualifier = target.qualifier.as_ref();
        let absent = || {
            let shown = qualifier.cloned().unwrap_or(Qualifier::Latest);
            InvokeError::NotFound(self.inner.config.home.function_arn(&target.name, Some(&shown)))
        };
        let held = held.ok_or_else(absent)?;
        let (runnable, invoked_arn) = match qualifier {
            None => (held.latest.as_ref(), held.arn.clone()),
            Some(Qualifier::Latest) => {
                let runnable = held.latest.as_ref();
                (
                    runnable,
                    runnable.map_or_else(|| held.arn.clone(), |r| r.qualified_arn.clone()),
                )
            }
            Some(Qualifier::Version(number)) => {
                let (_, runnable) = held.versions.get(number).ok_or_else(absent)?;
                (Some(runnable), runnable.qualified_arn.clone())
            }
            Some(Qualifier::Alias(name)) => {
                let alias = held.record.aliases.get(name).ok_or_else(absent)?;
                let version = match alias.additional {
                    Some((second, share)) if self.next_share() < share => Version::Published(second),
                    _ => alias.version,
                };
                let arn = self
                    .inner
                    .config
                    .home
                    .function_arn(&target.name, qualifier)
                    .into();
                (held.runnable(version), arn)
            }
        };
        let ready = runnable.filter(|runnable| held.state_of(&runnable.revision) == Some(State::Active));
        let Some(Runnable { revision, .. }) = ready else {
            return Err(not_ready(&held));
        };
        Ok(Resolved {
            revision: revision.clone(),
            invoked_arn,
            reserved_concurrency: held.record.reserved_concurrency,
        })
    }

    /// The URL with this id, for a request that arrives at its host name. In memory, for every call.
    pub fn url_by_id(&self, id: &str) -> Option<Arc<FunctionUrl>> {
        self.functions().urls.get(id).cloned()
    }

    /// Tells of changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Whether any call could still resolve to this revision: for a listener that missed changes.
    pub fn is_current(&self, revision: RevisionId) -> bool {
        self.functions()
            .by_name
            .values()
            .any(|held| held.revisions().any(|id| id == revision))
    }

    /// The revisions that calls can resolve to and that are ready to run, in the order of their functions' names.
    pub fn active_revisions(&self) -> Vec<Arc<Revision>> {
        let functions = self.functions();
        let active = functions.by_name.values().flat_map(|held| held.active());
        active.cloned().collect()
    }

    /// Account and region.
    pub fn home(&self) -> &Home {
        &self.inner.config.home
    }

    /// What is allowed.
    pub fn limits(&self) -> &Limits {
        &self.inner.config.limits
    }

    /// The path of a package's zip file, by its SHA-256 in hexadecimal, where a function still uses it.
    pub fn package(&self, sha256_hex: &str) -> Option<PathBuf> {
        let functions = self.functions();
        let used = functions
            .by_name
            .values()
            .any(|held| held.packages().any(|package| package == sha256_hex));
        used.then(|| self.inner.packages.zip_path(sha256_hex))
    }

    /// Removes code that no function has used since the sweep before: what was just replaced may still be copied.
    ///
    /// # Errors
    /// [`RegistryError::Platform`] when the disk refuses.
    pub async fn sweep(&self) -> Result<()> {
        let _no_uploads = self.inner.sweeping.write().await;
        let mut used = self.functions().used_packages();
        let kept = self.inner.packages.kept().await?;
        let unused: HashSet<String> = kept.difference(&used).cloned().collect();
        {
            let mut before = self.inner.unused.lock().unwrap_or_else(PoisonError::into_inner);
            used.extend(unused.difference(&before).cloned());
            *before = unused;
        }
        self.inner.packages.remove_unused(used).await
    }

    pub(crate) fn functions(&self) -> RwLockReadGuard<'_, Functions> {
        // Writers only replace whole values, so a poisoned lock still guards whole ones.
        self.inner
            .functions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held of a function, or Lambda's 404.
    pub(crate) fn held(&self, name: &FunctionName) -> Result<Arc<Held>> {
        let absent = || not_found(&self.inner.config.home.function_arn(name, None));
        self.functions().get(name).cloned().ok_or_else(absent)
    }

    /// Changes one function: `apply` edits a copy, which is written durably and then seen.
    ///
    /// Runs in a task of its own: a caller that goes away leaves nothing half done.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        name: &FunctionName,
        apply: impl FnOnce(&mut Edit) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (registry, name) = (self.clone(), name.clone());
        let change = async move {
            let _one_at_a_time = registry.inner.writing.lock().await;
            let held = registry.held(&name)?;
            let mut edit = Edit {
                record: held.record.clone(),
                versions: held
                    .versions
                    .iter()
                    .map(|(number, (record, _))| (*number, record.clone()))
                    .collect(),
            };
            let answer = apply(&mut edit)?;
            registry.write(edit, Some(&held)).await?;
            Ok(answer)
        };
        joined(tokio::spawn(change).await)
    }

    /// Adds a function that is not there yet. Runs in a task of its own, as [`change`](Self::change) does.
    pub(crate) async fn add(&self, edit: Edit) -> Result<()> {
        let registry = self.clone();
        let add = async move {
            let _one_at_a_time = registry.inner.writing.lock().await;
            let name = &edit.record.latest.config.name;
            if registry.functions().get(name).is_some() {
                return Err(RegistryError::Conflict(format!("Function already exist: {name}")));
            }
            registry.write(edit, None).await
        };
        joined(tokio::spawn(add).await)
    }

    /// Removes a function and everything of it.
    pub(crate) async fn remove(&self, name: &FunctionName) -> Result<()> {
        let (registry, name) = (self.clone(), name.clone());
        let remove = async move {
            let _one_at_a_time = registry.inner.writing.lock().await;
            let held = registry.held(&name)?;
            let key = record::function_key(&name);
            let mut batch = Batch::durable()
                .expect(FUNCTIONS, key.clone(), Expect::Revision(held.stored))
                .delete(FUNCTIONS, key);
            for number in held.versions.keys() {
                batch = batch.delete(VERSIONS, record::version_key(&name, *number));
            }
            registry.inner.store.commit(batch).await?;
            registry
                .inner
                .functions
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
            registry.tell_replaced(held.revisions(), &HashSet::new());
            let _ = registry.inner.changes.send(Change::FunctionDeleted(name));
            Ok(())
        };
        joined(tokio::spawn(remove).await)
    }

    /// Writes an edit and shows it. The caller holds `writing`.
    async fn write(&self, edit: Edit, before: Option<&Held>) -> Result<()> {
        let name = edit.record.latest.config.name.clone();
        let key = record::function_key(&name);
        let expect = before.map_or(Expect::Absent, |held| Expect::Revision(held.stored));
        let mut batch = Batch::durable().expect(FUNCTIONS, key.clone(), expect).put(
            FUNCTIONS,
            key.clone(),
            record::encode(&self.inner.config.seal, &key, &edit.record)?,
        );
        let mut versions = BTreeMap::new();
        for (number, version) in edit.versions {
            let kept = before.and_then(|held| held.versions.get(&number));
            if kept.is_none_or(|(kept, _)| *kept != version) {
                let key = record::version_key(&name, number);
                let written = record::encode(&self.inner.config.seal, &key, &version)?;
                batch = batch.put(VERSIONS, key, written);
            }
            let runnable = match kept {
                Some((_, runnable)) if runnable.revision.id == version.revision => runnable.clone(),
                _ => self.inner.builder.runnable(&version),
            };
            versions.insert(number, (version, runnable));
        }
        for number in before.into_iter().flat_map(|held| held.versions.keys()) {
            if !versions.contains_key(number) {
                batch = batch.delete(VERSIONS, record::version_key(&name, *number));
            }
        }
        let committed = self.inner.store.commit(batch).await?;
        let held = self
            .inner
            .builder
            .held(edit.record, committed.sequence, versions, before);
        let current: HashSet<RevisionId> = held.revisions().collect();
        let is_unfinished = |held: &Held| prepare::is_unfinished(&held.record.latest.config);
        let begins = is_unfinished(&held) && !before.is_some_and(is_unfinished);
        self.inner
            .functions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .put(held);
        if let Some(before) = before {
            self.tell_replaced(before.revisions(), &current);
        }
        if begins {
            // Here, and not by the caller: who asked may be gone by now.
            self.prepare(name);
        }
        Ok(())
    }

    /// Nobody listening is nobody to tell: sending fails then, and that is fine.
    fn tell_replaced(&self, before: impl Iterator<Item = RevisionId>, current: &HashSet<RevisionId>) {
        for revision in before.filter(|revision| !current.contains(revision)) {
            let _ = self.inner.changes.send(Change::RevisionReplaced(revision));
        }
    }

    /// The next of numbers in 0.0..1.0 that are spread evenly, whatever the share (a golden-ratio sequence).
    fn next_share(&self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let point = self.inner.spread.fetch_add(GOLDEN, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are enough for a share")]
        let share = (point >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

/// A task that panicked has changed nothing that was acknowledged.
fn joined<T>(result: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        Err(RegistryError::Platform(format!(
            "a change was cut short: {error}"
        )))
    })
}

fn not_ready(held: &Held) -> InvokeError {
    let config = &held.record.latest.config;
    InvokeError::NotReady {
        state: format!("{:?}", config.state),
        reason: config
            .state_reason
            .clone()
            .unwrap_or_else(|| "the version is being prepared".to_owned()),
    }
}

async fn load(store: &dyn Store, seal: &Seal, builder: &Builder) -> Result<Functions> {
    let mut versions: BTreeMap<FunctionName, BTreeMap<u64, (VersionRecord, Runnable)>> = BTreeMap::new();
    for (key, entry) in store.scan(Scan::prefix(VERSIONS, "")).await? {
        let record: VersionRecord = record::decode(seal, &key, &entry.value)?;
        let Version::Published(number) = record.config.version else {
            return Err(RegistryError::Platform(
                "a version's record is of `$LATEST`".to_owned(),
            ));
        };
        let runnable = builder.runnable(&record);
        versions
            .entry(record.config.name.clone())
            .or_default()
            .insert(number, (record, runnable));
    }
    let mut functions = Functions::default();
    for (key, entry) in store.scan(Scan::prefix(FUNCTIONS, "")).await? {
        let record: FunctionRecord = record::decode(seal, &key, &entry.value)?;
        let own = versions.remove(&record.latest.config.name).unwrap_or_default();
        functions.put(builder.held(record, entry.revision, own, None));
    }
    Ok(functions)
}
