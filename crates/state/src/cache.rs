//! A cache beside a group of executors: hot keys in memory, versions that runs have read kept for them, and deletions
//! and writes of others merged in as they arrive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lattice::Capsule;
use crate::node::Node;
use crate::session::Reads;
use crate::shelf::Shelf;
use crate::transport::{Changes, Peer, Reply, Request};
use crate::{CacheId, Key, RunId, StateError};

/// See the module.
pub(crate) struct Cache {
    id: CacheId,
    snapshot_bytes_max: usize,
    held: Mutex<Held>,
}

struct Held {
    shelf: Shelf,
    /// Keys that are being fetched, with what was pushed of them meanwhile: it must not get lost.
    fetching: HashMap<Key, Fetching>,
    snapshots: HashMap<RunId, HashMap<Key, Arc<Capsule>>>,
    snapshot_bytes: usize,
    position: u64,
    synced: u64,
}

#[derive(Default)]
struct Fetching {
    askers: usize,
    pushed: Option<Arc<Capsule>>,
    /// Something may have been missed: what comes is an answer, and nothing to keep.
    stale: bool,
}

impl Cache {
    pub(crate) fn new(id: CacheId, bytes_max: usize, snapshot_bytes_max: usize) -> Self {
        Self {
            id,
            snapshot_bytes_max,
            held: Mutex::new(Held {
                shelf: Shelf::new(bytes_max),
                fetching: HashMap::new(),
                snapshots: HashMap::new(),
                snapshot_bytes: 0,
                position: 0,
                synced: 0,
            }),
        }
    }

    pub(crate) fn id(&self) -> CacheId {
        self.id
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is here, without asking anybody.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Capsule>> {
        self.held().shelf.get(key).cloned()
    }

    /// Which of the keys are here.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.held().shelf.peek(key).is_some()
    }

    /// What is here, or else what the home has.
    pub(crate) async fn get_or_fetch(&self, node: &Node, key: &Key) -> Result<Arc<Capsule>, StateError> {
        match self.get(key) {
            Some(found) => Ok(found),
            None => self.fetch(node, key).await,
        }
    }

    /// What the home has now, merged into what is here.
    pub(crate) async fn fetch(&self, node: &Node, key: &Key) -> Result<Arc<Capsule>, StateError> {
        self.held().fetching.entry(key.clone()).or_default().askers += 1;
        let asking = Asking { cache: self, key };
        let request = Request::Fetch {
            key: key.clone(),
            at_least: crate::lattice::Clock::new(),
            reads: Reads::default(),
        };
        let reply = node.ask(self.id, Peer::Home, request).await?;
        let Reply::Capsule(Some(found)) = reply else {
            return Err(unexpected());
        };
        let mut held = self.held();
        let (pushed, stale) = match held.fetching.get(key) {
            Some(fetching) => (fetching.pushed.clone(), fetching.stale),
            None => (None, false),
        };
        let mut merged = found;
        if !stale {
            merged = held.shelf.merge(key, &merged);
            if let Some(pushed) = pushed {
                merged = held.shelf.merge(key, &pushed);
            }
        }
        drop(held);
        drop(asking);
        Ok(merged)
    }

    /// A version of now for readers of a causal cut: all that it depends on is here in a version that fits, or not here.
    pub(crate) async fn get_covered(&self, node: &Node, key: &Key) -> Result<Arc<Capsule>, StateError> {
        let capsule = self.get_or_fetch(node, key).await?;
        let behind: Vec<Key> = {
            let held = self.held();
            if held.shelf.is_covered(key) {
                return Ok(capsule);
            }
            let behind = capsule.dependencies().iter().filter(|(needed, dependency)| {
                let here = held.shelf.peek(needed);
                here.is_some_and(|here| !here.version().covers(&dependency.version))
            });
            behind.map(|(needed, _)| needed.clone()).collect()
        };
        for needed in behind {
            self.fetch(node, &needed).await?;
        }
        self.held().shelf.set_covered(key, &capsule);
        Ok(capsule)
    }

