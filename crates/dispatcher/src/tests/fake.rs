//! A set of functions and a runtime that do what a test's script says. All time is tokio's, so that it can be paused.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_registry::{Change, EventPolicy, Resolved};
use squall_runtime::{
    Event, Exit, ExitWatch, Fault, Instance, InstanceId, LogCapture, Reply, Runtime, StartError,
};
use squall_store::logs::{LogConfig, LogQuery, LogStore};
use squall_store::{Batch, Committed, Entry, Memory, Scan, Space, Store, StoreError};
use squall_types::{
    Code, Encoding, FunctionError, FunctionName, FunctionRef, Home, Invocation, Invoke, InvokeError, Outcome,
    Qualifier, RequestId, Revision, RevisionId, RuntimeName, Version,
};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::simulation::Dice;
use crate::resolve::Resolve;
use crate::{Dispatcher, DispatcherConfig, FunctionStats};

/// What an instance does with one event.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers with the event, after this time.
    Echo(Duration),
    /// Writes these lines, waits, and answers with the event.
    Say(Vec<String>, Duration),
    /// Answers with its own id.
    Name(Duration),
    /// Never answers.
    Hang,
    /// Raises.
    Raise,
    /// Ends while it owes an answer.
    Fault(Fault),
    /// Does one of the above, by dice.
    Dice(Dice),
    /// Answers, and ends this time later.
    EndLater(Duration),
}

impl Act {
    /// What it is this time.
    fn roll(self) -> Self {
        let Self::Dice(dice) = self else { return self };
        match dice.below(100) {
            0..25 => Self::Raise,
            25..32 => Self::Fault(Fault::Protocol("the dice said so".to_owned())),
            32..36 => Self::Hang,
            _ => Self::Echo(Duration::from_millis(dice.below(2500))),
        }
    }
}

/// How an instance comes to be.
#[derive(Debug, Clone)]
pub(crate) enum Birth {
    /// Takes this time to initialise.
    Init(Duration),
    /// `create` fails.
    CreateFails,
    /// `create` never ends.
    CreateHangs,
    /// `create` never ends, since the code is prepared again.
    CreateWaits,
    /// `create` panics.
    CreatePanics,
    /// `init` fails after this time.
    InitFails(Duration, Fault),
    /// `init` never ends.
    InitHangs,
}

/// The script of one function's code.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) birth: Birth,
    pub(crate) act: Act,
}

impl Script {
    pub(crate) fn act(act: Act) -> Self {
        let birth = Birth::Init(Duration::from_millis(100));
        Self { birth, act }
    }
}

/// What was asked of the runtime.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) created: AtomicUsize,
    pub(crate) alive: AtomicUsize,
    /// The most instances under way at once.
    pub(crate) starting: AtomicUsize,
    pub(crate) starting_max: AtomicUsize,
    pub(crate) invoked: AtomicUsize,
    pub(crate) answered: AtomicUsize,
    pub(crate) rested: Mutex<Vec<RevisionId>>,
    pub(crate) retired: Mutex<Vec<RevisionId>>,
    pub(crate) attempts: Mutex<Vec<(String, Instant)>>,
    /// What ran to its end: the request id, the event, and whether it was answered.
    pub(crate) ran: Mutex<Vec<(RequestId, Bytes, bool)>>,
}

