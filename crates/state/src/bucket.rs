//! Buckets, what each keeps and for how long, and which functions see which.
//!
//! Records are in the store; all of them are in memory too, so that resolving one costs no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Batch, Scan, Space, Store};
use squall_types::FunctionName;

use crate::{BucketName, StateError};

/// Bucket records, by name.
const BUCKETS: Space = Space("state_buckets");
/// Which buckets a function sees, by its name.
const BINDINGS: Space = Space("state_bindings");
/// The most buckets of a node.
const BUCKETS_MAX: usize = 10_000;
/// The most buckets that one function sees.
const BINDINGS_MAX: usize = 100;
const VERSION: u8 = 1;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeping {
    /// Power loss.
    #[default]
    Durable,
    /// The end of the process, not of the machine.
    Buffered,
    /// Nothing: never in the store, gone with the process, the bucket, or when it was not used for its time.
    Memory,
}

impl Keeping {
    /// The word for it on every surface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Buffered => "buffered",
            Self::Memory => "memory",
        }
    }

    /// What a word names.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Durable, Self::Buffered, Self::Memory]
            .into_iter()
            .find(|keeping| keeping.as_str() == text)
    }
}

/// How a bucket is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSettings {
    /// What a write survives.
    pub keeping: Keeping,
    /// The most bytes that a memory bucket holds.
    pub memory_bytes_max: u64,
    /// A memory bucket that nobody has used for so long is emptied.
    pub idle_after: Option<Duration>,
    /// Whether changes are kept for [`crate::State::changes`], until they are trimmed.
    pub keeps_changes: bool,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            keeping: Keeping::Durable,
            memory_bytes_max: 256 * 1024 * 1024,
            idle_after: None,
            keeps_changes: false,
        }
    }
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// How it is set up.
    pub settings: BucketSettings,
    /// When it was made, in microseconds since 1970.
    pub created: u64,
    /// What its keys start with in the store. Never used again for another bucket.
    pub(crate) id: u64,
}

/// All buckets and bindings.
pub(crate) struct Buckets {
    store: Arc<dyn Store>,
    known: RwLock<Known>,
    /// One change of records at a time.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    buckets: BTreeMap<BucketName, Arc<Bucket>>,
    bindings: BTreeMap<FunctionName, BTreeSet<BucketName>>,
}

