//! One slot for calls of a guest: each call gets a fresh sandbox, so nothing is left of one call in the next, unless
//! the function asks for that (`sandbox`).
//!
//! A trap ends the call's sandbox and not the slot. Dropping an `invoke` drops its sandbox wherever it is: a guest
//! that runs gives way at every tick of the epoch, which is where it is cut off.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use squall_runtime::network::Network;
use squall_runtime::{Event, Exchange, Exit, ExitWatch, Fault, Instance, InstanceId, LogCapture, Reply};
use squall_types::{MIB, Revision};
use tokio::sync::watch;
use wasmtime::Engine;

use crate::call;
use crate::guest::Guest;
use crate::outgoing::Wire;
use crate::sandbox::{Kept, Reuse};
use crate::turns::Turns;

/// A guest of one revision, shared by all its instances.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) guest: Guest,
    pub(crate) environment: Arc<[(String, String)]>,
    /// Of all linear memories of one call together.
    pub(crate) memory_bytes_max: usize,
    /// Where the function asks for it.
    pub(crate) reuse: Option<Arc<Reuse>>,
    /// What it may reach, and how.
    pub(crate) network: Network,
    pub(crate) wire: Arc<Wire>,
    pub(crate) turns: Arc<Turns>,
}

/// What a function's environment asks of its runtime.
pub(crate) struct Asked {
    pub(crate) reuse: Option<Arc<Reuse>>,
    pub(crate) network: Network,
}

impl Loaded {
    pub(crate) fn new(
        engine: Engine,
        guest: Guest,
        revision: &Revision,
        asked: Asked,
        wire: Arc<Wire>,
        turns: Arc<Turns>,
    ) -> Self {
        let variables = revision.environment.iter();
        Self {
            engine,
            guest,
            environment: variables
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            memory_bytes_max: usize::try_from(u64::from(revision.memory_mib) * MIB).unwrap_or(usize::MAX),
            reuse: asked.reuse,
            network: asked.network,
            wire,
            turns,
        }
    }
}

/// The slot.
pub(crate) struct WasmInstance {
    id: InstanceId,
    loaded: Arc<Loaded>,
    kept: Kept,
    /// Never sent to: a slot does not end by itself.
    exit: watch::Sender<Option<Exit>>,
}

impl WasmInstance {
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        Self {
            id: InstanceId::random(),
            loaded,
            kept: Kept::default(),
            exit: watch::Sender::new(None),
        }
    }
}

#[async_trait]
impl Instance for WasmInstance {
    fn id(&self) -> InstanceId {
        self.id
    }

    /// A guest is initialised in every call, on that call's time.
    async fn init(&mut self, _log: &mut LogCapture) -> Result<(), Fault> {
        Ok(())
    }

    async fn invoke(&mut self, event: &Event, log: &mut LogCapture) -> Result<Reply, Fault> {
        let call = pin!(call::call(&self.loaded, &mut self.kept, event, log));
        self.loaded.turns.during(call).await
    }

    async fn stream(
        &mut self,
        event: &Event,
        exchange: Exchange,
        log: &mut LogCapture,
    ) -> Result<Reply, Fault> {
        let call = pin!(call::stream(&self.loaded, &mut self.kept, event, exchange, log));
        self.loaded.turns.during(call).await
    }

    fn exit(&self) -> ExitWatch {
        self.exit.subscribe()
    }

    fn has_ended(&self) -> bool {
        false
    }

    /// What a guest writes is in the log as it writes it.
    fn drain(&mut self, _log: &mut LogCapture) {}

    async fn stop(self: Box<Self>, _grace: Duration) {}
}