impl Ledger {
    pub(crate) fn created(&self) -> usize {
        self.created.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn invoked(&self) -> usize {
        self.invoked.load(Ordering::SeqCst)
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
pub(crate) struct FakeRuntime {
    pub(crate) scripts: Mutex<HashMap<RevisionId, Script>>,
    pub(crate) ledger: Arc<Ledger>,
}

impl FakeRuntime {
    fn script(&self, revision: RevisionId) -> Script {
        self.scripts.lock().unwrap()[&revision].clone()
    }
}

struct FakeInstance {
    id: InstanceId,
    script: Script,
    exit: Arc<watch::Sender<Option<Exit>>>,
    ledger: Arc<Ledger>,
    last_words: Vec<u8>,
}

impl Drop for FakeInstance {
    fn drop(&mut self) {
        self.ledger.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn offered(&self) -> Vec<RuntimeName> {
        vec![RuntimeName::from("python3.11".to_owned())]
    }

    fn offers(&self, runtime: &RuntimeName) -> bool {
        self.offered().contains(runtime)
    }

    async fn create(&self, revision: &Arc<Revision>) -> Result<Box<dyn Instance>, StartError> {
        let script = self.script(revision.id);
        self.ledger.created.fetch_add(1, Ordering::SeqCst);
        match script.birth {
            Birth::CreateFails => {
                return Err(StartError {
                    function: revision.name.to_string(),
                    reason: "no process could be made".to_owned(),
                });
            }
            Birth::CreateHangs | Birth::CreateWaits => std::future::pending().await,
            Birth::CreatePanics => panic!("the runtime has a bug"),
            _ => {}
        }
        let starting = self.ledger.starting.fetch_add(1, Ordering::SeqCst) + 1;
        self.ledger.starting_max.fetch_max(starting, Ordering::SeqCst);
        self.ledger.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeInstance {
            id: InstanceId::random(),
            script,
            exit: Arc::new(watch::Sender::new(None)),
            ledger: self.ledger.clone(),
            last_words: Vec::new(),
        }))
    }

    async fn takes_http(&self, revision: &Arc<Revision>) -> Result<bool, StartError> {
        match self.script(revision.id).birth {
            Birth::CreateHangs | Birth::CreateWaits => std::future::pending().await,
            _ => Ok(false),
        }
    }

    async fn preparing(&self, revision: RevisionId) -> Option<&'static str> {
        matches!(self.script(revision).birth, Birth::CreateWaits).then_some("its code is on its way")
    }

    async fn rest(&self, revision: RevisionId) {
        self.ledger.rested.lock().unwrap().push(revision);
    }

    async fn retire(&self, revision: RevisionId) {
        self.ledger.retired.lock().unwrap().push(revision);
    }

    async fn shutdown(&self) {}
}

#[async_trait]
impl Instance for FakeInstance {
    fn id(&self) -> InstanceId {
        self.id
    }

    async fn init(&mut self, log: &mut LogCapture) -> Result<(), Fault> {
        log.push(b"loading\n");
        let result = match self.script.birth.clone() {
            Birth::Init(time) => {
                sleep(time).await;
                Ok(())
            }
            Birth::InitFails(time, fault) => {
                sleep(time).await;
                Err(fault)
            }
            _ => std::future::pending().await,
        };
        self.ledger.starting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    async fn invoke(&mut self, event: &Event, log: &mut LogCapture) -> Result<Reply, Fault> {
        self.ledger.invoked.fetch_add(1, Ordering::SeqCst);
        let attempt = (event.request_id.to_string(), Instant::now());
        self.ledger.attempts.lock().unwrap().push(attempt);
        let mut answer = event.payload.clone();
        let mut result = None;
        match self.script.act.clone().roll() {
            Act::Echo(time) => sleep(time).await,
            Act::Say(lines, time) => {
                lines
                    .iter()
                    .for_each(|line| log.push(format!("{line}\n").as_bytes()));
                sleep(time).await;
            }
            Act::Name(time) => {
                sleep(time).await;
                answer = self.id.to_string().into();
            }
            Act::Dice(_) => unreachable!("it was rolled"),
            Act::Hang => {
                self.last_words = b"my last words".to_vec();
                std::future::pending().await
            }
            Act::Raise => result = Some(Err(FunctionError::new("ValueError", "no"))),
            Act::Fault(fault) => return Err(fault),
            Act::EndLater(time) => {
                let exit = self.exit.clone();
                tokio::spawn(async move {
                    sleep(time).await;
                    exit.send_replace(Some(Exit::Status(1)));
                });
            }
        }
        self.ledger.answered.fetch_add(1, Ordering::SeqCst);
        let ran = (event.request_id, event.payload.clone(), result.is_none());
        self.ledger.ran.lock().unwrap().push(ran);
        Ok(Reply {
            result: result.unwrap_or(Ok(answer)),
            encoding: Encoding::Json,
            memory_bytes_max: 40 * 1024 * 1024,
        })
    }

    fn exit(&self) -> ExitWatch {
        self.exit.subscribe()
    }

    fn drain(&mut self, log: &mut LogCapture) {
        log.push(&std::mem::take(&mut self.last_words));
    }

    async fn stop(self: Box<Self>, _grace: Duration) {}
}

/// The functions that there are. A handle.
#[derive(Clone)]
pub(crate) struct FakeFunctions {
    functions: Arc<Mutex<BTreeMap<FunctionName, Resolved>>>,
    policies: Arc<Mutex<BTreeMap<FunctionName, EventPolicy>>>,
    changes: broadcast::Sender<Change>,
    account_concurrency: u32,
}

impl FakeFunctions {
    pub(crate) fn none(account_concurrency: u32) -> Self {
        Self {
            functions: Arc::default(),
            policies: Arc::default(),
            changes: broadcast::Sender::new(64),
            account_concurrency,
        }
    }
}

impl Resolve for FakeFunctions {
    fn resolve(&self, target: &FunctionRef) -> Result<Resolved, InvokeError> {
        let functions = self.functions.lock().unwrap();
        let found = functions.get(&target.name).cloned();
        found.ok_or_else(|| InvokeError::NotFound(Home::default().function_arn(&target.name, None)))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn is_current(&self, revision: RevisionId) -> bool {
        let functions = self.functions.lock().unwrap();
        functions
            .values()
            .any(|resolved| resolved.revision.id == revision)
    }

    fn event_policy(&self, target: &FunctionRef) -> EventPolicy {
        let policies = self.policies.lock().unwrap();
        policies.get(&target.name).cloned().unwrap_or_default()
    }

    fn function_arn(&self, target: &FunctionRef) -> String {
        let qualifier = target.qualifier.clone().unwrap_or(Qualifier::Latest);
        Home::default().function_arn(&target.name, Some(&qualifier))
    }

    fn account_concurrency(&self) -> u32 {
        self.account_concurrency
    }
}

/// A dispatcher with everything around it.
pub(crate) struct World {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) functions: FakeFunctions,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) logs: LogStore,
    background: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.background.cancel();
    }
}

