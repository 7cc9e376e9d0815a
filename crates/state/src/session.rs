//! A session: what one function of a run reads and writes, at one level of consistency.
//!
//! A run is one invocation, or one run of a DAG; in a DAG each function has a session of its own and what the run knows
//! travels between them as a [`SessionContext`]. After Cloudburst's algorithms 1 and 2 and AFT's read rule; where they
//! differ from the papers is said at [`rule`].

mod atomic;
mod context;
mod level;
mod lifecycle;
mod read;
mod rule;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use squall_types::FunctionName;

pub(crate) use self::context::Read;
pub use self::context::SessionContext;
pub use self::level::Level;
pub(crate) use self::lifecycle::begin_run;
use self::rule::Enforced;
pub use self::rule::Reads;
use crate::cache::Cache;
use crate::lattice::{Body, Capsule, Update};
use crate::node::Node;
use crate::state::Inner;
use crate::{BucketName, CacheId, Key, RunId, StateError, Value};

/// What a session is asked to be.
#[derive(Debug, Clone, Default)]
pub struct SessionRequest {
    /// How consistent.
    pub level: Level,
    /// Where its reads are cached.
    pub cache: CacheId,
    /// Names a transaction: at the level `atomic`, a second commit under the same name does nothing.
    pub transaction: Option<String>,
    /// What the run knows already; level and transaction are its own then.
    pub travelling: Option<SessionContext>,
    /// On whose behalf: it sees the buckets bound to this function only. `None` sees all.
    pub function: Option<FunctionName>,
}

/// See the module. Usable from many tasks at a time. Dropped without an end, it is aborted if it began its run.
pub struct Session {
    inner: Arc<Inner>,
    run: RunId,
    level: Level,
    cache: CacheId,
    function: Option<FunctionName>,
    transaction: Option<Arc<str>>,
    /// Whether the run is remembered at home, and by whom it was begun.
    remembered: bool,
    began_here: bool,
    view: Mutex<View>,
}

/// What the run has done so far.
#[derive(Default)]
struct View {
    reads: BTreeMap<Key, Read>,
    dependencies: crate::lattice::Dependencies,
    pending: BTreeMap<Key, Vec<Update>>,
    pending_bytes: usize,
    /// What further reads must fit.
    enforced: Enforced,
    over: bool,
}

impl Session {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> &Arc<Node> {
        &self.inner.node
    }

    fn cache(&self) -> Result<&Cache, StateError> {
        self.inner.node.cache(self.cache)
    }

    /// Whose session it is.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// How consistent it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The value of a register; `None` when it was never written, or deleted.
    ///
    /// # Errors
    /// [`StateError::OtherLattice`] when the key holds something else, and all that a read may run into.
    pub async fn get(&self, key: &Key) -> Result<Option<Value>, StateError> {
        let capsule = self.read(key).await?;
        match capsule.body() {
            Body::Absent => Ok(None),
            Body::Register(register) => Ok(register.value().cloned()),
            other => Err(StateError::OtherLattice {
                key: key.to_string(),
                found: other.name(),
                asked: "register",
            }),
        }
    }

