//! The handle that everybody holds, and what it stands on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_store::{Batch, Store};
use squall_types::{FunctionRef, Invoke, InvokeError};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::catalog::{Catalog, now_ms};
use super::execute::{self, Stopped};
use super::fused::{self, OutOfDate};
use super::place::Places;
use super::record::{self, ENDINGS, EXPIRIES, RUNS, RunRecord};
use super::run::{Run, Settled};
use super::table::Table;
use super::value::value_bytes;
use super::{
    Argument, Config, DagError, Ending, Inputs, Options, RunId, RunState, SharedState, Spec, Takes, Topology,
    write_inputs,
};
use crate::detach::Detached;

/// What a run runs.
#[derive(Debug, Clone)]
pub enum Plan {
    /// A registered DAG.
    Dag(String),
    /// One function.
    Function(FunctionRef, Takes),
}

/// Compositions and their runs. A cheap handle: clones share one engine.
///
/// It works as soon as it is opened; [`run`](Self::run) adds what happens in the background.
#[derive(Clone)]
pub struct Dags {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) state: Arc<dyn SharedState>,
    pub(crate) places: Places,
    pub(crate) catalog: Catalog,
    /// Held for the length of a look or a change, never across an await.
    table: Mutex<Table>,
    pub(crate) running: Semaphore,
    pub(crate) out_of_date: OutOfDate,
    /// Recorded runs, and direct runs whose callers left.
    pub(crate) tasks: TaskTracker,
    /// Runs that were accepted before the restart, for the one `run`.
    pub(crate) recovered: Mutex<Vec<Arc<Run>>>,
}

impl Inner {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a run that is under way, or finds how it ended. `Running` where the server stops first.
    pub(crate) async fn wait_for(&self, id: RunId) -> Result<RunState, DagError> {
        let (run, recent) = {
            let table = self.table();
            (table.run(id), table.recent(id))
        };
        if let Some(ending) = recent {
            return Ok(RunState::Ended(ending));
        }
        if let Some(run) = run {
            return Ok(run.ended().await);
        }
        self.stored_ending(id).await
    }

    pub(crate) async fn stored_ending(&self, id: RunId) -> Result<RunState, DagError> {
        let Some(entry) = self.store.get(ENDINGS, id.0.as_bytes()).await? else {
            return Err(DagError::NotFound(format!(
                "the run {id} is not known, or not any more"
            )));
        };
        Ok(RunState::Ended(Arc::new(record::decode_ending(id, entry.value)?)))
    }
}