/// A store in memory whose commits take time, or fail as on a full disk.
pub(crate) struct SlowStore {
    memory: Memory,
    commit_time: Duration,
    is_full: AtomicBool,
}

impl SlowStore {
    pub(crate) fn new(commit_time: Duration) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(),
            commit_time,
            is_full: AtomicBool::new(false),
        })
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for SlowStore {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.memory.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        sleep(self.commit_time).await;
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Io {
                attempted: "write",
                reason: "no space left on device".to_owned(),
            });
        }
        self.memory.commit(batch).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.memory.scan(scan).await
    }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const TENTH: Duration = Duration::from_millis(100);

/// A tokio runtime whose end is a crash: nothing that runs on it gets another chance.
pub(crate) fn machine() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// A world with the default settings and one function, `f`.
pub(crate) async fn world(script: Script) -> World {
    let world = world_with(DispatcherConfig::default(), 1000).await;
    world.put("f", script, None);
    world
}

pub(crate) async fn world_with(config: DispatcherConfig, account_concurrency: u32) -> World {
    open(
        config,
        FakeFunctions::none(account_concurrency),
        Arc::new(Memory::new()),
    )
    .await
}

pub(crate) async fn world_on(store: Arc<dyn Store>, config: DispatcherConfig) -> World {
    open(config, FakeFunctions::none(1000), store).await
}

/// A dispatcher on what another one left behind.
pub(crate) async fn open(config: DispatcherConfig, functions: FakeFunctions, store: Arc<dyn Store>) -> World {
    let runtime = Arc::new(FakeRuntime::default());
    let logs = LogStore::open(store.clone(), LogConfig::default()).await.unwrap();
    let resolver = Box::new(functions.clone());
    let runtimes: Vec<Arc<dyn Runtime>> = vec![runtime.clone()];
    let dispatcher = Dispatcher::with_resolver(config, resolver, runtimes, None, store.clone(), logs.clone());
    let dispatcher = dispatcher.await.unwrap();
    let background = CancellationToken::new();
    let (running, stop) = (dispatcher.clone(), background.clone());
    tokio::spawn(async move { running.run(stop).await });
    World {
        dispatcher,
        functions,
        ledger: runtime.ledger.clone(),
        runtime,
        store,
        logs,
        background,
    }
}

