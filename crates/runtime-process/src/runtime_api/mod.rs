//! AWS's Lambda Runtime API, as an HTTP server for one instance.
//!
//! Whatever brings its own runtime client (`provided.*`, AWS's clients for Python, Node, Rust, Go) asks here
//! for its events and posts its answers. One value serves one instance, on a loopback port of its own;
//! the process that wraps it tells the function the address in `AWS_LAMBDA_RUNTIME_API`.
//! Called by the bootstrap instance; connections, bodies and headers are bounded below.
//!
//! [`machine`] holds the states and what may follow what; [`serve`] turns HTTP into calls of it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod machine;
mod serve;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use squall_runtime::{Event, Fault};
use squall_types::FunctionError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::RESPONSE_BYTES_MAX;
use machine::{Machine, Outgoing};

/// A client holds one or two; past this many the next waits until one ends.
const CONNECTIONS_MAX: usize = 64;

/// Accepting fails when descriptors run out; trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server of one instance. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct RuntimeApi {
    addr: SocketAddr,
    machine: Arc<Machine>,
    /// The accept loop, which owns the connections.
    _server: JoinSet<()>,
}

impl RuntimeApi {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port or no descriptor is left.
    pub async fn bind() -> io::Result<Self> {
        Self::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
    }

    /// Serves a listener of the function's own network, which does not block.
    ///
    /// # Errors
    /// It is none.
    pub fn on(listener: OwnedFd) -> io::Result<Self> {
        Self::serve(TcpListener::from_std(listener.into())?)
    }

    fn serve(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let machine = Arc::new(Machine::default());
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&machine)));
        Ok(Self {
            addr,
            machine,
            _server: server,
        })
    }

    /// What the function finds in `AWS_LAMBDA_RUNTIME_API`.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the function asks for its first event. Unbounded: the caller knows the time for initialisation.
    ///
    /// # Errors
    /// What the function posted to `init/error`.
    pub async fn ready(&mut self) -> Result<(), FunctionError> {
        self.machine.ready().await
    }

    /// Gives the function one event and waits for what it posts. Unbounded in time, as [`ready`](Self::ready).
    ///
    /// A function that has posted its answer may still be on its way to ask again: the event waits for it.
    /// When this is dropped the event is still out there; the instance is not to be used again.
    ///
    /// # Errors
    /// [`Fault::Protocol`] when the function was never ready, or the event cannot be told in HTTP.
    pub async fn call(&mut self, event: &Event) -> Result<Result<Bytes, FunctionError>, Fault> {
        let outgoing = Outgoing::new(event)?;
        let answer = self.machine.send(outgoing)?;
        answer
            .await
            .map_err(|_| Fault::Protocol("the event was given up for another".into()))
    }
}

/// Accepts until it is aborted, which ends the connections as well: they live in its set.
async fn accept(listener: TcpListener, machine: Arc<Machine>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let machine = Arc::clone(&machine);
                connections.spawn(async move {
                    connection(stream, machine).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection of the runtime api");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, machine: Arc<Machine>) {
    // Without this an answer waits for the client's delayed acknowledgement, some 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the runtime's connection ended before it was served");
        return;
    }
    respond(stream, machine).await;
}

async fn respond(stream: impl AsyncRead + AsyncWrite + Unpin, machine: Arc<Machine>) {
    let service = service_fn(move |request| {
        let machine = Arc::clone(&machine);
        async move { Ok::<_, std::convert::Infallible>(serve::serve(&machine, request).await) }
    });
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        // The function's own business: a client may leave in the middle and come back.
        tracing::debug!(%error, "a connection of the runtime api ended early");
    }
}
