//! Where everything that must outlive the process is kept.
//!
//! [`Store`] is one trait with several implementations: [`Embedded`] on disk, [`Memory`] for tests,
//! and later a cluster. All of them pass [`contract`]'s one suite.
//! [`once::Once`] makes writes that are repeated happen once.
//! [`envelope`] is the form of records that are JSON.
//! [`Seal`] keeps what is secret from whoever reads the disk.
//! [`logs::LogStore`] keeps what functions write, on any store, with limits.

mod batch;
pub mod contract;
mod embedded;
pub mod envelope;
mod error;
pub mod logs;
mod memory;
pub mod once;
mod seal;

pub use batch::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Batch, Committed, Durability, Entry, Expect, KEY_BYTES_MAX, Op, Scan,
    Space, VALUE_BYTES_MAX,
};
pub use embedded::{Embedded, EmbeddedConfig};
pub use error::StoreError;
pub use memory::Memory;
pub use seal::{Seal, SealError};

use async_trait::async_trait;
use bytes::Bytes;

/// A key-value store with atomic batches, compare-and-set, ordered scans, appends and watches.
///
/// Keys live in named [`Space`]s and are ordered bytewise within one.
/// Every commit has a sequence number, larger than that of every commit before it; an entry's revision is the
/// sequence number of the commit that wrote it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry at `key`, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Corrupt`].
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Applies all operations of the batch or none. When it returns, the batch is visible to every reader, and as
    /// durable as it asked to be. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an expectation does not hold: nothing was written, and a retry after reading
    /// again is safe. [`StoreError::Refused`] when the batch is too large. [`StoreError::Io`]: whether it was written is not known until the store is opened again.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;

    /// Entries in key order, as [`Scan`] asks for them.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Corrupt`].
    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError>;
}
