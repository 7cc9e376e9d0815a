//! The listener: accepts connections up to a bound, serves each, and on shutdown lets what is under way finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::at_once::at_once;
use crate::door::{self, Door};
use crate::gateway::Gateway;
use crate::places::{Leave, Place, Places};
use crate::reply;
use crate::scheme::Scheme;
use crate::tls::Tls;

/// A client that has not sent its whole head by then is not waited for.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head that is read, and the most headers in it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
/// A connection that gives up its place may finish sending for so long.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// After an accept failed (out of descriptors, say), others get a chance to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener is broken for good.
    #[error("could not accept connections: {0}")]
    Accept(#[from] std::io::Error),
}

/// Where the gateway is reached.
pub struct Listeners {
    /// For everybody.
    pub public: TcpListener,
    /// What `public` speaks, where not HTTP alone.
    pub tls: Option<Tls>,
    /// HTTP without TLS, for functions on this host.
    pub local: Option<TcpListener>,
}

/// What all connections of a gateway share.
struct Serving {
    gateway: Arc<Gateway>,
    connections: TaskTracker,
    places: Places,
    stop: CancellationToken,
}

impl Gateway {
    /// Serves until `stop` is cancelled, and then until the last request is answered.
    ///
    /// # Errors
    /// [`ServeError`] when no connection can be accepted any more.
    pub async fn serve(mut self, listeners: Listeners, stop: CancellationToken) -> Result<(), ServeError> {
        let visitors = self.visitors.take();
        let Listeners { public, tls, local } = listeners;
        let gateway = Arc::new(Self {
            scheme: if tls.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            stop: stop.clone(),
            ..self
        });
        let connections = TaskTracker::new();
        if let Some(visitors) = visitors {
            connections.spawn(door::serve(gateway.clone(), visitors, stop.clone()));
        }
        let serving = Serving {
            places: Places::new(gateway.config.connections_max, stop.clone()),
            gateway,
            connections,
            stop,
        };
        let local = async {
            match local {
                Some(local) => serving.accept(local, None).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(serving.accept(public, tls), local)?;
        serving.connections.close();
        serving.connections.wait().await;
        Ok(())
    }
}

impl Serving {
    /// Takes connections up until the server ends, and then leaves the listener.
    async fn accept(&self, listener: TcpListener, tls: Option<Tls>) -> Result<(), ServeError> {
        loop {
            let place = tokio::select! {
                place = self.places.take() => place,
                () = self.stop.cancelled() => return Ok(()),
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return Ok(()),
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (gateway, tls) = (self.gateway.clone(), tls.clone());
                    self.connections.spawn(at_once(async move {
                        match tls {
                            None => serve_connection(gateway, stream, peer, place, None).await,
                            Some(tls) => serve_tls(gateway, stream, peer, place, tls).await,
                        }
                    }));
                }
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether the next accept may succeed: the client left, or descriptors ran out.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory
    ) || error
        .raw_os_error()
        .is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

/// A connection by TLS. Until its handshake is done it is idle, so it may have to give up its place.
async fn serve_tls(gateway: Arc<Gateway>, stream: TcpStream, peer: SocketAddr, place: Place, tls: Tls) {
    let accepted = async {
        stream.set_nodelay(true)?;
        tls.accept(stream).await
    };
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        _ = place.leave() => return,
    };
    match accepted {
        Ok(stream) => serve_stream(gateway, stream, (peer, Scheme::Https), place, None).await,
        Err(error) => tracing::debug!(%peer, %error, "a handshake failed"),
    }
}

/// A connection without TLS, by the port or by a door.
pub(crate) async fn serve_connection(
    gateway: Arc<Gateway>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    door: Option<Door>,
) {
    match stream.set_nodelay(true) {
        Ok(()) => serve_stream(gateway, stream, (peer, Scheme::Http), place, door).await,
        Err(error) => tracing::debug!(%peer, %error, "the connection was gone at once"),
    }
}

async fn serve_stream(
    gateway: Arc<Gateway>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, scheme): (SocketAddr, Scheme),
    place: Place,
    door: Option<Door>,
) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let (gateway, busy) = (gateway.clone(), place.begin());
        request.extensions_mut().insert(scheme);
        if let Some(door) = &door {
            request.extensions_mut().insert(door.clone());
        }
        async move {
            let Some(busy) = busy else {
                return Ok::<_, Infallible>(reply::plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many connections",
                ));
            };
            Ok(reply::holding(gateway.answer(request, peer).await, busy))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        leave = place.leave() => {
            connection.as_mut().graceful_shutdown();
            match leave {
                Leave::Stopped => connection.await,
                Leave::GivenUp => tokio::time::timeout(GIVE_UP_TIMEOUT, connection).await.unwrap_or(Ok(())),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
