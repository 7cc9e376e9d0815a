//! What can be set on a mapping, and the values that each setting may have.

use serde::{Deserialize, Serialize};

use super::MappingError;
use crate::pattern::Pattern;

const FILTERS_MAX: usize = 10;

/// How a mapping works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether it works at all.
    pub enabled: bool,
    /// The most events of a batch: `BatchSize`.
    pub batch_max: u32,
    /// How long a batch waits to be filled: `MaximumBatchingWindowInSeconds`.
    pub window_secs: u32,
    /// Patterns of which one must match; all events are wanted where there are none.
    pub filters: Vec<String>,
    /// Whether the function says which events failed: `ReportBatchItemFailures`.
    pub reports_failures: bool,
    /// The most batches at once: `MaximumConcurrency`.
    pub concurrency_max: Option<u32>,
    /// Where a source that has a past begins: `StartingPosition`.
    pub starting_position: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            batch_max: 10,
            window_secs: 0,
            filters: Vec::new(),
            reports_failures: false,
            concurrency_max: None,
            starting_position: None,
        }
    }
}

/// What a request sets.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// See [`Settings`].
    pub enabled: Option<bool>,
    /// See [`Settings`].
    pub batch_max: Option<u32>,
    /// See [`Settings`].
    pub window_secs: Option<u32>,
    /// See [`Settings`].
    pub filters: Option<Vec<String>>,
    /// See [`Settings`].
    pub reports_failures: Option<bool>,
    /// `Some(None)` takes the limit away.
    pub concurrency_max: Option<Option<u32>>,
    /// See [`Settings`].
    pub starting_position: Option<String>,
}

impl Settings {
    /// With what `change` sets, checked as far as it is the same for all sources.
    pub(super) fn with(&self, change: &Change) -> Result<Self, MappingError> {
        let refuse = |text: String| Err(MappingError::InvalidParameter(text));
        let mut settings = self.clone();
        settings.enabled = change.enabled.unwrap_or(settings.enabled);
        settings.batch_max = change.batch_max.unwrap_or(settings.batch_max);
        settings.window_secs = change.window_secs.unwrap_or(settings.window_secs);
        settings.reports_failures = change.reports_failures.unwrap_or(settings.reports_failures);
        if let Some(filters) = &change.filters {
            settings.filters.clone_from(filters);
        }
        if let Some(max) = change.concurrency_max {
            settings.concurrency_max = max;
        }
        if change.starting_position.is_some() {
            settings.starting_position.clone_from(&change.starting_position);
        }
        if !(1..=10_000).contains(&settings.batch_max) {
            return refuse(format!(
                "BatchSize must be between 1 and 10000, not {}.",
                settings.batch_max
            ));
        }
        if settings.window_secs > 300 {
            return refuse("MaximumBatchingWindowInSeconds must be between 0 and 300.".to_owned());
        }
        if let Some(max) = settings.concurrency_max
            && !(2..=1000).contains(&max)
        {
            return refuse("MaximumConcurrency must be between 2 and 1000.".to_owned());
        }
        if settings.filters.len() > FILTERS_MAX {
            return refuse(format!("FilterCriteria may have at most {FILTERS_MAX} filters."));
        }
        settings.patterns()?;
        Ok(settings)
    }

    /// The filters, read.
    pub(super) fn patterns(&self) -> Result<Vec<Pattern>, MappingError> {
        let read = self.filters.iter().map(|text| Pattern::parse(text));
        read.collect::<Result<_, _>>().map_err(|error| {
            MappingError::InvalidParameter(format!("Invalid filter pattern definition. {error}"))
        })
    }
}
