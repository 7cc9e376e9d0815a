//! What a store can fail with.

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// An expectation of a batch did not hold; nothing of the batch was written.
    #[error("a key was changed by someone else meanwhile")]
    Conflict,
    /// The batch is larger than a store takes; nothing of it was written, and a retry will not help.
    #[error("the store refused a batch: {reason}")]
    Refused {
        /// What is too large.
        reason: String,
    },
    /// Another process has the data directory open.
    #[error("`{path}` is in use by another process{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: String,
        /// Who holds it, where that is known.
        pid: Option<u32>,
    },
    /// The data directory was written by a version whose format this one does not read.
    #[error("`{path}` has data format {found}; this version reads {expected}")]
    Format {
        /// The directory.
        path: String,
        /// What the directory says.
        found: String,
        /// What this version writes.
        expected: String,
    },
    /// Stored bytes are not what was written: a checksum or a sequence number is wrong.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The disk refused: full, read-only, broken.
    #[error("the store could not {attempted}: {reason}")]
    Io {
        /// What was tried.
        attempted: &'static str,
        /// What the system said.
        reason: String,
    },
}
