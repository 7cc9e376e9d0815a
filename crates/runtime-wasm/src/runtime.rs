//! The runtime: one engine, its ticker, the guests that are loaded, and the cache behind them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use squall_runtime::network::Network;
use squall_runtime::{Instance, Processors, Runtime, StartError};
use squall_types::{PrepareError, Revision, RevisionId, RuntimeName};
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::Engine;

use crate::artifact::{self, ArtifactError};
use crate::cache::Cache;
use crate::compilations::Asker;
use crate::compile::{CompileError, Compiler};
use crate::engine::{self, TICK};
use crate::guest::{Guest, LoadError, Loader};
use crate::instance::{Asked, Loaded, WasmInstance};
use crate::outgoing::Wire;
use crate::sandbox::{KEPT_MAX, Reuse};
use crate::turns::Turns;

/// What a WebAssembly runtime needs to know.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    /// Where machine code is kept. Only the server may write there: what lies there is run.
    pub dir: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// Told of guests that compute, which they do on the server's threads.
    pub processors: Arc<dyn Processors>,
}

/// Runs functions whose runtime is `wasm`.
pub struct WasmRuntime {
    config: WasmConfig,
    /// Made at the first use: a server without such functions does not pay for it.
    parts: OnceCell<Parts>,
    loaded: Mutex<HashMap<RevisionId, Arc<OnceCell<Arc<Loaded>>>>>,
}

struct Parts {
    engine: Engine,
    loader: Loader,
    cache: Cache,
    /// Room for sandboxes that are kept between calls.
    kept: Arc<Semaphore>,
    wire: Arc<Wire>,
    turns: Arc<Turns>,
}

impl Parts {
    fn make(config: &WasmConfig) -> Result<Self, String> {
        let engine = engine::running().map_err(|error| format!("could not make the engine: {error:#}"))?;
        let loader = Loader::new(&engine)
            .map_err(|error| format!("could not define the host's interfaces: {error:#}"))?;
        let fingerprint = engine::fingerprint(&engine);
        let (dir, compiler) = (config.dir.clone(), config.compiler.clone());
        let cache = Cache::open(dir, fingerprint, compiler, config.processors.clone())
            .map_err(|error| format!("could not open `{}`: {error}", config.dir.display()))?;
        tick(&engine, config.processors.clone())
            .map_err(|error| format!("could not start the ticker: {error}"))?;
        Ok(Self {
            engine,
            loader,
            cache,
            kept: Arc::new(Semaphore::new(KEPT_MAX)),
            wire: Arc::new(Wire::new()),
            turns: Arc::new(Turns::new(config.processors.clone())),
        })
    }
}

/// One thread per engine moves its epoch, for as long as the engine is used.
fn tick(engine: &Engine, processors: Arc<dyn Processors>) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("squall-wasm-epoch".to_owned())
        .spawn(move || {
            processors.serve_on_this_thread();
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })?;
    Ok(())
}

impl WasmRuntime {
    /// A runtime that makes its engine when the first function needs it.
    pub fn new(config: WasmConfig) -> Self {
        Self {
            config,
            parts: OnceCell::new(),
            loaded: Mutex::default(),
        }
    }

    async fn parts(&self) -> Result<&Parts, PrepareError> {
        let make = || async { Parts::make(&self.config).map_err(PrepareError::Platform) };
        self.parts.get_or_try_init(make).await
    }

    /// Loads a revision, once its machine code is there.
    async fn load(&self, revision: &Revision, asker: Asker) -> Result<Loaded, PrepareError> {
        let parts = self.parts().await?;
        let asked = asked(revision, parts).map_err(PrepareError::Code)?;
        let wasm = artifact::find(&revision.code.dir, &revision.handler).map_err(of_artifact)?;
        let machine_code = || parts.cache.machine_code(&wasm, revision.id, asker);
        let code = machine_code().await.map_err(of_compiling)?;
        let guest = match parts.loader.load(&code.path) {
            // What this engine compiled and still refuses would come out the same.
            Err(LoadError::Refused(error)) if !code.is_fresh => {
                tracing::info!(function = %revision.name, %error, "compiling code again that the engine refused");
                let discarded = parts.cache.discard(&code.path).await;
                discarded.map_err(|error| of_compiling(error.into()))?;
                let code = machine_code().await.map_err(of_compiling)?;
                parts.loader.load(&code.path)
            }
            loaded => loaded,
        };
        let guest = guest.map_err(of_loading)?;
        Ok(Loaded::new(
            parts.engine.clone(),
            guest,
            revision,
            asked,
            parts.wire.clone(),
            parts.turns.clone(),
        ))
    }

