//! What travels with a run from function to function.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Level;
use crate::lattice::{Dependencies, Observed, Update};
use crate::{CacheId, Key, RunId, StateError};

const VERSION: u8 = 1;
/// The most bytes of a context: what a run has read must stay small beside what it computes.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a run has read of a key, or written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// What it knows of it, and so replaces with a write.
    pub observed: Observed,
    /// Which cache has kept the version for the run, at the levels that keep it.
    pub cache: CacheId,
}

/// See the module. Opaque to everybody else; small unless the run is atomic and writes much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionContext {
    pub(crate) run: RunId,
    pub(crate) level: Level,
    pub(crate) transaction: Option<String>,
    pub(crate) reads: BTreeMap<Key, Read>,
    pub(crate) dependencies: Dependencies,
    pub(crate) pending: BTreeMap<Key, Vec<Update>>,
}

impl SessionContext {
    pub(crate) fn new(level: Level, transaction: Option<String>) -> Self {
        Self {
            run: RunId::random(),
            level,
            transaction,
            reads: BTreeMap::new(),
            dependencies: Dependencies::new(),
            pending: BTreeMap::new(),
        }
    }

    /// How consistent the run is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Which run it is.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Where versions are kept for the run.
    pub fn caches(&self) -> Vec<CacheId> {
        let mut caches: Vec<CacheId> = self.reads.values().map(|read| read.cache).collect();
        caches.sort_unstable();
        caches.dedup();
        caches
    }

    /// The context as bytes.
    ///
    /// # Errors
    /// [`StateError::TooLarge`].
    pub fn encode(&self) -> Result<Bytes, StateError> {
        let bytes = postcard::to_extend(self, vec![VERSION]);
        let bytes: Vec<u8> = bytes.expect("a context is made of what postcard writes");
        if bytes.len() > BYTES_MAX {
            return Err(StateError::TooLarge {
                what: "what a run has read and written",
                bytes: bytes.len(),
                max: BYTES_MAX,
            });
        }
        Ok(bytes.into())
    }

    /// The context that bytes hold.
    ///
    /// # Errors
    /// [`StateError::Invalid`] when they hold none.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let invalid =
            |reason: String| StateError::Invalid(format!("this is not the context of a session: {reason}"));
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| invalid(error.to_string())),
            _ => Err(invalid(format!("its format is not {VERSION}"))),
        }
    }

    /// Puts together what several functions of a run bring to one that waits for all of them. Where two have read
    /// different versions of a key, the run goes on with the later one; writes of the later in the list come last.
    ///
    /// # Errors
    /// [`StateError::Invalid`] when there is none, or they are of different runs.
    pub fn merge(contexts: impl IntoIterator<Item = Self>) -> Result<Self, StateError> {
        let mut contexts = contexts.into_iter();
        let invalid = |what: &str| StateError::Invalid(what.to_owned());
        let mut merged = contexts
            .next()
            .ok_or_else(|| invalid("there is no context to go on with"))?;
        for other in contexts {
            if other.run != merged.run {
                return Err(invalid("contexts of different runs do not go together"));
            }
            for (key, read) in other.reads {
                let known = merged.reads.entry(key).or_insert_with(|| read.clone());
                let own = read
                    .observed
                    .own
                    .iter()
                    .filter(|dot| !known.observed.own.contains(dot));
                let own: Vec<_> = own.copied().collect();
                known.observed.own.extend(own);
                if read.observed.version.last() > known.observed.version.last() {
                    known.observed.version = read.observed.version;
                    known.cache = read.cache;
                }
            }
            for (key, dependency) in other.dependencies {
                merged.dependencies.entry(key).or_default().merge(&dependency);
            }
            for (key, updates) in other.pending {
                let known = merged.pending.entry(key).or_default();
                // Both bring what the run had written before they parted.
                let common = known.iter().zip(&updates).take_while(|(a, b)| a == b).count();
                known.extend(updates.into_iter().skip(common));
            }
        }
        Ok(merged)
    }
}
