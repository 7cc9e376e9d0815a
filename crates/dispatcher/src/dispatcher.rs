//! The handle that everybody holds, and what it stands on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use prometheus_client::collector::Collector;
use squall_registry::{Change, Registry};
use squall_runtime::{Hosts, Runtime};
use squall_store::logs::LogStore;
use squall_store::{Op, Store};
use squall_types::{
    Body, Deliver, Encoding, FunctionRef, Invocation, Invoke, InvokeError, Outcome, RequestId, Resolution,
    Streamed,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admit::Admission;
use crate::config::{DispatcherConfig, OpenError};
use crate::detach::Detached;
use crate::kept::Limits;
use crate::lease::Worker;
use crate::metrics::{DispatcherMetrics, Metrics};
use crate::once::Once;
use crate::pool::Pools;
use crate::queue::Queue;
use crate::resolve::Resolve;
use crate::result::Results;
use crate::stats::Stats;
use crate::targets::FunctionTargets;
use crate::{change, invoke, queue, reap, stream};

/// How much longer than their grace instances and calls may take to be gone at the end of a drain.
const DRAIN_SLACK: Duration = Duration::from_secs(5);

/// Runs events in instances of their functions. A cheap handle: clones share one dispatcher.
///
/// It works as soon as it is opened; [`run`](Self::run) adds what happens in the background.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

/// What the handles share.
pub(crate) struct Inner {
    pub(crate) config: DispatcherConfig,
    pub(crate) resolver: Box<dyn Resolve>,
    pub(crate) runtimes: Arc<[Arc<dyn Runtime>]>,
    /// Who answers what instances ask while they run an event.
    pub(crate) hosts: Option<Arc<dyn Hosts>>,
    pub(crate) logs: LogStore,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Queue,
    pub(crate) results: Results,
    pub(crate) metrics: Metrics,
    pub(crate) once: Once,
    /// Where destinations and dead-letter queues are reached; set once, before events run.
    pub(crate) targets: OnceLock<Arc<dyn Deliver>>,
    /// Held for the length of a decision only: never across an await, never while an instance is dropped.
    state: Mutex<State>,
    /// Starts, stops, watches over instances, accepted events that run, and calls whose callers left.
    pub(crate) tasks: TaskTracker,
    pub(crate) handle: Handle,
    /// Told when a draining dispatcher has no call in flight any more.
    pub(crate) left: Notify,
    /// A drain's grace is over: whatever still runs ends.
    is_overdue: AtomicBool,
    /// Changes since it was opened, for the one `run`.
    changes: Mutex<Option<broadcast::Receiver<Change>>>,
}

/// What is decided under the lock.
pub(crate) struct State {
    /// Draining: no new work.
    pub(crate) is_closed: bool,
    pub(crate) admission: Admission,
    pub(crate) pools: Pools<Box<Worker>>,
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a broken invariant of the pools, and what it leaves is still counted right enough
        // to answer others and to shut down.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.is_overdue.load(Ordering::Relaxed)
    }

    fn take_changes(&self) -> Option<broadcast::Receiver<Change>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.take()
    }

    /// How long an accepted event for `target` is kept.
    pub(crate) fn event_age_max(&self, target: &FunctionRef) -> Duration {
        queue::age_max(&*self.resolver, &self.config, target)
    }

    async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.state().admission.total() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Dispatcher {
    /// Opens the queue of accepted events that the store holds. Call it within a tokio runtime.
    /// Without `hosts` an instance that asks for state gets an error.
    ///
    /// # Errors
    /// When the accepted events cannot be read.
    pub async fn open(
        config: DispatcherConfig,
        registry: Registry,
        runtimes: Vec<Arc<dyn Runtime>>,
        hosts: Option<Arc<dyn Hosts>>,
        store: Arc<dyn Store>,
        logs: LogStore,
    ) -> Result<Self, OpenError> {
        Self::with_resolver(config, Box::new(registry), runtimes, hosts, store, logs).await
    }

    pub(crate) async fn with_resolver(
        config: DispatcherConfig,
        resolver: Box<dyn Resolve>,
        runtimes: Vec<Arc<dyn Runtime>>,
        hosts: Option<Arc<dyn Hosts>>,
        store: Arc<dyn Store>,
        logs: LogStore,
    ) -> Result<Self, OpenError> {
        // Before anything is resolved, so that no change is missed.
        let changes = resolver.changes();
        let state = State {
            is_closed: false,
            admission: Admission::new(resolver.account_concurrency()),
            pools: Pools::new(config.instances_max, config.waiting_max),
        };
        let limits = Limits {
            retention: config.result_retention,
            records_max: config.results_max,
            bytes_max: config.results_bytes_max,
        };
        let inner = Inner {
            queue: Queue::open(store.clone(), &config, &*resolver).await?,
            metrics: Metrics::default(),
            results: Results::open(store.clone(), limits).await?,
            once: Once::open(store.clone(), limits).await?,
            store,
            targets: OnceLock::new(),
            config,
            resolver,
            runtimes: runtimes.into(),
            hosts,
            logs,
            state: Mutex::new(state),
            tasks: TaskTracker::new(),
            handle: Handle::current(),
            left: Notify::new(),
            is_overdue: AtomicBool::new(false),
            changes: Mutex::new(Some(changes)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What happens in the background, until `shutdown`: idle instances are stopped, accepted events run, changes of
    /// functions take effect. Run it once. Dropping the future stops it at once and loses nothing.
    pub async fn run(&self, shutdown: CancellationToken) {
        let first = self.inner.take_changes();
        let changes = first.unwrap_or_else(|| self.inner.resolver.changes());
        let work = async {
            tokio::join!(
                reap::run(&self.inner),
                queue::run(&self.inner),
                queue::expire(&self.inner),
                change::run(&self.inner, changes),
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = work => {}
        }
    }

    /// Takes no new work from now on, lets what runs finish within `grace`, then ends it, and stops all instances.
    /// Accepted events that have not run stay in the store.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.inner;
        let effects = {
            let mut state = inner.state();
            state.is_closed = true;
            state.pools.close()
        };
        inner.queue.close();
        inner.carry_out(effects);
        if timeout(grace, inner.all_left()).await.is_err() {
            let calls = inner.state().admission.total();
            tracing::warn!(calls, ?grace, "invocations did not finish in time and are ended");
            inner.is_overdue.store(true, Ordering::Relaxed);
            let slack = inner.config.log_flush_every + DRAIN_SLACK;
            if timeout(slack, inner.all_left()).await.is_err() {
                let calls = inner.state().admission.total();
                tracing::error!(calls, "invocations could not be ended");
            }
        }
        inner.tasks.close();
        let slack = inner.config.stop_grace + DRAIN_SLACK;
        if timeout(slack, inner.tasks.wait()).await.is_err() {
            tracing::error!(tasks = inner.tasks.len(), "instances could not be stopped");
        }
    }

    /// Says where destinations and dead-letter queues are reached. Call it once, before [`run`](Self::run).
    pub fn deliver_through(&self, targets: Arc<dyn Deliver>) {
        if self.inner.targets.set(targets).is_err() {
            tracing::error!("destinations were wired twice; the first wiring stays");
        }
    }

    /// The functions as targets of deliveries, for the service `lambda`.
    pub fn function_targets(&self) -> Arc<dyn Deliver> {
        Arc::new(FunctionTargets::new(&self.inner))
    }

    /// What it counts, for a registry of metrics.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(DispatcherMetrics(self.clone()))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Work that is done to its end, also when whoever waits for it goes away.
    pub(crate) fn detached<T>(&self, work: impl Future<Output = T> + Send + 'static) -> Detached<T> {
        Detached::new(work, self.inner.tasks.clone(), self.inner.handle.clone())
    }

    /// A look at what is going on.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            functions: BTreeMap::new(),
            in_flight: 0,
            instances: 0,
        };
        {
            let state = self.inner.state();
            stats.in_flight = state.admission.total();
            state.pools.count(&mut stats);
        }
        self.inner.queue.count(&mut stats, Instant::now());
        stats
            .functions
            .retain(|_, function| *function != crate::FunctionStats::default());
        stats
    }
}

impl From<Arc<Inner>> for Dispatcher {
    fn from(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Invoke for Dispatcher {
    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, InvokeError> {
        self.check_call(&invocation)?;
        let call = invoke::call(self.inner.clone(), invocation, None);
        Detached::new(call, self.inner.tasks.clone(), self.inner.handle.clone()).await
    }

    async fn stream(
        &self,
        invocation: Invocation,
        request: Option<Request<Body>>,
    ) -> Result<Streamed, InvokeError> {
        check_size(&invocation, self.inner.config.payload_bytes_max)?;
        stream::stream(&self.inner, invocation, request).await
    }

    async fn takes_http(&self, target: &FunctionRef) -> Result<bool, InvokeError> {
        stream::takes_http(&self.inner, target).await
    }

    async fn accept(&self, invocation: Invocation) -> Result<(), InvokeError> {
        self.accept_with(invocation, Vec::new(), None).await
    }

    async fn resolve(&self, target: &FunctionRef) -> Result<Resolution, InvokeError> {
        if self.inner.state().is_closed {
            return Err(InvokeError::ShuttingDown);
        }
        let resolved = self.inner.resolver.resolve(target)?;
        Ok(Resolution {
            revision: resolved.revision.id,
            reserved_concurrency: resolved.reserved_concurrency,
        })
    }
}

impl Dispatcher {
    /// Refuses what is no event for a call.
    pub(crate) fn check_call(&self, invocation: &Invocation) -> Result<(), InvokeError> {
        check_size(invocation, self.inner.config.payload_bytes_max)
    }

    /// Takes an event, and writes something beside it in the same batch. With `once`, the id of the delivery that it
    /// came by, only if it has not come by it before.
    pub(crate) async fn accept_with(
        &self,
        invocation: Invocation,
        beside: Vec<Op>,
        once: Option<RequestId>,
    ) -> Result<(), InvokeError> {
        check_size(&invocation, self.inner.config.async_payload_bytes_max)?;
        if invocation.encoding != Encoding::Json {
            let why = "an accepted event is JSON: its record has no place for another encoding".to_owned();
            return Err(InvokeError::Platform(why));
        }
        if self.inner.state().is_closed {
            return Err(InvokeError::ShuttingDown);
        }
        let resolved = self.inner.resolver.resolve(&invocation.target)?;
        let counters = self.inner.metrics.of(&resolved.revision.name);
        let age_max = self.inner.event_age_max(&invocation.target);
        // Not to be cut in two: an event that was written must be noted, or it would wait for the next start.
        let inner = self.inner.clone();
        let accept = async move {
            let accepted = inner.queue.accept(invocation, age_max, beside, once).await;
            if accepted.is_ok() {
                counters.accepted.inc();
            }
            accepted
        };
        self.detached(accept).await
    }
}

fn check_size(invocation: &Invocation, bytes_max: usize) -> Result<(), InvokeError> {
    let bytes = invocation.payload.len();
    if bytes > bytes_max {
        return Err(InvokeError::PayloadTooLarge { bytes, bytes_max });
    }
    Ok(())
}
