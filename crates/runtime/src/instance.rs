//! The two traits, and the ways in which an instance can fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use squall_types::{FunctionError, PrepareError, Revision, RevisionId, RuntimeName};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Event, Exchange, LogCapture, Reply};

/// Makes instances of revisions. One value serves many runtime names.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The runtime names that this host can run now, for error messages and `squall ls`.
    fn offered(&self) -> Vec<RuntimeName>;

    /// Whether functions of this runtime can run on this host. Called when a function is created or updated, and on the
    /// way of calls.
    fn offers(&self, runtime: &RuntimeName) -> bool;

    /// Does once what must not be done on the way of a call: compiles the code, for one. Called beside the requests
    /// when code or configuration changes, before the revision is created; again after a restart that cut it short,
    /// and when the server starts and what was prepared is [gone](Self::is_prepared).
    ///
    /// Dropping the future leaves nothing half done; what it began may go on, for others who wait for the same.
    ///
    /// # Errors
    /// [`PrepareError`]: a new function becomes Failed with its words, unless the runtime is shutting down.
    async fn prepare(&self, _revision: &Arc<Revision>) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Whether what [`prepare`](Self::prepare) made of this revision is still there, and of use to this version of the
    /// server; true of what it does not run. A quick look: damage may show later.
    async fn is_prepared(&self, _revision: &Arc<Revision>) -> bool {
        true
    }

    /// What makes [`create`](Self::create) wait, where that is the revision's code being prepared again: it ends by
    /// itself. In words for the caller, behind the function's name. Asked when a start took too long.
    async fn preparing(&self, _revision: RevisionId) -> Option<&'static str> {
        None
    }

    /// Makes an instance that has not been initialised. May be called many times at once for one revision;
    /// what they share (a working copy of the code, a zygote) is made once. Never prepares the code itself: where it is
    /// not, waits for that, for as long as its caller does.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// The platform's fault: no process could be made. What the function does wrong shows in [`Instance::init`].
    async fn create(&self, revision: &Arc<Revision>) -> Result<Box<dyn Instance>, StartError>;

    /// Whether instances of this revision take HTTP requests as they are. Waits as [`create`](Self::create) does.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    async fn takes_http(&self, _revision: &Arc<Revision>) -> Result<bool, StartError> {
        Ok(false)
    }

    /// Frees what instances of a revision share while none of them is needed: its zygote, for one.
    /// The revision may be created again later. Called when its pool has been empty for the idle time.
    async fn rest(&self, revision: RevisionId);

    /// The revision will never be created again: frees everything that is kept for it, on disk too.
    /// Called after its last instance has stopped.
    async fn retire(&self, revision: RevisionId);

    /// Ends everything, preparations too. No instance is in use any more.
    async fn shutdown(&self);
}

/// One instance: runs one event at a time, of one revision, and is never given to another.
///
/// Dropping it kills it.
#[async_trait]
pub trait Instance: Send + 'static {
    /// Names it, in log streams for one.
    fn id(&self) -> InstanceId;

    /// Loads the function's code and runs its initialisation. Called exactly once, first.
    /// The caller bounds it in time, and drops the instance when the time is over.
    ///
    /// # Errors
    /// [`Fault`]; the instance is dead then, or to be dropped.
    async fn init(&mut self, log: &mut LogCapture) -> Result<(), Fault>;

    /// Runs one event. Called after `init` returned `Ok`, never twice at once.
    /// The caller bounds it in time; an instance whose `invoke` was dropped or failed is dropped, not used again.
    ///
    /// All that the function wrote before it answered is in `log` when this returns.
    ///
    /// # Errors
    /// [`Fault`] when the instance ended or broke the protocol; an error that the handler raised is a [`Reply`].
    async fn invoke(&mut self, event: &Event, log: &mut LogCapture) -> Result<Reply, Fault>;

    /// As [`invoke`](Self::invoke), for an answer that may come in pieces. It returns when the function is done, which
    /// may be long after the answer has begun. The result of its reply is empty where the answer went another way.
    ///
    /// # Errors
    /// As [`invoke`](Self::invoke); the body of an answer that has begun then ends with an error.
    async fn stream(
        &mut self,
        event: &Event,
        exchange: Exchange,
        log: &mut LogCapture,
    ) -> Result<Reply, Fault> {
        if exchange.request.is_some() {
            return Err(Fault::Protocol("it takes no HTTP requests".to_owned()));
        }
        self.invoke(event, log).await
    }

    /// Tells when the instance ends, whoever ends it.
    fn exit(&self) -> ExitWatch;

    /// Whether it has ended, also where [`exit`](Self::exit) has not told yet how. The pool asks before it leases an
    /// instance, and never leases the dead. Does not wait.
    fn has_ended(&self) -> bool {
        self.exit().borrow().is_some()
    }

    /// Takes what the function has written and nobody has read, without waiting.
    /// Called after a deadline, before the instance is killed, so that its last words are kept.
    fn drain(&mut self, log: &mut LogCapture);

    /// Asks it to end, waits at most `grace`, then kills it and everything that it started.
    async fn stop(self: Box<Self>, grace: Duration);
}

/// Becomes `Some` once, when the instance has ended.
pub type ExitWatch = watch::Receiver<Option<Exit>>;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It left, with this status.
    Status(i32),
    /// A signal ended it, by its number.
    Signal(i32),
    /// It needed more memory than it may have, and was killed.
    OutOfMemory,
    /// It is gone, and nobody could say how.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(9) | Self::OutOfMemory => f.write_str("signal: killed"),
            Self::Signal(6) => f.write_str("signal: aborted"),
            Self::Signal(11) => f.write_str("signal: segmentation fault"),
            Self::Signal(15) => f.write_str("signal: terminated"),
            Self::Signal(signal) => write!(f, "signal: {signal}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// An instance that cannot go on. The function's doing, unless it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The function's initialisation reported an error, in the words of its runtime.
    #[error("initialisation failed")]
    Init(FunctionError),
    /// The process ended while it owed an answer.
    #[error("the instance ended: {0}")]
    Exited(Exit),
    /// The answer is larger than it may be; the instance lives on in theory, but is not used again.
    #[error("the response has {bytes} bytes, more than the {bytes_max} that are allowed")]
    ResponseTooLarge {
        /// Its size, as far as it was read.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It sent what the protocol does not allow.
    #[error("the instance broke the protocol: {0}")]
    Protocol(String),
}

/// No instance could be made: the platform's fault.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not start an instance of `{function}`: {reason}")]
pub struct StartError {
    /// Name and version.
    pub function: String,
    /// The chain of causes.
    pub reason: String,
}

/// The runtime is not one that this host can run.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the runtime `{asked}` is not installed on this host; installed: {offered}")]
pub struct NotOffered {
    /// What was asked for.
    pub asked: RuntimeName,
    /// What is there, separated by commas.
    pub offered: String,
}

/// The first that offers it.
///
/// # Errors
/// [`NotOffered`], which says what all of them offer.
pub fn runtime_of<'a>(
    runtimes: &'a [Arc<dyn Runtime>],
    asked: &RuntimeName,
) -> Result<&'a Arc<dyn Runtime>, NotOffered> {
    let found = runtimes.iter().find(|runtime| runtime.offers(asked));
    found.ok_or_else(|| {
        let offered = runtimes.iter().flat_map(|runtime| runtime.offered());
        let offered: Vec<String> = offered.map(|name| name.to_string()).collect();
        NotOffered {
            asked: asked.clone(),
            offered: offered.join(", "),
        }
    })
}

/// Names an instance for as long as the installation lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    /// A new id, never given before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}