    /// All concurrent values of a register, the one that [`Session::get`] gives first.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_all(&self, key: &Key) -> Result<Vec<Value>, StateError> {
        let capsule = self.read(key).await?;
        match capsule.body() {
            Body::Register(register) => Ok(register.values().into_iter().cloned().collect()),
            _ => Ok(self.get(key).await?.into_iter().collect()),
        }
    }

    /// The values of several registers, in the order of the keys.
    ///
    /// # Errors
    /// As [`Session::get`], for the first key that fails.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>, StateError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.get(key).await?);
        }
        Ok(values)
    }

    /// What a key holds, whichever lattice that is.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::NotBound`]; [`StateError::SnapshotLost`] and
    /// [`StateError::NoConsistentVersion`], after which the run must start again.
    pub async fn read(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        self.admit(&key.bucket).await?;
        match self.level {
            Level::Lww => self.cache()?.get_or_fetch(self.node(), key).await,
            Level::RepeatableRead => self.read_repeatable(key).await,
            Level::SingleKeyCausal => self.read_single(key).await,
            Level::MultiKeyCausal | Level::Causal => self.read_causal(key).await,
            Level::Atomic => self.read_atomic(key).await,
        }
    }

    /// What is in memory here, where the level lets it be read without more: a fast path that never waits.
    pub fn peek(&self, key: &Key) -> Option<Arc<Capsule>> {
        if self.level != Level::Lww || self.check(&key.bucket).is_err() {
            return None;
        }
        self.cache().ok()?.get(key)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn put(&self, key: &Key, value: Value) -> Result<(), StateError> {
        self.update(key, Update::Put(value)).await
    }

    /// Deletes whatever is there.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn delete(&self, key: &Key) -> Result<(), StateError> {
        self.update(key, Update::Delete).await
    }

    /// Adds to a counter, and gives its value after.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn counter_add(&self, key: &Key, by: i64) -> Result<i64, StateError> {
        match self.change(key, Update::Add(by)).await?.body() {
            Body::Counter(counter) => Ok(counter.value()),
            other => Err(StateError::OtherLattice {
                key: key.to_string(),
                found: other.name(),
                asked: "counter",
            }),
        }
    }

    /// Adds elements to a set.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn set_add(&self, key: &Key, elements: Vec<Bytes>) -> Result<(), StateError> {
        self.update(key, Update::SetAdd(elements)).await
    }

    /// Removes elements from a set.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn set_remove(&self, key: &Key, elements: Vec<Bytes>) -> Result<(), StateError> {
        self.update(key, Update::SetRemove(elements)).await
    }

    /// Writes one field of a map.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn map_put(&self, key: &Key, field: Bytes, value: Value) -> Result<(), StateError> {
        self.update(key, Update::MapPut(vec![(field, value)])).await
    }

    /// Changes a key. When it returns, the change is what the bucket promises (except at the level `atomic`, where that
    /// is so after the commit).
    ///
    /// # Errors
    /// [`StateError::OtherLattice`], [`StateError::TooLarge`], [`StateError::Full`], [`StateError::Store`]; nothing was
    /// written then, except that after a failure of the store it is not known.
    pub async fn update(&self, key: &Key, update: Update) -> Result<(), StateError> {
        self.change(key, update).await.map(drop)
    }

    /// As [`Session::update`]; gives what the key holds after.
    ///
    /// # Errors
    /// As [`Session::update`].
    pub async fn change(&self, key: &Key, update: Update) -> Result<Arc<Capsule>, StateError> {
        self.admit(&key.bucket).await?;
        self.check_update(&update)?;
        match self.level {
            Level::Atomic => self.buffer(key, update).await,
            Level::Lww | Level::RepeatableRead => self.write_stamped(key, update).await,
            Level::SingleKeyCausal | Level::MultiKeyCausal | Level::Causal => {
                self.write_causal(key, update).await
            }
        }
    }

    /// The keys of a bucket that start with `prefix`, behind `after`, in order; at most 1,000. A listing says what is
    /// there now: it is not part of what the level promises, and does not show what an atomic session has not committed.
    ///
    /// # Errors
    /// [`StateError::UnknownBucket`], [`StateError::NotBound`], [`StateError::Store`].
    pub async fn list(
        &self,
        bucket: &BucketName,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, StateError> {
        const LIMIT_MAX: usize = 1000;
        self.admit(bucket).await?;
        let found = self.inner.buckets.get(bucket)?;
        let home = &self.inner.node.home;
        let keys = home.list(&found, prefix, after, limit.min(LIMIT_MAX)).await?;
        keys.into_iter()
            .map(|key| Key::new(bucket.clone(), key))
            .collect()
    }
}