    /// Takes in what was committed; only keys that are here, since the others are fetched when they are wanted.
    pub(crate) fn receive(&self, changed: &[(Key, Arc<Capsule>)]) {
        let mut held = self.held();
        for (key, capsule) in changed {
            if held.shelf.peek(key).is_some() {
                held.shelf.merge(key, capsule);
            } else if let Some(fetching) = held.fetching.get_mut(key) {
                let newer = fetching
                    .pushed
                    .as_ref()
                    .is_none_or(|pushed| capsule.version().covers(pushed.version()));
                if newer {
                    fetching.pushed = Some(capsule.clone());
                }
            }
        }
    }

    /// Takes in what a write of this cache's own has made: it is here from now on.
    pub(crate) fn take_in(&self, key: &Key, capsule: &Arc<Capsule>) -> Arc<Capsule> {
        self.held().shelf.merge(key, capsule)
    }

    /// Asks the home for what it may have missed.
    pub(crate) async fn sync(&self, node: &Node) -> Result<(), StateError> {
        let request = {
            let held = self.held();
            Request::Changes {
                cache: self.id,
                since: held.position,
                synced: held.synced,
            }
        };
        let Reply::Changes(changes) = node.ask(self.id, Peer::Home, request).await? else {
            return Err(unexpected());
        };
        self.apply(&changes);
        Ok(())
    }

    fn apply(&self, changes: &Changes) {
        if changes.reset {
            let mut held = self.held();
            held.shelf.retain(|_| false);
            held.fetching
                .values_mut()
                .for_each(|fetching| fetching.stale = true);
        }
        self.receive(&changes.capsules);
        let mut held = self.held();
        held.position = changes.position.max(held.position);
        held.synced = changes.time.max(held.synced);
    }

    /// Keeps the version that a run has read, until it is released.
    pub(crate) fn keep(&self, run: RunId, key: &Key, capsule: &Arc<Capsule>) -> Result<(), StateError> {
        let mut held = self.held();
        let bytes = capsule.bytes();
        let had = held.snapshots.get(&run).and_then(|snapshots| snapshots.get(key));
        let had = had.map_or(0, |had| had.bytes());
        let total = held.snapshot_bytes - had + bytes;
        if total > self.snapshot_bytes_max {
            return Err(StateError::Full {
                what: "the memory for what runs have read".to_owned(),
                max: self.snapshot_bytes_max as u64,
            });
        }
        held.snapshot_bytes = total;
        let snapshots = held.snapshots.entry(run).or_default();
        snapshots.insert(key.clone(), capsule.clone());
        Ok(())
    }

    /// The version that a run has read here.
    pub(crate) fn snapshot(&self, run: RunId, key: &Key) -> Option<Arc<Capsule>> {
        self.held().snapshots.get(&run)?.get(key).cloned()
    }

    /// Forgets what was kept for a run.
    pub(crate) fn release(&self, run: RunId) {
        let mut held = self.held();
        let gone = held.snapshots.remove(&run).unwrap_or_default();
        held.snapshot_bytes -= gone.values().map(|capsule| capsule.bytes()).sum::<usize>();
    }

    /// Loses everything, as if its process had died.
    pub(crate) fn lose_everything(&self) {
        let mut held = self.held();
        held.shelf.retain(|_| false);
        held.snapshots.clear();
        held.snapshot_bytes = 0;
    }

    /// Forgets a bucket's keys.
    pub(crate) fn forget(&self, keep: impl Fn(&Key) -> bool) {
        self.held().shelf.retain(keep);
    }

    /// Metadata bytes of each key that is here.
    pub(crate) fn metadata_bytes(&self) -> Vec<usize> {
        let held = self.held();
        held.shelf
            .iter()
            .map(|(_, capsule)| capsule.metadata_bytes())
            .collect()
    }

    /// Keys and bytes that are here.
    pub(crate) fn size(&self) -> (usize, usize) {
        let held = self.held();
        (held.shelf.len(), held.shelf.bytes())
    }
}

/// Somebody is fetching a key; ends with them, also when they stop waiting.
struct Asking<'a> {
    cache: &'a Cache,
    key: &'a Key,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut held = self.cache.held();
        if let Some(fetching) = held.fetching.get_mut(self.key) {
            fetching.askers -= 1;
            if fetching.askers == 0 {
                held.fetching.remove(self.key);
            }
        }
    }
}

pub(crate) fn unexpected() -> StateError {
    StateError::Unreachable {
        who: "a peer".to_owned(),
        reason: "it answered another question".to_owned(),
    }
}
