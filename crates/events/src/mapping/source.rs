//! What a source of events must know, and what the mapping gives it to work with.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use squall_store::Batch;
use squall_types::Invoke;
use tokio_util::sync::CancellationToken;

use super::{Mapping, MappingError, Settings};
use crate::pattern::Pattern;

/// A kind of event source.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The service in its ARNs.
    fn service(&self) -> &'static str;

    /// What a mapping of it is like when nothing is said.
    fn defaults(&self, _source_arn: &str) -> Settings {
        Settings::default()
    }

    /// Whether there is such a source, and a mapping of it may be like that. `timeout_secs` is the function's.
    ///
    /// # Errors
    /// [`MappingError::InvalidParameter`].
    fn check(&self, source_arn: &str, settings: &Settings, timeout_secs: u32) -> Result<(), MappingError>;

    /// Adds what the source keeps of a new mapping to the batch that makes it.
    ///
    /// # Errors
    /// [`MappingError::Store`].
    async fn begin(&self, _mapping: &Mapping, batch: Batch) -> Result<Batch, MappingError> {
        Ok(batch)
    }

    /// Forgets a mapping, in the batch that deletes it.
    fn end(&self, _mapping: &Mapping, batch: Batch) -> Batch {
        batch
    }

    /// Takes events, calls the function and settles what came of it, until `stop`; returns when nothing is under way.
    async fn run(&self, work: Work, stop: CancellationToken);
}

/// One mapping at work. Cheap to clone.
#[derive(Clone)]
pub struct Work {
    /// As it was when the work began.
    pub mapping: Arc<Mapping>,
    /// Its filters, read.
    pub patterns: Arc<Vec<Pattern>>,
    /// Runs the function.
    pub invoke: Arc<dyn Invoke>,
    last_result: Arc<Mutex<String>>,
}

impl Work {
    pub(super) fn new(mapping: Mapping, invoke: Arc<dyn Invoke>, last_result: Arc<Mutex<String>>) -> Self {
        Self {
            patterns: Arc::new(mapping.settings.patterns().unwrap_or_default()),
            mapping: Arc::new(mapping),
            invoke,
            last_result,
        }
    }

    /// Says what came of the last batch: `OK`, or `PROBLEM: …`.
    pub fn note(&self, result: impl Into<String>) {
        *self.last_result.lock().unwrap_or_else(PoisonError::into_inner) = result.into();
    }
}