impl Dags {
    /// Reads what the store holds. Recorded runs go on when [`run`](Self::run) does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        invoke: Arc<dyn Invoke>,
        state: Arc<dyn SharedState>,
        config: Config,
    ) -> Result<Self, DagError> {
        let catalog = Catalog::open(store.clone(), config.dags_max).await?;
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        let inner = Inner {
            places: Places::new(state.caches(), seed),
            running: Semaphore::new(config.running_max),
            table: Mutex::new(Table::default()),
            out_of_date: OutOfDate::default(),
            tasks: TaskTracker::new(),
            recovered: Mutex::default(),
            config,
            store,
            invoke,
            state,
            catalog,
        };
        let dags = Self {
            inner: Arc::new(inner),
        };
        dags.count_endings().await?;
        dags.recover().await?;
        Ok(dags)
    }

    /// Keeps a DAG under a name; one that was there is replaced, and its runs go on as they began.
    ///
    /// # Errors
    /// The DAG's fault, or a function that is not there.
    pub async fn register(&self, name: &str, spec: Spec) -> Result<Arc<Topology>, DagError> {
        let topology = Topology::new(spec)?;
        for (node, target) in topology.targets.iter().enumerate() {
            match self.inner.invoke.dry_run(target).await {
                Err(InvokeError::NotFound(_)) => {
                    let name = topology.name(node);
                    let text =
                        format!("the DAG names the function `{name}`, but there is no function `{target}`");
                    return Err(DagError::Invalid(text));
                }
                Err(InvokeError::ShuttingDown) => return Err(DagError::ShuttingDown),
                // Not ready yet, or all busy: it is there.
                Ok(()) | Err(_) => {}
            }
        }
        fused::check(&self.inner, &topology).await?;
        let kept = self.inner.catalog.put(name, topology.spec).await?;
        self.inner.out_of_date.forget(name);
        Ok(kept)
    }

    /// Forgets a DAG. Its runs go on.
    ///
    /// # Errors
    /// [`DagError::NotFound`].
    pub async fn delete(&self, name: &str) -> Result<(), DagError> {
        self.inner.catalog.delete(name).await?;
        self.inner.out_of_date.forget(name);
        Ok(())
    }

    /// A DAG.
    ///
    /// # Errors
    /// [`DagError::NotFound`].
    pub fn get(&self, name: &str) -> Result<Arc<Topology>, DagError> {
        self.inner.catalog.get(name)
    }

    /// Whether a run of a DAG would run in the one function that holds its functions.
    pub async fn runs_fused(&self, dag: &Topology) -> bool {
        matches!(fused::current(&self.inner, dag).await, Ok(Some(_)))
    }

    /// All DAGs, by name.
    pub fn all(&self) -> Vec<(String, Arc<Topology>)> {
        self.inner.catalog.all()
    }

    /// Executes a run and answers with how it ended. A caller that leaves does not stop it.
    ///
    /// # Errors
    /// A refusal: nothing ran, or the server is draining and the run is lost.
    pub async fn call(
        &self,
        plan: Plan,
        inputs: Inputs,
        options: Options,
        id: RunId,
        trace_id: Option<String>,
    ) -> Result<Arc<Ending>, DagError> {
        let run = self.prepare(plan, inputs, options, id, trace_id, false)?;
        self.inner.table().enter(&run, &self.inner.config)?;
        let inner = self.inner.clone();
        let work = async move {
            let ended = match inner.running.try_acquire() {
                Ok(_permit) => execute::execute(&inner, &run).await,
                Err(_) => {
                    inner.table().leave(&run);
                    return Err(DagError::Throttled(
                        "as many runs are under way as may be".to_owned(),
                    ));
                }
            };
            let ending = ended.map(Arc::new);
            let mut table = inner.table();
            table.leave(&run);
            let Ok(ending) = ending else {
                run.settled.send_replace(Some(Settled::Stopped));
                return Err(DagError::ShuttingDown);
            };
            table.remember(run.id, &ending, Instant::now(), &inner.config);
            drop(table);
            run.settled.send_replace(Some(Settled::Ended(ending.clone())));
            Ok(ending)
        };
        Detached::new(work, &self.inner.tasks).await
    }

    /// Takes a run to execute it in the background. When this returns, the run survives power loss: it is executed
    /// again after a restart, until it has ended.
    ///
    /// # Errors
    /// A refusal: nothing was taken.
    pub async fn submit(
        &self,
        plan: Plan,
        inputs: Inputs,
        options: Options,
        id: RunId,
        trace_id: Option<String>,
    ) -> Result<RunId, DagError> {
        let inputs = self.without_direct_runs(inputs).await?;
        let run = self.prepare(plan, inputs, options, id, trace_id, true)?;
        self.inner.table().enter(&run, &self.inner.config)?;
        let inner = self.inner.clone();
        // Not to be cut in two: a run that was written must be executed, or it would wait for the next start.
        let work = async move {
            let taken = record_run(&inner, &run).await;
            if taken.is_err() {
                inner.table().leave(&run);
            } else {
                spawn(&inner, run.clone());
            }
            taken.map(|()| run.id)
        };
        Detached::new(work, &self.inner.tasks).await
    }

    /// What is known of a run, after waiting at most `wait` for its end.
    ///
    /// # Errors
    /// [`DagError::NotFound`] for one that is not known, or not any more.
    pub async fn state(&self, id: RunId, wait: Duration) -> Result<RunState, DagError> {
        match timeout(wait, self.inner.wait_for(id)).await {
            Ok(state) => state,
            Err(_) => Ok(RunState::Running),
        }
    }

    /// Ends a run: no further function of it starts. Functions that run go on to their own ends.
    ///
    /// # Errors
    /// [`DagError::NotFound`] for one that is not known. One that has ended already stays as it ended.
    pub async fn cancel(&self, id: RunId) -> Result<RunState, DagError> {
        let run = self.inner.table().run(id);
        if let Some(run) = run {
            run.cancelled.cancel();
        }
        self.inner.wait_for(id).await
    }

    /// The runs that have not ended: id, DAG, and whether it is recorded.
    pub fn runs(&self) -> Vec<(RunId, Option<String>, bool)> {
        let runs = self.inner.table().all();
        runs.iter()
            .map(|run| (run.id, run.dag.clone(), run.is_recorded))
            .collect()
    }

    /// Takes no new runs, and waits until those that are under way have ended or were stopped by the dispatcher's
    /// own drain. Recorded runs stay in the store.
    pub async fn drain(&self) {
        self.inner.table().is_closed = true;
        self.inner.running.close();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn prepare(
        &self,
        plan: Plan,
        inputs: Inputs,
        options: Options,
        id: RunId,
        trace_id: Option<String>,
        is_recorded: bool,
    ) -> Result<Arc<Run>, DagError> {
        options.check()?;
        let (dag, topology) = match plan {
            Plan::Dag(name) => {
                let topology = self.get(&name)?;
                (Some(name), topology)
            }
            Plan::Function(target, takes) => (None, Arc::new(Topology::single(&target, takes))),
        };
        let inputs = by_node(&topology, inputs)?;
        Ok(Arc::new(Run {
            id,
            dag,
            bytes: inputs.iter().map(|arguments| value_bytes(arguments)).sum(),
            topology,
            inputs,
            options,
            trace_id,
            is_recorded,
            cancelled: CancellationToken::new(),
            settled: watch::Sender::new(None),
        }))
    }

    /// A direct run's result is not there after a restart: its value takes its place before the run is recorded.
    async fn without_direct_runs(&self, mut inputs: Inputs) -> Result<Inputs, DagError> {
        for argument in inputs.iter_mut().flat_map(|(_, arguments)| arguments) {
            let Argument::Run(id) = *argument else { continue };
            let is_recorded = self.inner.table().run(id).is_some_and(|run| run.is_recorded);
            if is_recorded {
                continue;
            }
            match self.inner.wait_for(id).await? {
                RunState::Running => return Err(DagError::ShuttingDown),
                RunState::Ended(ending) => {
                    let Ending::Done(value) = &*ending else {
                        return Err(DagError::Invalid(format!(
                            "the run {id} has no result, and is an argument"
                        )));
                    };
                    *argument = Argument::Value(value.clone());
                }
            }
        }
        Ok(inputs)
    }
}

