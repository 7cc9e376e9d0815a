//! Event source mappings: what brings the events of a source to a function, batch by batch.
//!
//! [`Mappings`] is the handle: Lambda's API creates and changes them through it. What a source is and how its events
//! are taken and settled is behind [`Source`]; a queue is one. A mapping is written before it is acknowledged, and
//! works from when it is created, or from when the server starts, until it is disabled or deleted.

mod batch;
mod buckets;
mod pace;
mod queues;
mod record;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use squall_store::{Batch, Scan, Store, StoreError};
use squall_types::{FunctionRef, Invoke};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::buckets::BucketSource;
pub use self::queues::QueueSource;
pub use self::settings::{Change, Settings};
pub use self::source::{Source, Work};

/// The most mappings of a server.
const MAPPINGS_MAX: usize = 10_000;

/// Why a mapping was not made or changed. The texts are for callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MappingError {
    /// Something in the request may not be as it is.
    #[error("{0}")]
    InvalidParameter(String),
    /// There is such a mapping already.
    #[error("{0}")]
    Conflict(String),
    /// No mapping has this name.
    #[error("The resource you requested does not exist.")]
    NotFound,
    /// Our own fault; the log has the details.
    #[error("could not reach the mappings' store: {0}")]
    Store(#[from] StoreError),
}

/// A mapping as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its name.
    pub uuid: Uuid,
    /// Where events come from.
    pub source_arn: String,
    /// What runs for them.
    pub function: FunctionRef,
    /// How.
    pub settings: Settings,
    /// When it was last changed, in milliseconds of the Unix epoch.
    pub modified_ms: u64,
}

/// A mapping and what it does at the moment.
struct Live {
    mapping: Mapping,
    last_result: Arc<Mutex<String>>,
    /// Ends its work; whoever receives then knows that it has ended.
    working: Option<(CancellationToken, oneshot::Receiver<()>)>,
}

