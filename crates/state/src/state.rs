//! The state of a node: what everybody else holds. See the crate.

use std::sync::Arc;

use squall_store::Store;
use squall_types::FunctionName;
use tokio_util::sync::CancellationToken;

use crate::bucket::Buckets;
use crate::cache::Cache;
use crate::home::Home;
use crate::mailbox::Mailbox;
use crate::node::Node;
use crate::session::{Level, Session, SessionContext, SessionRequest};
use crate::transport::{InProcess, Transport};
use crate::watch::Watch;
use crate::{Bucket, BucketName, BucketSettings, CacheId, Change, Config, Cursor, Keeping, Key, StateError};

/// The most caches of a node.
const CACHES_MAX: u16 = 64;

/// A node's state. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) node: Arc<Node>,
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) config: Config,
    mailbox: Mailbox,
}

/// How much a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSize {
    /// Keys.
    pub keys: usize,
    /// Bytes, about.
    pub bytes: usize,
}

impl State {
    /// Opens what the store holds. [`State::run`] must run beside it.
    ///
    /// # Errors
    /// [`StateError::Store`] and [`StateError::Corrupt`].
    pub async fn open(store: Arc<dyn Store>, config: Config) -> Result<Self, StateError> {
        Self::open_with(store, config, Arc::new(InProcess::default())).await
    }

