//! What a guest has of its host for one call: clocks, randomness, its environment, its log, and limits.
//!
//! No files and no sockets; a component's HTTP requests leave by `outgoing`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, HyperIncomingBody};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::{Error, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::keyvalue::Answerer;
use crate::outgoing::Outgoing;
use crate::output::Output;

/// The most tables, memories and core instances that one call may have.
const TABLES_MAX: usize = 200;
const MEMORIES_MAX: usize = 20;
const INSTANCES_MAX: usize = 200;
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The most resources (streams, requests, headers) that a component may hold.
const RESOURCES_MAX: usize = 10_000;

/// The most bytes that one call of the host takes out of the guest's memory: a message of the log, a value of the state,
/// a piece of a body. Each is a copy that no limit of the guest's own memory counts. There is room for a value of 16 MiB
/// with its key; events and answers have 6 MiB, and flow in pieces.
pub(crate) const HOST_CALL_BYTES_MAX: usize = (16 << 20) + (64 << 10);

/// The data of one store of a component.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    /// The body of the request that it has: it goes with the call, also where the guest keeps its handle.
    lent: Option<Lent>,
    /// Who answers what the guest asks of the functions' state, during a call.
    pub(crate) answerer: Answerer,
    /// Names and values.
    pub(crate) environment: Arc<[(String, String)]>,
    /// Where it writes for people.
    pub(crate) log: Output,
    pub(crate) limits: Limits,
}

/// The data of one call's store, for core modules.
pub(crate) struct ModuleHost {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limits: Limits,
}

/// What a call is given.
pub(crate) struct Given<'a> {
    pub(crate) environment: &'a Arc<[(String, String)]>,
    pub(crate) memory_bytes_max: usize,
    pub(crate) stdin: Bytes,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Given<'_> {
    fn builder(self) -> WasiCtxBuilder {
        let mut builder = WasiCtxBuilder::new();
        builder
            .envs(&self.environment[..])
            .arg("function.wasm")
            .stdin(MemoryInputPipe::new(self.stdin))
            .stdout(self.stdout)
            .stderr(self.stderr)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        builder
    }
}

impl Host {
    pub(crate) fn new(given: Given<'_>, outgoing: Outgoing) -> Self {
        let limits = Limits::new(given.memory_bytes_max);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let (environment, log) = (given.environment.clone(), given.stderr.clone());
        Self {
            wasi: given.builder().build(),
            http: WasiHttpCtx::new(),
            table,
            outgoing,
            lent: None,
            answerer: None,
            environment,
            log,
            limits,
        }
    }

    /// Lends a request's body to the guest until the call ends.
    pub(crate) fn lend(&mut self, body: HyperIncomingBody) -> HyperIncomingBody {
        let lent = Lent(Arc::new(Mutex::new(Some(body))));
        self.lent = Some(lent.clone());
        lent.boxed_unsync()
    }

    /// Whether the guest holds a response that it has not made, or a body that it has not finished.
    pub(crate) fn owes(&mut self) -> bool {
        self.table
            .iter_mut()
            .any(|held| held.is::<HostOutgoingBody>() || held.is::<HostResponseOutparam>())
    }

    /// The call has ended, and the sandbox goes on: whoever sends the request's body waits for it no longer, and what
    /// the guest has asked of others is closed.
    pub(crate) fn end_call(&mut self) {
        self.answerer = None;
        self.outgoing.end_call();
        if let Some(lent) = self.lent.take() {
            lent.body().take();
        }
    }
}

/// A body that can be taken away from its reader, for whom it then ends.
#[derive(Clone)]
struct Lent(Arc<Mutex<Option<HyperIncomingBody>>>);

impl Lent {
    fn body(&self) -> MutexGuard<'_, Option<HyperIncomingBody>> {
        // A body whose reading panicked is not read on, but dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self.body() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body().as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body()
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl ModuleHost {
    pub(crate) fn new(given: Given<'_>) -> Self {
        let limits = Limits::new(given.memory_bytes_max);
        Self {
            wasi: given.builder().build_p1(),
            limits,
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

/// Bounds what a call takes, and remembers the most memory that it had.
pub(crate) struct Limits {
    memory_bytes_max: usize,
    memory_bytes: usize,
}

impl Limits {
    fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            memory_bytes: 0,
        }
    }

    /// The bytes of all linear memories; they never shrink.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes as u64
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.memory_bytes_max;
        if allowed {
            self.memory_bytes = total;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
