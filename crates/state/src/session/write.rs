//! Writes that are committed one by one.

use std::sync::Arc;

use super::{Level, Session, View};
use crate::cache::unexpected;
use crate::home::{CommitRequest, Committed, KeyWrite};
use crate::lattice::{Capsule, Clock, Dependencies, Dot, Observed, Update};
use crate::transport::{Peer, Reply, Request};
use crate::value::VALUE_BYTES_MAX;
use crate::{Key, StateError};

/// The most elements of one update.
const ELEMENTS_MAX: usize = 10_000;

impl Session {
    pub(super) fn check_update(&self, update: &Update) -> Result<(), StateError> {
        if self.view().over {
            return Err(StateError::SessionOver);
        }
        let bytes = update.bytes();
        if bytes > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge {
                what: "a value",
                bytes,
                max: VALUE_BYTES_MAX,
            });
        }
        if update.is_nan() {
            return Err(StateError::Invalid("NaN has no place in an order".to_owned()));
        }
        if update.elements() > ELEMENTS_MAX {
            return Err(StateError::Full {
                what: "one update".to_owned(),
                max: ELEMENTS_MAX as u64,
            });
        }
        Ok(())
    }

    /// At `lww` and `repeatable-read`: the last writer wins.
    pub(super) async fn write_stamped(&self, key: &Key, update: Update) -> Result<Arc<Capsule>, StateError> {
        let home = &self.inner.node.home;
        let own = matches!(update, Update::Put(_)).then(|| update.clone());
        let write = KeyWrite {
            key: key.clone(),
            updates: vec![update],
            observed: None,
            stamp: Some(home.clock().tick(home.now())),
        };
        let (written, dot) = self.commit_one(write, Dependencies::new()).await?;
        if self.level == Level::RepeatableRead {
            // What the run reads from now on is what it has written, even where somebody later has won meanwhile.
            let kept = match own {
                Some(own) => {
                    let mut kept = Capsule::default();
                    kept.apply(own, dot, None)
                        .expect("an empty capsule takes every update");
                    Arc::new(kept)
                }
                None => written.clone(),
            };
            self.cache()?.keep(self.run, key, &kept)?;
            self.view().reads.insert(key.clone(), self.as_read(&kept));
        }
        Ok(written)
    }

    /// At the causal levels: what the run had not seen stays beside it, and what it had seen is depended on.
    pub(super) async fn write_causal(&self, key: &Key, update: Update) -> Result<Arc<Capsule>, StateError> {
        let known = self.view().reads.get(key).map(|read| read.observed.clone());
        let observed = match known {
            Some(observed) => observed,
            // A blind write replaces what a read would have found.
            None => Observed {
                version: self
                    .cache()?
                    .get_or_fetch(self.node(), key)
                    .await?
                    .version()
                    .clone(),
                own: Vec::new(),
            },
        };
        let dependencies = match self.level {
            Level::SingleKeyCausal => Dependencies::new(),
            _ => self.view().all_dependencies(),
        };
        let write = KeyWrite {
            key: key.clone(),
            updates: vec![update],
            observed: Some(observed.clone()),
            stamp: None,
        };
        let (written, dot) = self.commit_one(write, dependencies).await?;
        let mut view = self.view();
        let read = view.reads.entry(key.clone()).or_default();
        read.observed.version.merge(&observed.version);
        read.observed.own.push(dot);
        read.cache = self.cache;
        if self.level != Level::SingleKeyCausal {
            let bound = read.observed.bound();
            view.enforced.reads.insert(key.clone(), bound);
        }
        Ok(written)
    }

    async fn commit_one(
        &self,
        write: KeyWrite,
        dependencies: Dependencies,
    ) -> Result<(Arc<Capsule>, Dot), StateError> {
        let request = CommitRequest {
            writes: vec![write],
            dependencies,
            together: false,
            transaction: None,
        };
        let mut committed = self.commit_at_home(request).await?;
        let (_, capsule, dot) = committed.capsules.pop().ok_or_else(unexpected)?;
        Ok((capsule, dot))
    }

    /// Commits, and takes what came of it into the cache here.
    pub(super) async fn commit_at_home(&self, request: CommitRequest) -> Result<Committed, StateError> {
        let reply = self
            .node()
            .ask(self.cache, Peer::Home, Request::Commit(request))
            .await?;
        let Reply::Committed(committed) = reply else {
            return Err(unexpected());
        };
        let cache = self.cache()?;
        for (key, capsule, _) in &committed.capsules {
            cache.take_in(key, capsule);
        }
        Ok(committed)
    }
}

impl View {
    /// What a write now depends on: everything that was read, and all that this depends on.
    pub(super) fn all_dependencies(&self) -> Dependencies {
        let mut all = self.dependencies.clone();
        for (key, read) in &self.reads {
            let version: Clock = read.observed.bound();
            if version.is_empty() {
                continue;
            }
            let dependency = all.entry(key.clone()).or_default();
            dependency.version.merge(&version);
            dependency.since = 0;
        }
        all
    }
}