    /// As [`State::open`], with messages between caches and home on a transport of the caller's.
    ///
    /// # Errors
    /// As [`State::open`]; [`StateError::Invalid`] for a number of caches that cannot be.
    pub async fn open_with(
        store: Arc<dyn Store>,
        config: Config,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StateError> {
        if config.caches == 0 || config.caches > CACHES_MAX {
            return Err(StateError::Invalid(format!(
                "a node has 1 to {CACHES_MAX} caches, not {}",
                config.caches
            )));
        }
        let buckets = Arc::new(Buckets::open(store.clone()).await?);
        let home = Home::open(store.clone(), buckets.clone(), config.clone()).await?;
        let cache = |id| Cache::new(CacheId(id), config.cache_bytes_max, config.snapshot_bytes_max);
        let caches = (0..config.caches).map(cache).collect();
        let node = Arc::new(Node {
            home,
            caches,
            transport: transport.clone(),
        });
        transport.attach(Arc::downgrade(&node));
        let mailbox = Mailbox::open(store, config.inbox_messages_max, config.message_bytes_max).await?;
        Ok(Self(Arc::new(Inner {
            node,
            buckets,
            config,
            mailbox,
        })))
    }

    /// Keeps caches in step and forgets what is over, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut period = tokio::time::interval(self.0.config.sync_period);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut transactions = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = period.tick() => {}
            }
            self.sync().await;
            match self.0.node.home.forget_transactions(transactions.take()).await {
                Ok(next) => transactions = next,
                Err(error) => tracing::warn!(%error, "could not forget old transactions"),
            }
        }
    }

    /// One round of what [`State::run`] does: after it, caches have what had been committed before it, and what is over
    /// is forgotten.
    pub async fn sync(&self) {
        for cache in &self.0.node.caches {
            if let Err(error) = cache.sync(&self.0.node).await {
                tracing::debug!(cache = cache.id().0, %error, "a cache could not catch up");
            }
        }
        match self.0.node.home.sweep().await {
            Ok(swept) => {
                for cache in &self.0.node.caches {
                    swept.expired.iter().for_each(|run| cache.release(*run));
                    if !swept.emptied.is_empty() {
                        cache.forget(|key| !swept.emptied.contains(&key.bucket));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "could not sweep state"),
        }
    }

    /// Begins a session, and with it a run if none is travelling.
    ///
    /// # Errors
    /// [`StateError::RunExpired`], [`StateError::Full`], [`StateError::Invalid`].
    pub fn session(&self, request: SessionRequest) -> Result<Session, StateError> {
        Session::begin(&self.0, request)
    }

    /// Begins a run whose sessions come later: for a DAG with several sources.
    ///
    /// # Errors
    /// [`StateError::Full`], [`StateError::Invalid`].
    pub fn begin(&self, level: Level, transaction: Option<String>) -> Result<SessionContext, StateError> {
        crate::session::begin_run(&self.0, level, transaction)
    }

    /// Makes a bucket. One of the same name and settings is the answer too.
    ///
    /// # Errors
    /// [`StateError::BucketExists`] when there is one with other settings; [`StateError::Full`],
    /// [`StateError::Store`].
    pub async fn create_bucket(
        &self,
        name: BucketName,
        settings: BucketSettings,
    ) -> Result<Arc<Bucket>, StateError> {
        if settings.keeps_changes && settings.keeping == Keeping::Memory {
            return Err(StateError::Invalid(
                "a memory bucket keeps no changes: make it durable or buffered".to_owned(),
            ));
        }
        self.0
            .buckets
            .create(name, settings, self.0.node.home.now())
            .await
    }

    /// A bucket.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`].
    pub fn bucket(&self, name: &BucketName) -> Result<Arc<Bucket>, StateError> {
        self.0.buckets.get(name)
    }

    /// All buckets, by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.0.buckets.list()
    }

    /// Deletes a bucket with all that it holds.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::Store`].
    pub async fn delete_bucket(&self, name: &BucketName) -> Result<(), StateError> {
        let bucket = self.0.buckets.delete(name).await?;
        self.0.node.home.clear(&bucket).await?;
        for cache in &self.0.node.caches {
            cache.forget(|key| key.bucket != *name);
        }
        Ok(())
    }

    /// Lets a function see a bucket beside the one of its own name.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::Full`], [`StateError::Store`].
    pub async fn bind(&self, function: &FunctionName, bucket: &BucketName) -> Result<(), StateError> {
        self.0.buckets.bind(function, bucket).await
    }

    /// Takes a bucket away from a function; one that was not bound is no error.
    ///
    /// # Errors
    /// [`StateError::Store`].
    pub async fn unbind(&self, function: &FunctionName, bucket: &BucketName) -> Result<(), StateError> {
        self.0.buckets.unbind(function, bucket).await
    }

    /// The buckets bound to a function, the one of its own name not among them.
    pub fn bound(&self, function: &FunctionName) -> Vec<BucketName> {
        self.0.buckets.bound(function)
    }

    /// # Errors
    /// [`StateError::NotBound`] unless the bucket has the function's own name or is bound to it.
    pub fn check_bound(&self, function: &FunctionName, bucket: &BucketName) -> Result<(), StateError> {
        self.0.buckets.check_bound(function, bucket)
    }

    /// Bytes that a memory bucket takes.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`].
    pub fn memory_bytes(&self, name: &BucketName) -> Result<u64, StateError> {
        Ok(self.0.node.home.memory_bytes(&*self.0.buckets.get(name)?))
    }

    /// Changes of a bucket that keeps them, behind a cursor or from the first that is kept.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::Store`].
    pub async fn changes(
        &self,
        bucket: &BucketName,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Change>, StateError> {
        let bucket = self.0.buckets.get(bucket)?;
        self.0.node.home.read_changes(&bucket, after, limit).await
    }

    /// Forgets changes up to and with a cursor.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::Store`].
    pub async fn trim_changes(&self, bucket: &BucketName, upto: &Cursor) -> Result<(), StateError> {
        let bucket = self.0.buckets.get(bucket)?;
        self.0.node.home.trim_changes(&bucket, upto).await
    }

    /// Follows the changes of the keys that start with `prefix`, in order, from behind a cursor on.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`]; [`StateError::Invalid`] when the bucket keeps no changes.
    pub fn watch(
        &self,
        bucket: &BucketName,
        prefix: impl Into<bytes::Bytes>,
        after: Option<Cursor>,
    ) -> Result<Watch, StateError> {
        let bucket = self.0.buckets.get(bucket)?;
        Watch::new(self.0.node.home.clone(), bucket, prefix.into(), after)
    }

    /// Messages between running functions.
    pub fn mailbox(&self) -> &Mailbox {
        &self.0.mailbox
    }

    /// How many of the keys each cache holds, in the order of their ids: for placing a function beside its data.
    pub fn cached_on(&self, keys: &[Key]) -> Vec<(CacheId, usize)> {
        let caches = self.0.node.caches.iter();
        caches
            .map(|cache| (cache.id(), keys.iter().filter(|key| cache.holds(key)).count()))
            .collect()
    }

    /// How much each cache holds.
    pub fn cache_sizes(&self) -> Vec<CacheSize> {
        let sizes = self.0.node.caches.iter().map(Cache::size);
        sizes.map(|(keys, bytes)| CacheSize { keys, bytes }).collect()
    }

    /// Bytes of metadata of each key in a cache.
    pub fn metadata_bytes(&self, cache: CacheId) -> Vec<usize> {
        self.0
            .node
            .cache(cache)
            .map(Cache::metadata_bytes)
            .unwrap_or_default()
    }

    /// Makes a cache lose everything, as when the process that holds it dies.
    ///
    /// # Errors
    /// [`StateError::Invalid`] when there is no such cache.
    pub fn lose_cache(&self, cache: CacheId) -> Result<(), StateError> {
        self.0.node.cache(cache)?.lose_everything();
        Ok(())
    }
}