    /// The guest of a revision, loaded once however many ask.
    async fn loaded(&self, revision: &Revision) -> Result<Arc<Loaded>, PrepareError> {
        let cell = {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.entry(revision.id).or_default().clone()
        };
        if let Some(loaded) = cell.get() {
            return Ok(loaded.clone());
        }
        let load = || async { self.load(revision, Asker::Call).await.map(Arc::new) };
        // On the heap: every call comes by here, and loading is what makes this future large.
        Box::pin(cell.get_or_try_init(load)).await.cloned()
    }

    fn forget(&self, revision: RevisionId) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&revision);
    }
}

fn asked(revision: &Revision, parts: &Parts) -> Result<Asked, String> {
    Ok(Asked {
        reuse: Reuse::asked(&revision.environment, parts.kept.clone())?,
        network: Network::of(&revision.environment)?,
    })
}

fn of_artifact(error: ArtifactError) -> PrepareError {
    match error {
        ArtifactError::Io { .. } => PrepareError::Platform(error.to_string()),
        _ => PrepareError::Code(error.to_string()),
    }
}

fn of_compiling(error: CompileError) -> PrepareError {
    match error {
        CompileError::Guest(_) | CompileError::Limit => PrepareError::Code(error.to_string()),
        CompileError::Io(_) => PrepareError::Platform(error.to_string()),
        CompileError::Stopped => PrepareError::Stopped,
    }
}

fn of_loading(error: LoadError) -> PrepareError {
    match error {
        LoadError::Guest(_) | LoadError::Refused(_) => PrepareError::Code(error.to_string()),
        LoadError::Machine(_) => PrepareError::Platform(error.to_string()),
    }
}

fn not_loaded(revision: &Revision, error: &PrepareError) -> StartError {
    StartError {
        function: format!("{}:{}", revision.name, revision.version),
        reason: error.to_string(),
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    fn offered(&self) -> Vec<RuntimeName> {
        vec![RuntimeName::Wasm]
    }

    fn offers(&self, runtime: &RuntimeName) -> bool {
        *runtime == RuntimeName::Wasm
    }

    /// Compiles it, and sees that it can be linked. What is loaded for that is not kept: a revision may never be called.
    async fn prepare(&self, revision: &Arc<Revision>) -> Result<(), PrepareError> {
        self.load(revision, Asker::Preparation).await.map(drop)
    }

    async fn is_prepared(&self, revision: &Arc<Revision>) -> bool {
        if revision.runtime != RuntimeName::Wasm {
            return true;
        }
        match self.parts().await {
            Ok(parts) => parts.cache.has(revision.id).await,
            Err(_) => false,
        }
    }

    async fn preparing(&self, revision: RevisionId) -> Option<&'static str> {
        let is_compiling = self.parts.get()?.cache.is_compiling(revision).await;
        is_compiling.then_some("its code is being compiled again for this version of Squall")
    }

    async fn create(&self, revision: &Arc<Revision>) -> Result<Box<dyn Instance>, StartError> {
        let loaded = self
            .loaded(revision)
            .await
            .map_err(|error| not_loaded(revision, &error))?;
        Ok(Box::new(WasmInstance::new(loaded)))
    }

    async fn takes_http(&self, revision: &Arc<Revision>) -> Result<bool, StartError> {
        let loaded = self
            .loaded(revision)
            .await
            .map_err(|error| not_loaded(revision, &error))?;
        Ok(matches!(loaded.guest, Guest::Proxy(_)))
    }

    async fn rest(&self, revision: RevisionId) {
        self.forget(revision);
    }

    async fn retire(&self, revision: RevisionId) {
        self.forget(revision);
        // Most revisions are of other runtimes; where no machine code was ever kept, no engine is made for them.
        if self.parts.get().is_none() && !self.config.dir.exists() {
            return;
        }
        let left = match self.parts().await {
            Ok(parts) => parts
                .cache
                .leave(revision)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = left {
            tracing::warn!(%revision, error, "could not remove machine code that nobody uses");
        }
    }

    async fn shutdown(&self) {
        if let Some(parts) = self.parts.get() {
            parts.cache.stop().await;
        }
    }
}
