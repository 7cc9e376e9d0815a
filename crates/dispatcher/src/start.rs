//! Starts instances, and stops them: carries out what the pools decided, in tasks that the dispatcher owns.
//!
//! A start that fails, hangs or panics always tells the pools, so that no call waits for an instance that never comes.

use std::sync::Arc;
use std::time::Duration;

use squall_runtime::{Fault, LogCapture, LogLine, Runtime, runtime_of};
use squall_types::{Revision, RevisionId, RuntimeName};
use tokio::time::{Instant, timeout};

use crate::dispatcher::Inner;
use crate::lease::{Start, Worker};
use crate::log;
use crate::pool::{Effects, Member};
use crate::report;

/// Why there is no instance.
#[derive(Debug)]
pub(crate) struct StartFailure {
    pub(crate) cause: StartCause,
    /// Where the lines go.
    pub(crate) stream: Arc<str>,
    /// What was logged until then.
    pub(crate) lines: Vec<LogLine>,
    /// How long it took to fail.
    pub(crate) duration: Duration,
}

/// Whose fault it was.
#[derive(Debug)]
pub(crate) enum StartCause {
    /// Ours, in words for the log.
    Platform(String),
    /// Nobody's: its code is being prepared again, in words for the caller.
    Preparing(&'static str),
    /// The function's.
    Init(Fault),
    /// The function's: it was not initialised within this time.
    InitTimeout(Duration),
}

impl Inner {
    /// Carries out what the pools decided. Called without the lock; waits for nothing.
    pub(crate) fn carry_out(self: &Arc<Self>, effects: Effects<Box<Worker>>) {
        if effects.is_empty() {
            return;
        }
        for revision in effects.starts {
            self.spawn(start(self.clone(), revision));
        }
        for worker in effects.stops {
            self.spawn(stop(self.clone(), worker));
        }
        for revision in effects.rests {
            self.spawn(rest(self.clone(), revision));
        }
        for revision in effects.retires {
            let runtimes = self.runtimes.clone();
            self.spawn(async move {
                for runtime in &*runtimes {
                    runtime.retire(revision).await;
                }
            });
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, &self.handle);
    }

    pub(crate) fn runtime_of(&self, name: &RuntimeName) -> Result<&Arc<dyn Runtime>, String> {
        runtime_of(&self.runtimes, name).map_err(|refusal| refusal.to_string())
    }
}

/// Tells the pools of a start's end, also when it panics.
struct StartGuard {
    inner: Arc<Inner>,
    revision: Arc<Revision>,
    started: Instant,
    is_over: bool,
}

impl StartGuard {
    fn succeeded(mut self, worker: Box<Worker>) {
        self.is_over = true;
        let effects = self.inner.state().pools.started(worker, Instant::now());
        self.inner.carry_out(effects);
    }

    fn failed(&mut self, failure: StartFailure) {
        self.is_over = true;
        let now = Instant::now();
        let (untold, effects) = self
            .inner
            .state()
            .pools
            .start_failed(self.revision.id, failure, now);
        self.inner.carry_out(effects);
        if let Some(failure) = untold {
            let (inner, revision) = (self.inner.clone(), self.revision.clone());
            self.inner.spawn(async move {
                log::outside(&inner.logs, &revision.name, &failure.stream, failure.lines).await;
            });
        }
    }
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        if !self.is_over {
            let reason = "the start was interrupted".to_owned();
            let failure = StartFailure {
                cause: StartCause::Platform(reason),
                stream: report::stream(&self.revision, "start").into(),
                lines: Vec::new(),
                duration: self.started.elapsed(),
            };
            self.failed(failure);
        }
    }
}

async fn start(inner: Arc<Inner>, revision: Arc<Revision>) {
    let mut guard = StartGuard {
        inner: inner.clone(),
        revision: revision.clone(),
        started: Instant::now(),
        is_over: false,
    };
    match make(&inner, &revision).await {
        Ok(worker) => {
            watch(&inner, &worker);
            guard.succeeded(worker);
        }
        Err(failure) => {
            if let StartCause::Platform(reason) = &failure.cause {
                tracing::warn!(function = %revision.name, version = %revision.version, reason, "could not start an instance");
            }
            guard.failed(failure);
        }
    }
}

