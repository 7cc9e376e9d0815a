//! A rival for `bench/wasm.py`: what `wasmtime serve` does, made of the same crates and the same release of wasmtime.
//!
//! `serve COMPONENT pooling|on-demand` serves a component of the proxy world, a fresh instance for each request, and
//! prints its address. `wasmtime serve` uses the pooling allocator with its default settings where the address space
//! allows it; an embedding that only follows the documentation gets the on-demand allocator. No epochs, no limits,
//! no logs, no functions. Connections are bounded by file descriptors only; it runs until it is killed.

use std::io::Write;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Error, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
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

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut config = Config::new();
    let file = match arguments.as_slice() {
        [file, allocator] if allocator == "on-demand" => file,
        [file, allocator] if allocator == "pooling" => {
            config.allocation_strategy(wasmtime::PoolingAllocationConfig::new());
            file
        }
        _ => return Err(Error::msg("usage: serve COMPONENT pooling|on-demand")),
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
        .block_on(serve(proxy))
}

async fn serve(proxy: ProxyPre<Host>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = proxy.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| handle(proxy.clone(), request));
            // A client that leaves is the usual end of a connection.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// The guest runs in a task of its own, since it may go on after it has begun to answer.
async fn handle(proxy: ProxyPre<Host>, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
    let host = Host {
        wasi: WasiCtx::builder().build(),
        http: WasiHttpCtx::new(),
        table: ResourceTable::new(),
        hooks: NoOutgoing,
    };
    let mut store = Store::new(proxy.engine(), host);
    let (sender, promised) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let outparam = http.new_response_outparam(sender)?;
    tokio::spawn(async move {
        let instance = proxy.instantiate_async(&mut store).await?;
        let handler = instance.wasi_http_incoming_handler();
        handler.call_handle(&mut store, request, outparam).await
    });
    let response = promised
        .await
        .map_err(|_| Error::msg("the guest did not answer"))?;
    response.map_err(|code| Error::msg(format!("the guest answered with {code:?}")))
}
