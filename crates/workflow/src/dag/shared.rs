//! What a run needs of the functions' shared state. `state` answers it; the seam keeps the engine's tests small.

use async_trait::async_trait;
use bytes::Bytes;
use squall_types::FunctionRef;

use super::{Reference, RunId, Value};

/// The functions' shared state, as a run sees it from outside of its functions.
#[async_trait]
pub trait SharedState: Send + Sync + 'static {
    /// How many caches there are; runs are spread over them.
    fn caches(&self) -> u16;

    /// For each cache, how many of the keys it holds. In memory, no I/O.
    fn cached_on(&self, keys: &[&Reference]) -> Vec<usize>;

    /// Begins one session for several sources of a run: its context, which each of them goes on with. `None` where
    /// there is nothing to go on with. In memory, no I/O.
    ///
    /// # Errors
    /// In words for the caller: too many sessions, a level that cannot be.
    fn begin(&self, _level: Option<&str>, _run: RunId) -> Result<Option<Bytes>, String> {
        Ok(None)
    }

    /// Whether one function sees exactly the buckets that others see between them, the one of its own name aside.
    /// In memory, no I/O.
    fn sees_what(&self, _one: &FunctionRef, _others: &[FunctionRef]) -> bool {
        true
    }

    /// Writes a run's result under a key. `Ok` means as durable as the bucket is.
    ///
    /// # Errors
    /// In words for the caller: no such bucket, too large.
    async fn put(&self, key: &Reference, value: &Value) -> Result<(), String>;
}

/// No shared state: one cache that holds nothing, and results under a key are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoState;

#[async_trait]
impl SharedState for NoState {
    fn caches(&self) -> u16 {
        1
    }

    fn cached_on(&self, _: &[&Reference]) -> Vec<usize> {
        vec![0]
    }

    async fn put(&self, key: &Reference, _: &Value) -> Result<(), String> {
        Err(format!(
            "the result cannot be written under `{}` of the bucket `{}`: this server has no shared state",
            key.key, key.bucket
        ))
    }
}