/// Makes an instance and initialises it.
async fn make(inner: &Arc<Inner>, revision: &Arc<Revision>) -> Result<Box<Worker>, StartFailure> {
    let begun = Instant::now();
    let mut log = LogCapture::new(inner.config.log_bytes_max);
    log.line(report::init_start(revision));
    let failed = |cause, stream: String, lines| StartFailure {
        cause,
        stream: stream.into(),
        lines,
        duration: begun.elapsed(),
    };
    let platform = |reason: String| {
        let cause = StartCause::Platform(reason);
        failed(cause, report::stream(revision, "start"), Vec::new())
    };
    let runtime = inner.runtime_of(&revision.runtime).map_err(platform)?;
    let limit = inner.config.create_timeout;
    let mut instance = match timeout(limit, runtime.create(revision)).await {
        Ok(created) => created.map_err(|error| platform(error.reason))?,
        Err(_) => {
            let Some(why) = runtime.preparing(revision.id).await else {
                return Err(platform(format!("no instance was made within {limit:?}")));
            };
            let stream = report::stream(revision, "start");
            return Err(failed(StartCause::Preparing(why), stream, Vec::new()));
        }
    };
    let stream = report::stream(revision, &instance.id().to_string());
    let limit = inner.config.init_timeout;
    let cause = match timeout(limit, instance.init(&mut log)).await {
        Ok(Ok(())) => {
            return Ok(Box::new(Worker {
                id: instance.id(),
                instance,
                revision: revision.clone(),
                stream: stream.into(),
                start: Some(Start {
                    duration: begun.elapsed(),
                    lines: log.finish(),
                }),
                memory_bytes_max: 0,
                is_broken: false,
            }));
        }
        Ok(Err(fault)) => StartCause::Init(fault),
        Err(_) => StartCause::InitTimeout(limit),
    };
    instance.drain(&mut log);
    let duration = begun.elapsed();
    instance.stop(Duration::ZERO).await;
    log.line(report::init_report(duration, &cause));
    Err(failed(cause, stream, log.finish()))
}

/// Notices the end of an idle instance at once. The task ends with the instance.
fn watch(inner: &Arc<Inner>, worker: &Worker) {
    let mut exit = worker.instance.exit();
    let (revision, id) = (worker.revision.id, worker.id);
    // Weak, since the pools own the instance that this task waits for.
    let inner_weak = Arc::downgrade(inner);
    inner.spawn(async move {
        if exit.wait_for(Option::is_some).await.is_err() {
            return;
        }
        if let Some(inner) = inner_weak.upgrade() {
            let effects = inner.state().pools.died(revision, id);
            inner.carry_out(effects);
        }
    });
}

/// Tells the pools of the end of a stop or a rest, also when it panics.
struct OnEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

async fn stop(inner: Arc<Inner>, worker: Box<Worker>) {
    let revision = worker.revision.id;
    let told = inner.clone();
    let _stopped = OnEnd(move || {
        let effects = told.state().pools.stopped(revision, Instant::now());
        told.carry_out(effects);
    });
    let is_dead = worker.is_broken || !worker.is_alive();
    let grace = if is_dead {
        Duration::ZERO
    } else {
        inner.config.stop_grace
    };
    let worker = *worker;
    if let Some(start) = worker.start {
        // It never ran an event: its first lines belong to none.
        log::outside(&inner.logs, &worker.revision.name, &worker.stream, start.lines).await;
    }
    worker.instance.stop(grace).await;
}

async fn rest(inner: Arc<Inner>, revision: RevisionId) {
    let told = inner.clone();
    let _rested = OnEnd(move || {
        let effects = told.state().pools.rested(revision, Instant::now());
        told.carry_out(effects);
    });
    for runtime in &*inner.runtimes {
        runtime.rest(revision).await;
    }
}
