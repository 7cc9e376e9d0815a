//! The composition root: puts the parts of one server together, runs them, and ends them in order.
//!
//! Everything that a server is made of is named in [`run`], in the order in which it must be there.
//! Shutting down goes the other way: first no new requests, then no new work, then no instances, then no store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use squall_access::{Audit, Keys, Roles, RootKey, Sessions};
use squall_dispatcher::{Dispatcher, DispatcherConfig};
use squall_gateway::sigv4::Signer;
use squall_gateway::{Access, Engines, Gateway, GatewayConfig};
use squall_host::StateHosts;
use squall_objects::Objects;
use squall_registry::{Limits, Registry};
use squall_runtime_process::{Doors, ProcessConfig, ProcessRuntime};
use squall_runtime_wasm::{Compiler, WasmConfig, WasmRuntime};
use squall_state::State;
use squall_store::logs::{LogConfig, LogStore};
use squall_store::{Embedded, EmbeddedConfig, Seal, Store, StoreError};
use squall_types::{DeliverByService, Home, MIB};
use squall_workflow::dag::{self, Dags};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::commands;
use crate::credentials::{self, Credentials};
use crate::endpoint::Endpoint;
use crate::events::Events;
use crate::listen::{Listening, listen};
use crate::metrics;
use crate::objects;
use crate::runtimes::Runtimes;
use crate::signals;
use crate::state::{self, RunState};
use crate::tls;
use crate::up::UpArgs;

/// Connections of functions without a network that the gateway has not taken up; further ones wait at their doors.
const VISITORS_WAITING_MAX: usize = 64;
/// How often logs are cut to their limits, and code that nobody uses any more is removed.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);

/// Runs a server until it is told to end.
///
/// # Errors
/// When it cannot start: the folder is in use, of another version or not writable; the address is taken.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let stop = signals::first_drains_second_exits()?;
    let home = Home {
        account: args.account.clone(),
        region: args.region.clone(),
    };
    let data_dir = make_data_dir(&args.data_dir)?;
    // The store's lock comes before anything else that writes: it keeps a second server out.
    let embedded = Arc::new(open_store(&data_dir)?);
    let store: Arc<dyn Store> = embedded.clone();
    let (access, credentials) = open_access(&data_dir, &home, store.clone()).await?;
    let logs = LogStore::open(store.clone(), log_config(&args)).await?;

    let Listening {
        listeners,
        address,
        url,
        functions_url,
    } = listen(&args).await?;
    let (open_doors, visitors) = mpsc::channel(VISITORS_WAITING_MAX);
    let doors = Doors {
        port: address.port(),
        visitors: open_doors,
    };
    let runtimes = open_runtimes(&args, &home, &data_dir, (functions_url, &access.sessions), doors)?;
    let registry = open_registry(&args, home.clone(), &data_dir, store.clone(), &runtimes).await?;
    let state = state::open(&args, store.clone()).await?;
    let engines = (&registry, &runtimes, &state);
    let dispatcher = open_dispatcher(&args, engines, store.clone(), logs.clone()).await?;
    let dags = open_dags(&dispatcher, &state, store.clone()).await?;
    let events = Events::open(store.clone(), home.clone(), Arc::new(dispatcher.clone()), &state).await?;
    let objects = objects::open(store.clone(), home.clone(), &data_dir, events.outbox()).await?;
    let engines = wire_engines(&dispatcher, &dags, &state, &events, &objects);
    let gateway = open_gateway(
        (access, &credentials),
        GatewayConfig::new(home, address),
        &registry,
        &dispatcher,
        &logs,
        engines,
    )
    .with_visitors(visitors);

    let background = CancellationToken::new();
    let code = (&registry, &runtimes);
    let mut working = work_in_background(&dispatcher, &dags, &state, &logs, code, &background);
    working.spawn(events.clone().run(background.clone()));
    working.spawn(objects::sweep(objects));
    working.spawn(tls::renew_on_hangup(listeners.tls.clone(), background.clone())?);
    let mut serving = tokio::spawn(gateway.serve(listeners, stop.clone()));
    let announced = Endpoint::announce(&data_dir, &url)?;
    greet(&url, &args.data_dir, &credentials);

    let ended_early = tokio::select! {
        // Asked to stop, the gateway may have ended before we look: that is not too early.
        biased;
        () = stop.cancelled() => None,
        ended = &mut serving => Some(ended),
    };
    drop(announced);
    if let Some(ended) = ended_early {
        // Nobody can reach us any more: end, so that whoever watches the process starts it again.
        ended.context("the gateway panicked")??;
        anyhow::bail!("the gateway stopped serving");
    }
    events.drain();
    drain(&args, &dispatcher, &dags, serving).await;
    background.cancel();
    working.join_all().await;
    // Before the registry settles: what is being compiled is left for the next start.
    runtimes.shutdown().await;
    registry.settled().await;
    logs.flush().await?;
    embedded.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// What happens beside requests, until `stop`. An engine with work of its own adds it here.
