//! A rival and a limit for `bench/wasm.py`, made of the same crates and the same release of wasmtime as the server.
//!
//! `serve COMPONENT HOW` serves a component of the proxy world and prints its address. `pooling` and `on-demand` do what
//! `wasmtime serve` does, a fresh instance for each request: it uses the pooling allocator with its default settings
//! where the address space allows it; an embedding that only follows the documentation gets the on-demand allocator.
//! `bare` and `bare-reused` are the least that a host can do: the guest runs to its end in the connection's own task,
//! in a pool set up as the server's, and its instance is used for one request or for all. No epochs, no limits, no logs,
//! no functions. Connections are bounded by file descriptors only; it runs until it is killed.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime::{Config, Enabled, Engine, Error, PoolingAllocationConfig, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutgoing,
}

/// The guests of the bench call nobody.
struct NoOutgoing;

type Io = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), wasmtime_wasi_http::Error>> + Send> {
        Box::new(std::future::ready(Err(
            wasmtime_wasi_http::Error::HttpRequestDenied,
        )))
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

/// A guest between two requests.
type Kept = (Store<Host>, Proxy);

/// How requests are answered.
enum How {
    /// As `wasmtime serve` does.
    Serve,
    /// In the connection's task, by an instance that nobody had before or has after.
    Bare,
    /// The same, by whichever instance is free.
    BareReused(Mutex<Vec<Kept>>),
}

struct Guests {
    proxy: ProxyPre<Host>,
    how: How,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::msg("usage: serve COMPONENT pooling|on-demand|bare|bare-reused");
    let [file, how] = arguments.as_slice() else {
        return Err(usage());
    };
    let mut config = Config::new();
    let how = match how.as_str() {
        "on-demand" => How::Serve,
        "pooling" => {
            config.allocation_strategy(PoolingAllocationConfig::new());
            How::Serve
        }
        "bare" => {
            as_the_server(&mut config);
            How::Bare
        }
        "bare-reused" => {
            as_the_server(&mut config);
            How::BareReused(Mutex::default())
        }
        _ => return Err(usage()),
    };
    let engine = Engine::new(&config)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let component = Component::new(&engine, std::fs::read(file)?)?;
    let proxy = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(Guests { proxy, how }))
}

/// What makes calls cheap in the server's own engine.
fn as_the_server(config: &mut Config) {
    let mut pool = PoolingAllocationConfig::new();
    pool.linear_memory_keep_resident(1024 * 1024);
    pool.table_keep_resident(64 * 1024);
    pool.pagemap_scan(Enabled::Auto);
    config.allocation_strategy(pool);
    config.concurrency_support(false);
}

async fn serve(guests: Guests) -> Result<()> {
    let guests = Arc::new(guests);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let guests = guests.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| guests.answer(request));
            // A client that leaves is the usual end of a connection.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

impl Guests {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
        match &self.how {
            How::Serve => self.answer_beside(request).await,
            How::Bare => self
                .answer_here(request, self.fresh().await?)
                .await
                .map(|(_, response)| response),
            How::BareReused(kept) => {
                let free = lock(kept).pop();
                let guest = match free {
                    Some(guest) => guest,
                    None => self.fresh().await?,
                };
                let (guest, response) = self.answer_here(request, guest).await?;
                lock(kept).push(guest);
                Ok(response)
            }
        }
    }

    /// The guest runs in a task of its own, since it may go on after it has begun to answer.
    async fn answer_beside(&self, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
        let mut store = self.store();
        let (request, outparam, promised) = made(&mut store, request)?;
        let proxy = self.proxy.clone();
        tokio::spawn(async move {
            let instance = proxy.instantiate_async(&mut store).await?;
            let handler = instance.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, outparam).await
        });
        set(promised).await
    }

    /// The guest runs to its end, and what it has written is its answer.
    async fn answer_here(
        &self,
        request: Request<Incoming>,
        (mut store, instance): Kept,
    ) -> Result<(Kept, Response<HyperOutgoingBody>)> {
        let (request, outparam, promised) = made(&mut store, request)?;
        let handler = instance.wasi_http_incoming_handler();
        handler.call_handle(&mut store, request, outparam).await?;
        let (head, body) = set(promised).await?.into_parts();
        let body = Full::new(body.collect().await?.to_bytes());
        let body = body.map_err(|never| match never {}).boxed_unsync();
        Ok(((store, instance), Response::from_parts(head, body)))
    }

    async fn fresh(&self) -> Result<Kept> {
        let mut store = self.store();
        let instance = self.proxy.instantiate_async(&mut store).await?;
        Ok((store, instance))
    }

    fn store(&self) -> Store<Host> {
        let host = Host {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutgoing,
        };
        Store::new(self.proxy.engine(), host)
    }
}

/// What is passed to a handler, and where its response will be.
type Made = (
    Resource<HostIncomingRequest>,
    Resource<HostResponseOutparam>,
    oneshot::Receiver<Promised>,
);
type Promised = Result<Response<HyperOutgoingBody>, ErrorCode>;

fn made(store: &mut Store<Host>, request: Request<Incoming>) -> Result<Made> {
    let (sender, promised) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let outparam = http.new_response_outparam(sender)?;
    Ok((request, outparam, promised))
}

async fn set(promised: oneshot::Receiver<Promised>) -> Result<Response<HyperOutgoingBody>> {
    let response = promised
        .await
        .map_err(|_| Error::msg("the guest did not answer"))?;
    response.map_err(|code| Error::msg(format!("the guest answered with {code:?}")))
}

fn lock(kept: &Mutex<Vec<Kept>>) -> MutexGuard<'_, Vec<Kept>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
