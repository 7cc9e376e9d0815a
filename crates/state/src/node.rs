//! A home and its caches, and who answers which message.

use std::sync::Arc;

use crate::cache::Cache;
use crate::home::Home;
use crate::lattice::Capsule;
use crate::transport::{Peer, Reply, Request, Transport};
use crate::{CacheId, Key, StateError};

/// What a [`Transport`] delivers to.
pub struct Node {
    pub(crate) home: Home,
    pub(crate) caches: Vec<Cache>,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Node {
    pub(crate) fn cache(&self, id: CacheId) -> Result<&Cache, StateError> {
        let found = self.caches.get(usize::from(id.0));
        found.ok_or_else(|| StateError::Invalid(format!("there is no cache {}", id.0)))
    }

    /// Answers a message.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn serve(&self, to: Peer, request: Request) -> Result<Reply, StateError> {
        match (to, request) {
            (Peer::Home, Request::Fetch { key, at_least, reads }) => {
                let found = self.home.fetch(&key, &at_least, &reads).await?;
                Ok(Reply::Capsule(found))
            }
            (Peer::Home, Request::Commit(request)) => {
                let (committed, changed) = self.home.commit(request).await?;
                if !changed.is_empty() {
                    let changed: Arc<[(Key, Arc<Capsule>)]> = changed.into();
                    for cache in &self.caches {
                        self.transport.push(cache.id(), changed.clone());
                    }
                }
                Ok(Reply::Committed(committed))
            }
            (Peer::Home, Request::Changes { cache, since, synced }) => {
                Ok(Reply::Changes(self.home.changes(cache, since, synced).await?))
            }
            (Peer::Cache(id), Request::Snapshot { run, key }) => {
                Ok(Reply::Capsule(self.cache(id)?.snapshot(run, &key)))
            }
            (Peer::Cache(id), Request::Release { run }) => {
                self.cache(id)?.release(run);
                Ok(Reply::Released)
            }
            (to, _) => Err(StateError::Invalid(format!(
                "a question that {to:?} does not answer"
            ))),
        }
    }

    /// Takes a push in.
    pub fn receive(&self, to: CacheId, changed: &[(Key, Arc<Capsule>)]) {
        if let Ok(cache) = self.cache(to) {
            cache.receive(changed);
        }
    }

    /// Asks a peer; a cache asks itself without the transport.
    pub(crate) async fn ask(&self, from: CacheId, to: Peer, request: Request) -> Result<Reply, StateError> {
        if to == Peer::Cache(from) {
            return self.serve(to, request).await;
        }
        self.transport.call(to, request).await
    }
}