impl Buckets {
    pub(crate) async fn open(store: Arc<dyn Store>) -> Result<Self, StateError> {
        let mut known = Known::default();
        for (_, entry) in store.scan(Scan::prefix(BUCKETS, Bytes::new())).await? {
            let bucket: Bucket = decode(&entry.value)?;
            known.buckets.insert(bucket.name.clone(), Arc::new(bucket));
        }
        for (key, entry) in store.scan(Scan::prefix(BINDINGS, Bytes::new())).await? {
            let name = std::str::from_utf8(&key).ok().and_then(|name| name.parse().ok());
            let name = name.ok_or_else(|| StateError::Corrupt("a binding of no function".to_owned()))?;
            known.bindings.insert(name, decode(&entry.value)?);
        }
        Ok(Self {
            store,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn get(&self, name: &BucketName) -> Result<Arc<Bucket>, StateError> {
        let found = self.known().buckets.get(name).cloned();
        found.ok_or_else(|| StateError::UnknownBucket {
            bucket: name.to_string(),
        })
    }

    pub(crate) fn list(&self) -> Vec<Arc<Bucket>> {
        self.known().buckets.values().cloned().collect()
    }

    /// Makes a bucket; one that is there already with the same settings is the answer too.
    pub(crate) async fn create(
        &self,
        name: BucketName,
        settings: BucketSettings,
        now: u64,
    ) -> Result<Arc<Bucket>, StateError> {
        let _changing = self.changing.lock().await;
        if let Some(found) = self.known().buckets.get(&name) {
            return if found.settings == settings {
                Ok(found.clone())
            } else {
                Err(StateError::BucketExists {
                    bucket: name.to_string(),
                })
            };
        }
        if self.known().buckets.len() >= BUCKETS_MAX {
            return Err(StateError::Full {
                what: "the list of buckets".to_owned(),
                max: BUCKETS_MAX as u64,
            });
        }
        let id = uuid::Uuid::new_v4().as_u64_pair().0;
        let bucket = Bucket {
            name,
            settings,
            created: now,
            id,
        };
        let key = Bytes::copy_from_slice(bucket.name.as_str().as_bytes());
        let batch = Batch::durable().put(BUCKETS, key, encode(&bucket));
        self.store.commit(batch).await?;
        let bucket = Arc::new(bucket);
        self.change(|known| {
            known.buckets.insert(bucket.name.clone(), bucket.clone());
        });
        Ok(bucket)
    }

    /// Forgets a bucket; what it held is the home's to remove.
    pub(crate) async fn delete(&self, name: &BucketName) -> Result<Arc<Bucket>, StateError> {
        let _changing = self.changing.lock().await;
        let bucket = self.get(name)?;
        let key = Bytes::copy_from_slice(name.as_str().as_bytes());
        self.store.commit(Batch::durable().delete(BUCKETS, key)).await?;
        self.change(|known| {
            known.buckets.remove(name);
        });
        Ok(bucket)
    }

    pub(crate) fn bound(&self, function: &FunctionName) -> Vec<BucketName> {
        let known = self.known();
        let bound = known.bindings.get(function);
        bound
            .map(|bound| bound.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// # Errors
    /// [`StateError::NotBound`] unless the bucket has the function's own name or was bound to it.
    pub(crate) fn check_bound(&self, function: &FunctionName, bucket: &BucketName) -> Result<(), StateError> {
        let own = function.as_str() == bucket.as_str();
        if own
            || self
                .known()
                .bindings
                .get(function)
                .is_some_and(|bound| bound.contains(bucket))
        {
            return Ok(());
        }
        Err(StateError::NotBound {
            bucket: bucket.to_string(),
            function: function.to_string(),
        })
    }

    /// Lets a function see a bucket beside the one of its own name.
    pub(crate) async fn bind(&self, function: &FunctionName, bucket: &BucketName) -> Result<(), StateError> {
        let _changing = self.changing.lock().await;
        self.get(bucket)?;
        let mut bound = self.still_bound(function);
        bound.insert(bucket.clone());
        if bound.len() > BINDINGS_MAX {
            return Err(StateError::Full {
                what: format!("the bindings of `{function}`"),
                max: BINDINGS_MAX as u64,
            });
        }
        self.keep_bound(function, bound).await
    }

    /// Takes a bucket away from a function.
    pub(crate) async fn unbind(
        &self,
        function: &FunctionName,
        bucket: &BucketName,
    ) -> Result<(), StateError> {
        let _changing = self.changing.lock().await;
        let mut bound = self.still_bound(function);
        bound.remove(bucket);
        self.keep_bound(function, bound).await
    }

    /// What a function sees, without the buckets that were removed. Changed under the lock only, so that of two
    /// changes at once neither is lost.
    fn still_bound(&self, function: &FunctionName) -> BTreeSet<BucketName> {
        let known = self.known();
        let bound = known.bindings.get(function).into_iter().flatten();
        bound
            .filter(|bucket| known.buckets.contains_key(*bucket))
            .cloned()
            .collect()
    }

    async fn keep_bound(
        &self,
        function: &FunctionName,
        bound: BTreeSet<BucketName>,
    ) -> Result<(), StateError> {
        let key = Bytes::copy_from_slice(function.as_str().as_bytes());
        let batch = if bound.is_empty() {
            Batch::durable().delete(BINDINGS, key)
        } else {
            Batch::durable().put(BINDINGS, key, encode(&bound))
        };
        self.store.commit(batch).await?;
        self.change(|known| {
            if bound.is_empty() {
                known.bindings.remove(function);
            } else {
                known.bindings.insert(function.clone(), bound);
            }
        });
        Ok(())
    }
}

fn encode(record: &impl Serialize) -> Bytes {
    let bytes = postcard::to_extend(record, vec![VERSION]);
    bytes.expect("a record is made of what postcard writes").into()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| StateError::Corrupt(error.to_string()))
        }
        _ => Err(StateError::Corrupt(
            "a bucket's record has a format of its own".to_owned(),
        )),
    }
}
