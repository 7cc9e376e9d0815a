//! Reads, level by level.

use std::sync::Arc;

use super::{Read, Session};
use crate::cache::unexpected;
use crate::lattice::{Capsule, Observed};
use crate::transport::{Peer, Reply, Request};
use crate::{CacheId, Key, StateError};

/// How often a read starts anew because another of its session came between.
const ATTEMPTS: usize = 16;

impl Session {
    /// Cloudburst's algorithm 1: the version of the first read, wherever in the run that was.
    pub(super) async fn read_repeatable(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        let cache = self.cache()?;
        for _ in 0..ATTEMPTS {
            let known = self.view().reads.get(key).cloned();
            if let Some(known) = known {
                return self.read_again(key, &known).await;
            }
            let capsule = cache.get_or_fetch(self.node(), key).await?;
            let mut view = self.view();
            if view.reads.contains_key(key) {
                continue;
            }
            cache.keep(self.run, key, &capsule)?;
            view.reads.insert(key.clone(), self.as_read(&capsule));
            return Ok(capsule);
        }
        Err(StateError::inconsistent(key))
    }

    /// The version that the run has read before, from here or from the cache that kept it.
    pub(super) async fn read_again(&self, key: &Key, known: &Read) -> Result<Arc<Capsule>, StateError> {
        let cache = self.cache()?;
        if let Some(kept) = cache.snapshot(self.run, key)
            && *kept.version() == known.observed.version
        {
            return Ok(kept);
        }
        if let Some(here) = cache
            .get(key)
            .filter(|here| *here.version() == known.observed.version)
        {
            cache.keep(self.run, key, &here)?;
            return Ok(here);
        }
        let request = Request::Snapshot {
            run: self.run,
            key: key.clone(),
        };
        let upstream = self
            .node()
            .ask(self.cache, Peer::Cache(known.cache), request)
            .await;
        match upstream {
            Ok(Reply::Capsule(Some(kept))) if *kept.version() == known.observed.version => Ok(kept),
            Ok(Reply::Capsule(_)) => Err(StateError::lost(key, known.cache)),
            Ok(_) => Err(unexpected()),
            Err(StateError::Unreachable { .. }) => Err(StateError::lost(key, known.cache)),
            Err(other) => Err(other),
        }
    }

    /// Any version; what it is, is remembered for a write.
    pub(super) async fn read_single(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        let capsule = self.cache()?.get_or_fetch(self.node(), key).await?;
        self.view().saw(key, &capsule, self.cache);
        Ok(capsule)
    }

    /// Cloudburst's algorithm 2: the newest version that fits what was read.
    pub(super) async fn read_causal(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        for _ in 0..ATTEMPTS {
            let capsule = self.find_fitting(key).await?;
            let mut view = self.view();
            // Another read of this session may have come between.
            if view.enforced.fits(key, &capsule) {
                view.enforced.take_in(key, &capsule);
                view.saw(key, &capsule, self.cache);
                return Ok(capsule);
            }
        }
        Err(StateError::inconsistent(key))
    }

    /// What is here if it fits, or else the newest version at home that does.
    pub(super) async fn find_fitting(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        let cache = self.cache()?;
        let here = cache.get_covered(self.node(), key).await?;
        let request = {
            let view = self.view();
            if view.enforced.fits(key, &here) {
                return Ok(here);
            }
            Request::Fetch {
                key: key.clone(),
                at_least: view.enforced.at_least(key),
                reads: view.enforced.reads.clone(),
            }
        };
        match self.node().ask(self.cache, Peer::Home, request).await? {
            Reply::Capsule(Some(found)) => {
                cache.take_in(key, &found);
                Ok(found)
            }
            Reply::Capsule(None) => Err(StateError::inconsistent(key)),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn as_read(&self, capsule: &Capsule) -> Read {
        Read {
            observed: Observed {
                version: capsule.version().clone(),
                own: Vec::new(),
            },
            cache: self.cache,
        }
    }
}

impl super::View {
    /// Remembers what a user has seen, and what that depends on.
    pub(super) fn saw(&mut self, key: &Key, capsule: &Capsule, cache: CacheId) {
        let read = self.reads.entry(key.clone()).or_default();
        read.observed.version.merge(capsule.version());
        read.cache = cache;
        for (needed, dependency) in capsule.dependencies() {
            self.dependencies
                .entry(needed.clone())
                .or_default()
                .merge(dependency);
        }
    }
}