/// Arguments by node instead of by name.
fn by_node(topology: &Topology, inputs: Inputs) -> Result<Vec<Vec<Argument>>, DagError> {
    let mut by_node = vec![Vec::new(); topology.upstream.len()];
    for (name, arguments) in inputs {
        let Some(node) = topology.node(&name) else {
            return Err(DagError::Invalid(if name.is_empty() {
                let sources: Vec<&str> = topology.sources().map(|node| topology.name(node)).collect();
                format!(
                    "the DAG has several sources, {}: say whose arguments these are",
                    sources.join(", ")
                )
            } else {
                format!("arguments are given to `{name}`, which is not a function of the DAG")
            }));
        };
        by_node[node].extend(arguments);
    }
    Ok(by_node)
}

async fn record_run(inner: &Inner, run: &Run) -> Result<(), DagError> {
    if inner.store.get(ENDINGS, run.id.0.as_bytes()).await?.is_some() {
        return Err(DagError::Exists(run.id));
    }
    let head = RunRecord {
        dag: run.dag.clone(),
        spec: run.topology.spec.clone(),
        options: run.options.clone(),
        accepted_at_ms: now_ms(),
    };
    let names = run.topology.spec.functions.iter().map(|node| node.name.as_str());
    let inputs = write_inputs(names.zip(run.inputs.iter().map(Vec::as_slice)));
    let key = run.id.0.as_bytes().to_vec();
    let batch = Batch::durable().put(RUNS, key, record::encode(&head, &inputs));
    inner.store.commit(batch).await?;
    Ok(())
}

/// Executes a recorded run in the background, when it is its turn.
pub(crate) fn spawn(inner: &Arc<Inner>, run: Arc<Run>) {
    let inner = inner.clone();
    inner.tasks.clone().spawn(async move {
        // Closed: the server is draining, and the run stays in the store.
        let ended = match inner.running.acquire().await {
            Ok(_permit) => execute::execute(&inner, &run).await,
            Err(_) => Err(Stopped),
        };
        match ended {
            Ok(ending) => keep(&inner, &run, ending).await,
            Err(Stopped) => stopped(&inner, &run),
        }
    });
}

/// Keeps the ending of a recorded run, and tells those who wait for it.
async fn keep(inner: &Inner, run: &Run, ending: Ending) {
    let value = record::encode_ending(&ending);
    let bytes = value.len() as u64;
    let key = run.id.0.as_bytes().to_vec();
    let expiry = record::expiry_key(now_ms().saturating_add(run.options.keep_ms), run.id);
    let batch = Batch::durable()
        .delete(RUNS, key.clone())
        .put(ENDINGS, key, value)
        .put(EXPIRIES, expiry, bytes.to_be_bytes().to_vec());
    if let Err(error) = inner.store.commit(batch).await {
        tracing::error!(run = %run.id, %error, "could not keep a run's result; the run is executed again after a restart");
        stopped(inner, run);
        return;
    }
    {
        let mut table = inner.table();
        table.leave(run);
        table.endings += 1;
        table.ending_bytes += bytes;
    }
    run.settled.send_replace(Some(Settled::Ended(Arc::new(ending))));
}

fn stopped(inner: &Inner, run: &Run) {
    inner.table().leave(run);
    run.settled.send_replace(Some(Settled::Stopped));
}