/// All mappings of a server. Cheap to clone.
#[derive(Clone)]
pub struct Mappings(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    invoke: Arc<dyn Invoke>,
    sources: Vec<Arc<dyn Source>>,
    live: Mutex<BTreeMap<Uuid, Live>>,
    /// Changes happen one at a time.
    changing: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Mappings {
    /// Reads the mappings; none works before [`run`](Self::run).
    ///
    /// # Errors
    /// [`MappingError::Store`].
    pub async fn open(
        store: Arc<dyn Store>,
        invoke: Arc<dyn Invoke>,
        sources: Vec<Arc<dyn Source>>,
    ) -> Result<Self, MappingError> {
        let mut live = BTreeMap::new();
        for (_, entry) in store.scan(Scan::prefix(record::MAPPINGS, Bytes::new())).await? {
            let mapping = record::decode(&entry.value)
                .map_err(|reason| StoreError::Corrupt(format!("a mapping is damaged: {reason}")))?;
            live.insert(mapping.uuid, Live::new(mapping));
        }
        Ok(Self(Arc::new(Inner {
            store,
            invoke,
            sources,
            live: Mutex::new(live),
            changing: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })))
    }

    /// Works until `stop`, and then until the last batch is settled.
    pub async fn run(self, stop: CancellationToken) {
        let all: Vec<Uuid> = self.0.live().keys().copied().collect();
        for uuid in all {
            self.start(uuid);
        }
        stop.cancelled().await;
        self.drain();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Takes no more events.
    pub fn drain(&self) {
        self.0.stop.cancel();
    }

    /// Makes a mapping. `timeout_secs` is the function's.
    ///
    /// # Errors
    /// [`MappingError`]'s refusals.
    pub async fn create(
        &self,
        source_arn: &str,
        function: FunctionRef,
        change: &Change,
        timeout_secs: u32,
    ) -> Result<Mapping, MappingError> {
        let source = self.source(source_arn)?;
        let settings = source.defaults(source_arn).with(change)?;
        source.check(source_arn, &settings, timeout_secs)?;
        let _one_at_a_time = self.0.changing.lock().await;
        self.check_new(source_arn, &function)?;
        let mapping = Mapping {
            uuid: Uuid::new_v4(),
            source_arn: source_arn.to_owned(),
            function,
            settings,
            modified_ms: now_ms(),
        };
        let batch = source.begin(&mapping, Batch::durable()).await?;
        if let Err(error) = self.save(&mapping, batch).await {
            source.end(&mapping, Batch::durable());
            return Err(error);
        }
        self.0.live().insert(mapping.uuid, Live::new(mapping.clone()));
        self.start(mapping.uuid);
        tracing::info!(mapping = %mapping.uuid, source = source_arn, function = %mapping.function, "created a mapping");
        Ok(mapping)
    }

    /// Changes a mapping; batches on their way are settled as they were begun.
    ///
    /// # Errors
    /// [`MappingError`]'s refusals; nothing is changed then.
    pub async fn update(
        &self,
        uuid: Uuid,
        function: Option<FunctionRef>,
        change: &Change,
        timeout_secs: u32,
    ) -> Result<Mapping, MappingError> {
        let _one_at_a_time = self.0.changing.lock().await;
        let mut mapping = self.get(uuid)?;
        mapping.settings = mapping.settings.with(change)?;
        if let Some(function) = function {
            if function != mapping.function {
                self.check_new(&mapping.source_arn, &function)?;
            }
            mapping.function = function;
        }
        let source = self.source(&mapping.source_arn)?;
        source.check(&mapping.source_arn, &mapping.settings, timeout_secs)?;
        mapping.modified_ms = now_ms();
        self.save(&mapping, Batch::durable()).await?;
        self.end(uuid).await;
        if let Some(live) = self.0.live().get_mut(&uuid) {
            live.mapping = mapping.clone();
        }
        self.start(uuid);
        Ok(mapping)
    }

    /// Deletes a mapping. Its events stay in their source.
    ///
    /// # Errors
    /// [`MappingError::NotFound`].
    pub async fn delete(&self, uuid: Uuid) -> Result<Mapping, MappingError> {
        let _one_at_a_time = self.0.changing.lock().await;
        let mapping = self.get(uuid)?;
        // What it has begun is settled before what its source knows of it goes.
        self.end(uuid).await;
        let mut batch = Batch::durable().delete(record::MAPPINGS, uuid.as_bytes().to_vec());
        if let Ok(source) = self.source(&mapping.source_arn) {
            batch = source.end(&mapping, batch);
        }
        self.0.store.commit(batch).await?;
        self.0.live().remove(&uuid);
        tracing::info!(mapping = %uuid, "deleted a mapping");
        Ok(mapping)
    }

    /// One mapping.
    ///
    /// # Errors
    /// [`MappingError::NotFound`].
    pub fn get(&self, uuid: Uuid) -> Result<Mapping, MappingError> {
        let live = self.0.live();
        let found = live.get(&uuid).ok_or(MappingError::NotFound)?;
        Ok(found.mapping.clone())
    }

    /// What came of a mapping's last batch: `OK`, `No records processed` or `PROBLEM: …`.
    pub fn last_result(&self, uuid: Uuid) -> String {
        let live = self.0.live();
        let result = live.get(&uuid).map(|live| live.last_result.clone());
        drop(live);
        result.map_or_else(String::new, |result| {
            result.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    /// All mappings, in the order of their names.
    pub fn all(&self) -> Vec<Mapping> {
        self.0.live().values().map(|live| live.mapping.clone()).collect()
    }

    fn source(&self, arn: &str) -> Result<&Arc<dyn Source>, MappingError> {
        let service = arn.split(':').nth(2).unwrap_or_default();
        let source = self.0.sources.iter().find(|source| source.service() == service);
        source.ok_or_else(|| {
            MappingError::InvalidParameter(format!(
                "Event sources of the service `{service}` are not supported by Squall; the ARN was {arn}."
            ))
        })
    }

    fn check_new(&self, source_arn: &str, function: &FunctionRef) -> Result<(), MappingError> {
        let live = self.0.live();
        if live.len() >= MAPPINGS_MAX {
            return Err(MappingError::InvalidParameter(format!(
                "There are {MAPPINGS_MAX} event source mappings, the most that there may be."
            )));
        }
        let mut all = live.values().map(|live| &live.mapping);
        match all.find(|other| other.source_arn == source_arn && other.function == *function) {
            None => Ok(()),
            Some(other) => Err(MappingError::Conflict(format!(
                "An event source mapping with arn (\" {source_arn} \") and function (\" {function} \") already exists. \
                 Please update or delete the existing mapping with UUID {}",
                other.uuid
            ))),
        }
    }

    async fn save(&self, mapping: &Mapping, batch: Batch) -> Result<(), MappingError> {
        let key = mapping.uuid.as_bytes().to_vec();
        let batch = batch.put(record::MAPPINGS, key, record::encode(mapping));
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// Begins a mapping's work, if it is enabled.
    fn start(&self, uuid: Uuid) {
        let mut live = self.0.live();
        let Some(one) = live.get_mut(&uuid) else { return };
        if !one.mapping.settings.enabled || one.working.is_some() || self.0.stop.is_cancelled() {
            return;
        }
        let Ok(source) = self.source(&one.mapping.source_arn) else {
            tracing::warn!(mapping = %uuid, "a mapping's source is of a kind that this version does not know");
            return;
        };
        let work = Work::new(
            one.mapping.clone(),
            self.0.invoke.clone(),
            one.last_result.clone(),
        );
        let (source, stop) = (source.clone(), self.0.stop.child_token());
        let (ended, has_ended) = oneshot::channel();
        one.working = Some((stop.clone(), has_ended));
        self.0.tasks.spawn(async move {
            source.run(work, stop).await;
            drop(ended);
        });
    }

    /// Ends a mapping's work, and waits until its last batch is settled.
    async fn end(&self, uuid: Uuid) {
        let working = self.0.live().get_mut(&uuid).and_then(|live| live.working.take());
        if let Some((stop, has_ended)) = working {
            stop.cancel();
            // It fails when the sender is gone, which is what is waited for.
            let _ = has_ended.await;
        }
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, BTreeMap<Uuid, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn new(mapping: Mapping) -> Self {
        Self {
            mapping,
            last_result: Arc::new(Mutex::new("No records processed".to_owned())),
            working: None,
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