fn work_in_background(
    dispatcher: &Dispatcher,
    dags: &Dags,
    state: &State,
    logs: &LogStore,
    (registry, runtimes): (&Registry, &Runtimes),
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut working = JoinSet::new();
    let (engine, until) = (dispatcher.clone(), stop.clone());
    working.spawn(async move { engine.run(until).await });
    let (engine, until) = (dags.clone(), stop.clone());
    working.spawn(async move { engine.run(until).await });
    working.spawn(state.clone().run(stop.clone()));
    working.spawn(keep_house(logs.clone(), registry.clone(), stop.clone()));
    working.spawn(prepare_again(runtimes.clone(), registry.clone(), stop.clone()));
    working
}

/// No new work, and an end to what runs: first the functions, then those who wait for them.
async fn drain<T>(args: &UpArgs, dispatcher: &Dispatcher, dags: &Dags, serving: JoinHandle<T>) {
    let timeout = args.drain_timeout;
    tracing::info!(
        ?timeout,
        "draining: running invocations may finish; a second signal exits"
    );
    dispatcher.drain(timeout).await;
    // The dispatcher has told every run that it is over; recorded runs go on at the next start.
    if tokio::time::timeout(timeout, dags.drain()).await.is_err() {
        tracing::warn!("some runs of DAGs did not stop in time");
    }
    if tokio::time::timeout(timeout, serving).await.is_err() {
        tracing::info!("some clients did not take their answers in time");
    }
}

fn open_store(data_dir: &Path) -> Result<Embedded, StoreError> {
    let config = EmbeddedConfig {
        on_writer_start: squall_runtime_process::serve_on_this_thread,
        ..EmbeddedConfig::default()
    };
    Embedded::open(data_dir.join("store"), config)
}

