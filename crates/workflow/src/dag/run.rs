//! One run: what was asked, and how it ended.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Argument, DagError, Reference, Topology, Value};

/// The longest that a run may take, over all its attempts.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest that an ending is kept.
const KEEP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Names one run. A client may choose it, so that asking twice does not run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub Uuid);

impl RunId {
    /// A new id, never given before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// How a run is to be executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The level of consistency, by its name; `None` leaves it to the functions.
    pub level: Option<String>,
    /// Where the result is written too, in the shared state.
    pub output: Option<Reference>,
    /// When the run has failed, over all its attempts.
    pub timeout_ms: u64,
    /// How long a recorded run's ending is kept.
    pub keep_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: None,
            output: None,
            timeout_ms: 15 * 60 * 1000,
            keep_ms: 3600 * 1000,
        }
    }
}

/// The levels of consistency, by the names that callers use.
const LEVELS: [&str; 6] = [
    "lww",
    "repeatable-read",
    "single-key-causal",
    "multi-key-causal",
    "causal",
    "atomic",
];

impl Options {
    pub(crate) fn check(&self) -> Result<(), DagError> {
        let refuse = |text: String| Err(DagError::Invalid(text));
        if let Some(level) = &self.level
            && !LEVELS.contains(&level.as_str())
        {
            return refuse(format!(
                "`{level}` is not a level of consistency: use one of {}",
                LEVELS.join(", ")
            ));
        }
        let longest = |max: Duration| u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        if self.timeout_ms == 0 || self.timeout_ms > longest(TIMEOUT_MAX) {
            return refuse(format!(
                "a run takes between 1 ms and 24 h, not {} ms",
                self.timeout_ms
            ));
        }
        if self.keep_ms == 0 || self.keep_ms > longest(KEEP_MAX) {
            return refuse(format!(
                "a result is kept between 1 ms and 7 days, not {} ms",
                self.keep_ms
            ));
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The sink's result.
    Done(Value),
    /// A function failed, or could not run; nothing after it ran.
    Failed {
        /// Its name within the DAG; of a fused one that does not know, the function that holds them all.
        function: String,
        /// JSON: `errorType`, `errorMessage`, and `stackTrace` where there is one.
        error: Bytes,
    },
    /// Its owner ended it.
    Cancelled,
}

impl Ending {
    /// Bytes of what is inside.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Done(value) => value.bytes.len(),
            Self::Failed { error, .. } => error.len(),
            Self::Cancelled => 0,
        }
    }
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub enum RunState {
    /// It waits or runs.
    Running,
    /// It ended.
    Ended(Arc<Ending>),
}

/// A run that has not been forgotten.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    /// The DAG that it was started by; `None` for one function alone.
    pub(crate) dag: Option<String>,
    pub(crate) topology: Arc<Topology>,
    /// The caller's arguments of each node.
    pub(crate) inputs: Vec<Vec<Argument>>,
    pub(crate) options: Options,
    pub(crate) trace_id: Option<String>,
    /// Whether the store has it.
    pub(crate) is_recorded: bool,
    /// Bytes of its arguments.
    pub(crate) bytes: usize,
    pub(crate) cancelled: CancellationToken,
    pub(crate) settled: watch::Sender<Option<Settled>>,
}

/// What becomes of a run in this life of the server.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    /// It ended.
    Ended(Arc<Ending>),
    /// The server stops, or could not keep the ending: a recorded run is executed again after a restart.
    Stopped,
}

impl Run {
    /// Waits for the end. `Running` where the server stops first.
    pub(crate) async fn ended(&self) -> RunState {
        let mut settled = self.settled.subscribe();
        match settled.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Settled::Ended(ending))) => RunState::Ended(ending.clone()),
            _ => RunState::Running,
        }
    }
}