impl World {
    /// Creates a function, or replaces its code.
    pub(crate) fn put(&self, name: &str, script: Script, reserved: Option<u32>) -> RevisionId {
        let revision = revision(name, 3 * SECOND);
        let id = revision.id;
        self.runtime.scripts.lock().unwrap().insert(id, script);
        let resolved = Resolved {
            invoked_arn: revision.function_arn.as_str().into(),
            revision: Arc::new(revision),
            reserved_concurrency: reserved,
        };
        let name: FunctionName = name.parse().unwrap();
        let before = self.functions.functions.lock().unwrap().insert(name, resolved);
        if let Some(before) = before {
            let change = Change::RevisionReplaced(before.revision.id);
            self.functions.changes.send(change).unwrap();
        }
        id
    }

    /// Says what is done with accepted events of a function.
    pub(crate) fn set_policy(&self, name: &str, policy: EventPolicy) {
        let name = name.parse().unwrap();
        self.functions.policies.lock().unwrap().insert(name, policy);
    }

    pub(crate) fn delete(&self, name: &str) {
        let name: FunctionName = name.parse().unwrap();
        let gone = self.functions.functions.lock().unwrap().remove(&name).unwrap();
        let replaced = Change::RevisionReplaced(gone.revision.id);
        self.functions.changes.send(replaced).unwrap();
        self.functions
            .changes
            .send(Change::FunctionDeleted(name))
            .unwrap();
    }

    pub(crate) async fn call(&self, name: &str) -> Result<Outcome, InvokeError> {
        self.dispatcher.invoke(event(name)).await
    }

    /// Makes a call that goes on by itself.
    pub(crate) fn begin(&self, name: &str) -> tokio::task::JoinHandle<Result<Outcome, InvokeError>> {
        let (dispatcher, event) = (self.dispatcher.clone(), event(name));
        tokio::spawn(async move { dispatcher.invoke(event).await })
    }

    pub(crate) fn stats(&self, name: &str) -> FunctionStats {
        let name: FunctionName = name.parse().unwrap();
        let mut stats = self.dispatcher.stats();
        stats.functions.remove(&name).unwrap_or_default()
    }

    /// All lines of a function, in order.
    pub(crate) async fn lines(&self, name: &str) -> Vec<String> {
        let query = LogQuery {
            function: name.parse().unwrap(),
            request_id: None,
            after: None,
            since_ms: None,
            limit: 1000,
        };
        let page = self.logs.read(query).await.unwrap();
        let events = page.batches.into_iter().flat_map(|batch| batch.events);
        events.map(|event| event.message).collect()
    }

    /// The revision that a call would run now.
    pub(crate) fn functions_revision(&self, name: &str) -> RevisionId {
        let target: FunctionRef = name.parse().unwrap();
        self.functions.resolve(&target).unwrap().revision.id
    }

    /// How many accepted events the store holds.
    pub(crate) async fn queued_records(&self) -> usize {
        let scan = Scan::prefix(Space("events"), &b"e"[..]);
        self.store.scan(scan).await.unwrap().len()
    }

    /// Stops the background at once, as a crash would, and leaves the store.
    pub(crate) fn crash(self) -> (FakeFunctions, Arc<dyn Store>) {
        (self.functions.clone(), self.store.clone())
    }
}

pub(crate) fn event(name: &str) -> Invocation {
    Invocation::new(name.parse().unwrap(), Bytes::from_static(b"{\"a\":1}"))
}

pub(crate) fn revision(name: &str, timeout: Duration) -> Revision {
    let name: FunctionName = name.parse().unwrap();
    Revision {
        id: RevisionId::random(),
        function_arn: Home::default().function_arn(&name, None),
        log_group: format!("/aws/lambda/{name}"),
        name,
        version: Version::Latest,
        runtime: RuntimeName::from("python3.11".to_owned()),
        handler: "app.handler".to_owned(),
        memory_mib: 128,
        ephemeral_storage_mib: 512,
        timeout,
        environment: BTreeMap::new(),
        code: Code {
            sha256: String::new(),
            dir: "/".into(),
        },
    }
}

/// Lets everything run that can run now, and `time` pass.
pub(crate) async fn pass(time: Duration) {
    sleep(time + Duration::from_millis(1)).await;
}

/// The error type and message in a function's fault.
pub(crate) fn fault(outcome: &Outcome) -> (String, String) {
    let error = outcome.result.as_ref().unwrap_err();
    let body: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("errorMessage"))
}
