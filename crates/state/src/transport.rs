//! What caches and homes say to each other.
//!
//! A cache serves the executors of one group; the home keeps each key's one history. In one process a message is a
//! function call ([`InProcess`]); tests put a network between them that is slow and loses things ([`Unsteady`]).

mod unsteady;

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;

pub use self::unsteady::{Unsteady, Weather};
pub use crate::home::{CommitRequest, Committed, KeyWrite};
use crate::lattice::{Capsule, Clock};
pub use crate::node::Node;
pub use crate::session::Reads;
use crate::{CacheId, Key, RunId, StateError};

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Where the keys are kept.
    Home,
    /// A cache.
    Cache(CacheId),
}

/// A question. Each may be asked again when no answer came.
#[derive(Debug, Clone)]
pub enum Request {
    /// To the home: the newest version of a key that is at least `at_least` and fits `reads`.
    Fetch {
        /// Which key.
        key: Key,
        /// What it must have seen.
        at_least: Clock,
        /// What the asking run has read; nothing when any version will do.
        reads: Reads,
    },
    /// To the home: write.
    Commit(CommitRequest),
    /// To the home: what has changed since a position, from a cache that has applied everything before.
    Changes {
        /// Who asks.
        cache: CacheId,
        /// The position of the last answer.
        since: u64,
        /// The time of the last answer.
        synced: u64,
    },
    /// To a cache: the version of a key that a run has read there.
    Snapshot {
        /// Whose.
        run: RunId,
        /// Which key.
        key: Key,
    },
    /// To a cache: a run is over, and what was kept for it may go.
    Release {
        /// Whose.
        run: RunId,
    },
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To a fetch or a snapshot; `None` when there is no such version.
    Capsule(Option<Arc<Capsule>>),
    /// To a commit.
    Committed(Committed),
    /// To a question for changes.
    Changes(Changes),
    /// To a release.
    Released,
}

/// What a cache needs to catch up.
#[derive(Debug, Clone)]
pub struct Changes {
    /// What to ask from next.
    pub position: u64,
    /// Everything that was committed before this time is in this answer or one before.
    pub time: u64,
    /// The asker is too far behind for a list: it must forget what it holds.
    pub reset: bool,
    /// The keys that changed, as they are now.
    pub capsules: Vec<(Key, Arc<Capsule>)>,
}

/// Carries messages. Called for every message between a cache and its home or another cache.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Called once, before anything else: where messages are answered.
    fn attach(&self, node: Weak<Node>);

    /// Asks, and waits for the answer. A cache that asks itself does not come here.
    ///
    /// # Errors
    /// What the peer answered, or [`StateError::Unreachable`].
    async fn call(&self, to: Peer, request: Request) -> Result<Reply, StateError>;

    /// Tells a cache what has changed, without waiting. It may come late, twice, out of order or never: a cache asks
    /// for what it has missed.
    fn push(&self, to: CacheId, changed: Arc<[(Key, Arc<Capsule>)]>);
}

/// Messages as function calls.
#[derive(Default)]
pub struct InProcess {
    node: OnceLock<Weak<Node>>,
}

impl InProcess {
    fn node(&self) -> Result<Arc<Node>, StateError> {
        let node = self.node.get().and_then(Weak::upgrade);
        node.ok_or_else(|| StateError::Unreachable {
            who: "the node".to_owned(),
            reason: "it has shut down".to_owned(),
        })
    }
}

#[async_trait]
impl Transport for InProcess {
    fn attach(&self, node: Weak<Node>) {
        // A second call would be a second node on one transport, which nobody makes.
        let _ = self.node.set(node);
    }

    async fn call(&self, to: Peer, request: Request) -> Result<Reply, StateError> {
        self.node()?.serve(to, request).await
    }

    fn push(&self, to: CacheId, changed: Arc<[(Key, Arc<Capsule>)]>) {
        if let Ok(node) = self.node() {
            node.receive(to, &changed);
        }
    }
}
