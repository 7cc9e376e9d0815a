//! What state can refuse, and whether asking again helps.

use squall_store::StoreError;

use crate::{CacheId, Key};

/// Why state did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}`: create it first")]
    UnknownBucket {
        /// What was asked for.
        bucket: String,
    },
    /// The function may not see the bucket.
    #[error("bucket `{bucket}` is not bound to function `{function}`: bind it first")]
    NotBound {
        /// What was asked for.
        bucket: String,
        /// Who asked.
        function: String,
    },
    /// A bucket of this name exists with other settings.
    #[error("bucket `{bucket}` exists already, with other settings")]
    BucketExists {
        /// Its name.
        bucket: String,
    },
    /// A name, key or argument that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A value over the limit.
    #[error("{what} of {bytes} bytes is too large: at most {max} are allowed")]
    TooLarge {
        /// A value, a transaction, a message.
        what: &'static str,
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A key holds one lattice, and the operation is another's.
    #[error(
        "`{key}` holds a {found}, and this operation is for a {asked}: use another key, or delete this one"
    )]
    OtherLattice {
        /// The key.
        key: String,
        /// What it holds.
        found: &'static str,
        /// What the operation needs.
        asked: &'static str,
    },
    /// A bound was reached.
    #[error("{what} is full: {max} are allowed")]
    Full {
        /// Of what.
        what: String,
        /// The bound.
        max: u64,
    },
    /// The cache that holds the version a run has read is gone. The run must start again.
    #[error("cache {} no longer holds the version of `{key}` that this run has read: run it again", cache.0)]
    SnapshotLost {
        /// What was to be read.
        key: String,
        /// Who held it.
        cache: CacheId,
    },
    /// No version of the key fits what the run has read already. The run must start again.
    #[error("no version of `{key}` is consistent with what this run has read: run it again")]
    NoConsistentVersion {
        /// What was to be read.
        key: String,
    },
    /// The run was quiet for longer than runs are remembered.
    #[error("this run is no longer known here: run it again")]
    RunExpired,
    /// The session has committed or was aborted.
    #[error("this session is over")]
    SessionOver,
    /// Another node or cache did not answer.
    #[error("could not reach {who}: {reason}")]
    Unreachable {
        /// Whom.
        who: String,
        /// Why.
        reason: String,
    },
    /// Nobody has registered, and the inbox that waits for them takes no more.
    #[error("the inbox of `{id}` is full: nobody has received {max} messages")]
    InboxFull {
        /// To whom.
        id: String,
        /// The bound.
        max: usize,
    },
    /// Stored bytes are not what was written.
    #[error("stored state is damaged: {0}")]
    Corrupt(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StateError {
    /// Whether the same request, or the same run from its start, may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::SnapshotLost { .. }
                | Self::NoConsistentVersion { .. }
                | Self::RunExpired
                | Self::Unreachable { .. }
                | Self::Store(StoreError::Conflict)
        )
    }

    /// One word for it, the same on every surface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownBucket { .. } => "UnknownBucket",
            Self::NotBound { .. } => "BucketNotBound",
            Self::BucketExists { .. } => "BucketExists",
            Self::Invalid(_) => "InvalidRequest",
            Self::TooLarge { .. } => "TooLarge",
            Self::OtherLattice { .. } => "OtherLattice",
            Self::Full { .. } => "Full",
            Self::SnapshotLost { .. } => "SnapshotLost",
            Self::NoConsistentVersion { .. } => "NoConsistentVersion",
            Self::RunExpired => "RunExpired",
            Self::SessionOver => "SessionOver",
            Self::Unreachable { .. } => "Unreachable",
            Self::InboxFull { .. } => "InboxFull",
            Self::Corrupt(_) | Self::Store(_) => "StoreFailed",
        }
    }

    pub(crate) fn lost(key: &Key, cache: CacheId) -> Self {
        Self::SnapshotLost {
            key: key.to_string(),
            cache,
        }
    }

    pub(crate) fn inconsistent(key: &Key) -> Self {
        Self::NoConsistentVersion { key: key.to_string() }
    }
}