/// Makes the folder where it is not there, readable by its owner only: it holds keys and code.
fn make_data_dir(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let attempted = || format!("could not make the data folder `{}`", dir.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(attempted)?;
    dir.canonicalize().with_context(attempted)
}

fn log_config(args: &UpArgs) -> LogConfig {
    LogConfig {
        bytes_per_function_max: args.log_mib_max * MIB,
        retention: args.log_retention,
    }
}

fn open_runtimes(
    args: &UpArgs,
    home: &Home,
    data_dir: &Path,
    (endpoint, sessions): (String, &Sessions),
    doors: Doors,
) -> anyhow::Result<Runtimes> {
    let processes = ProcessRuntime::new(ProcessConfig {
        home: home.clone(),
        endpoint: Some(endpoint),
        doors: Some(doors),
        sessions: Some(sessions.clone()),
        walls: args.walls.into(),
        shared: shared_folders(&args.share)?,
        hidden: vec![data_dir.to_owned()],
        ..ProcessConfig::new(data_dir.join("run"))
    })?;
    let wasm = WasmRuntime::new(WasmConfig {
        dir: data_dir.join("machine-code"),
        // By this name it is the file that this process runs, also when an upgrade has replaced it on disk.
        compiler: Compiler::Child("/proc/self/exe".into(), vec![commands::COMPILE_WASM.to_owned()]),
        processors: processes.processors(),
    });
    // The first that takes a name has it: this one answers at once, while the other looks for interpreters first.
    Ok(Runtimes::new(vec![Arc::new(wasm), processes]))
}

/// Absolute, and there.
fn shared_folders(folders: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let absolute = |folder: &PathBuf| {
        let found = folder.canonicalize();
        found.with_context(|| format!("could not share the folder `{}`", folder.display()))
    };
    folders.iter().map(absolute).collect()
}

async fn open_registry(
    args: &UpArgs,
    home: Home,
    data_dir: &Path,
    store: Arc<dyn Store>,
    runtimes: &Runtimes,
) -> anyhow::Result<Registry> {
    let seal_key = args.seal_key.clone().unwrap_or_else(|| data_dir.join("seal.key"));
    let config = squall_registry::Config {
        home,
        dir: data_dir.join("functions"),
        limits: Limits {
            account_concurrency: args.account_concurrency,
            ..Limits::default()
        },
        seal: Seal::open(&seal_key)?,
    };
    Ok(Registry::open(store, config, runtimes.check(), runtimes.prepare()).await?)
}

async fn open_dispatcher(
    args: &UpArgs,
    (registry, runtimes, state): (&Registry, &Runtimes, &State),
    store: Arc<dyn Store>,
    logs: LogStore,
) -> anyhow::Result<Dispatcher> {
    let hosts = Arc::new(StateHosts::new(state.clone()));
    let config = DispatcherConfig {
        idle_timeout: args.idle_timeout,
        instances_max: args.instances_max,
        result_retention: args.result_retention,
        ..DispatcherConfig::default()
    };
    Ok(Dispatcher::open(config, registry.clone(), runtimes.all(), Some(hosts), store, logs).await?)
}

async fn open_dags(dispatcher: &Dispatcher, state: &State, store: Arc<dyn Store>) -> anyhow::Result<Dags> {
    let invoke = Arc::new(dispatcher.clone());
    let state = Arc::new(RunState(state.clone()));
    Ok(Dags::open(store, invoke, state, dag::Config::default()).await?)
}

/// What the gateway speaks for.
fn wire_engines(
    dispatcher: &Dispatcher,
    dags: &Dags,
    state: &State,
    events: &Events,
    objects: &Objects,
) -> Engines {
    Engines {
        dags: Some(dags.clone()),
        state: Some(state.clone()),
        queues: events.queues.clone(),
        buses: events.buses.clone(),
        schedules: events.schedules.clone(),
        mappings: events.mappings.clone(),
        objects: objects.clone(),
        deliver: wire_targets(dispatcher, events),
        events: Some(Arc::new(dispatcher.clone())),
        once: Arc::new(dispatcher.clone()),
        metrics: metrics::writer(dispatcher, &events.queues),
    }
}

/// Who takes what destinations and dead-letter queues are named for, by the service in their ARN.
fn wire_targets(dispatcher: &Dispatcher, events: &Events) -> DeliverByService {
    let targets = DeliverByService::new()
        .with("lambda", dispatcher.function_targets())
        .with("sqs", Arc::new(events.queues.clone()))
        .with("events", Arc::new(events.buses.clone()));
    dispatcher.deliver_through(Arc::new(targets.clone()));
    events.deliver_through(Arc::new(targets.clone()));
    targets
}

/// Who may do what, and the installation's own key.
async fn open_access(
    data_dir: &Path,
    home: &Home,
    store: Arc<dyn Store>,
) -> anyhow::Result<(Access, Credentials)> {
    let credentials = credentials::read_or_create(data_dir, &home.region)?;
    let root = RootKey {
        id: credentials.access_key_id.clone(),
        secret: credentials.secret_access_key.clone(),
        account: home.account.clone(),
    };
    let access = Access {
        keys: Keys::open(store.clone(), root).await?,
        roles: Roles::open(store, &home.account).await?,
        sessions: Sessions::default(),
        audit: Audit::open(&data_dir.join("audit.jsonl")).context("could not open the audit log")?,
    };
    Ok((access, credentials))
}

fn open_gateway(
    (access, credentials): (Access, &Credentials),
    config: GatewayConfig,
    registry: &Registry,
    dispatcher: &Dispatcher,
    logs: &LogStore,
    engines: Engines,
) -> Gateway {
    let signer = Signer {
        access_key_id: credentials.access_key_id.clone(),
        secret_access_key: credentials.secret_access_key.clone(),
        region: config.home.region.clone(),
        service: "squall".to_owned(),
    };
    Gateway::new(
        config,
        registry.clone(),
        Arc::new(dispatcher.clone()),
        logs.clone(),
        engines,
        access,
        signer,
    )
}

/// What is being compiled when this ends is ended with the runtimes.
async fn prepare_again(runtimes: Runtimes, registry: Registry, stop: CancellationToken) {
    tokio::select! {
        () = runtimes.prepare_again(&registry) => {}
        () = stop.cancelled() => {}
    }
}

/// Keeps the folder small, now and then.
async fn keep_house(logs: LogStore, registry: Registry, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = logs.enforce().await {
            tracing::error!(%error, "could not cut the logs to their limits");
        }
        if let Err(error) = registry.sweep().await {
            tracing::error!(%error, "could not remove code that nobody uses");
        }
    }
}

/// What a person at a terminal needs next. On standard output: it is the command's answer, not a log.
#[expect(clippy::print_stdout, reason = "the greeting is what `squall up` prints")]
fn greet(url: &str, data_dir: &Path, credentials: &Credentials) {
    let env = if data_dir == Path::new("./.squall") {
        "squall env".to_owned()
    } else {
        format!("squall env --data-dir {}", data_dir.display())
    };
    println!(
        "squall answers on {url}  (data in {}, key {})",
        data_dir.display(),
        credentials.access_key_id
    );
    println!();
    println!("  deploy a function    squall deploy examples/hello-python --url");
    println!("  call it              squall invoke hello-python --data '{{\"name\": \"Ada\"}}'");
    println!("  see its logs         squall logs hello-python -f");
    println!("  use boto3 or aws     eval \"$({env})\"");
}
