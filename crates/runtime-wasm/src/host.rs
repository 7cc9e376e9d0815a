//! What a guest has of its host for one call: clocks, randomness, its environment, its log, and limits.
//!
//! No files, no sockets, no outgoing requests: the network rules of functions decide about those, later.

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::output::Output;

/// The most tables, memories and core instances that one call may have.
const TABLES_MAX: usize = 200;
const MEMORIES_MAX: usize = 20;
const INSTANCES_MAX: usize = 200;
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The data of one call's store, for components.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutgoing,
    pub(crate) limits: Limits,
}

/// The data of one call's store, for core modules.
pub(crate) struct ModuleHost {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limits: Limits,
}

/// What a call is given.
pub(crate) struct Given<'a> {
    pub(crate) environment: &'a [(String, String)],
    pub(crate) memory_bytes_max: usize,
    pub(crate) stdin: Bytes,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Given<'_> {
    fn builder(self) -> WasiCtxBuilder {
        let mut builder = WasiCtxBuilder::new();
        builder
            .envs(self.environment)
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
    pub(crate) fn new(given: Given<'_>) -> Self {
        let limits = Limits::new(given.memory_bytes_max);
        Self {
            wasi: given.builder().build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutgoing,
            limits,
        }
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
            hooks: &mut self.hooks,
        }
    }
}

/// Refuses every outgoing request, with the error code that says so.
struct NoOutgoing;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoOutgoing {
    /// As the default says, which makes a closure for every header of every request.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
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
