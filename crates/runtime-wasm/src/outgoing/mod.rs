//! HTTP requests that a component sends: `wasi:http/outgoing-handler`, under the rule of its function's network.
//!
//! Each request has a connection of its own, which is part of the call: whatever ends the call, and the call's end
//! itself, closes it. Both bodies stream, one piece at a time. Nothing is sent again, and no redirect is followed.

mod body;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use squall_runtime::network::{Network, Rule, Unreached};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::output::Output;

pub(crate) use trust::Trust;

/// Connections at once of one call, and of all: the next request is an error that says so.
const CONNECTIONS_PER_CALL_MAX: usize = 32;
const CONNECTIONS_MAX: usize = 2048;
/// Until there is a connection, its handshake included; a guest may want less. What follows has the call's deadline.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// What tells a guest of how its request was sent.
type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;

/// What the guests of one server share.
pub(crate) struct Wire {
    trust: Trust,
    places: Arc<Semaphore>,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self {
            trust: Trust::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

/// One guest's way out.
pub(crate) struct Outgoing {
    network: Network,
    wire: Arc<Wire>,
    /// Where the guest's owner reads why a request was refused: the guest's error code has no room for it.
    log: Output,
    /// Made by the first request of a call.
    call: Option<Call>,
}

/// The connections of one call.
struct Call {
    places: Arc<Semaphore>,
    /// Dropped with the call.
    ends: watch::Sender<()>,
}

/// A connection's share in what is bounded, and how it hears that its call has ended.
struct Place {
    call_ends: watch::Receiver<()>,
    _of_call: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Outgoing {
    pub(crate) fn new(network: Network, wire: Arc<Wire>, log: Output) -> Self {
        Self {
            network,
            wire,
            log,
            call: None,
        }
    }

    /// Closes what the call has left open.
    pub(crate) fn end_call(&mut self) {
        self.call = None;
    }

    fn place(&mut self) -> Result<Place, Error> {
        let call = self.call.get_or_insert_with(|| Call {
            places: Arc::new(Semaphore::new(CONNECTIONS_PER_CALL_MAX)),
            ends: watch::Sender::new(()),
        });
        let take = |places: &Arc<Semaphore>| {
            let taken = Arc::clone(places).try_acquire_owned();
            taken.map_err(|_| Error::ConnectionLimitReached)
        };
        Ok(Place {
            _of_call: take(&call.places)?,
            _of_all: take(&self.wire.places)?,
            call_ends: call.ends.subscribe(),
        })
    }
}

impl WasiHttpHooks for Outgoing {
    /// As the default says, which makes a closure for every header of every request.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let mut log = self.log.clone();
        // Before a place is taken: it would be told otherwise by how many it has asked.
        if *self.network.rule() == Rule::None {
            log.push(b"squall: a request was not sent: the function's network is `none`\n");
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let place = match self.place() {
            Ok(place) => place,
            Err(error) => return Box::new(std::future::ready(Err(error))),
        };
        let (network, wire) = (self.network.clone(), self.wire.clone());
        Box::new(async move {
            let mut call_ends = place.call_ends.clone();
            tokio::select! {
                biased;
                _ = call_ends.changed() => Err(Error::ConnectionTerminated),
                sent = send(request, options.unwrap_or_default(), &network, &wire, place, &mut log) => sent,
            }
        })
    }

    /// Without the warning that the default writes to the server's own log.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else if error.is_incomplete_message() {
            ErrorCode::HttpResponseIncomplete
        } else if error.is_closed() || error.is_canceled() {
            ErrorCode::ConnectionTerminated
        } else {
            ErrorCode::HttpProtocolError
        }
    }
}

async fn send(
    mut request: Request<WasiBody>,
    options: RequestOptions,
    network: &Network,
    wire: &Wire,
    place: Place,
    log: &mut Output,
) -> Sent {
    let connect_max = options.connect_timeout.unwrap_or(CONNECT_MAX).min(CONNECT_MAX);
    let connecting = connect(request.uri(), network, wire, log);
    let stream = tokio::time::timeout(connect_max, connecting)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    // Only proxies are told the whole of it.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    let answering = exchange(stream, request, place);
    let (response, io) = match options.first_byte_timeout {
        None => answering.await?,
        Some(most) => tokio::time::timeout(most, answering)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)??,
    };
    let response =
        response.map(|body| body::Received::new(body, options.between_bytes_timeout).boxed_unsync());
    Ok((response, io))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(
    uri: &Uri,
    network: &Network,
    wire: &Wire,
    log: &mut Output,
) -> Result<Box<dyn Stream>, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let host = authority.host();
    let reached = network.connect(host, port).await;
    let stream = reached.map_err(|unreached| {
        if matches!(unreached, Unreached::Denied(..) | Unreached::Prohibited(..)) {
            log.push(format!("squall: a request was not sent: {unreached}\n").as_bytes());
        }
        code(unreached)
    })?;
    if is_tls {
        return Ok(Box::new(wire.trust.handshake(host, stream).await?));
    }
    Ok(Box::new(stream))
}

/// Sends the request over a connection of its own. The connection lives in what is given beside the response.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<WasiBody>,
    mut place: Place,
) -> Result<(Response<hyper::body::Incoming>, Io), Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let mut sending = Box::pin(sender.send_request(request));
    let (response, is_over) = tokio::select! {
        response = &mut sending => (response?, false),
        // It may have brought the whole response before it was closed.
        ended = &mut connection => {
            ended?;
            (sending.await?, true)
        }
    };
    let io = async move {
        if !is_over {
            tokio::select! {
                // What went wrong is told by the response's body, which is cut off.
                _ = connection => {}
                _ = place.call_ends.changed() => {}
            }
        }
        drop(place);
        Ok(())
    };
    Ok((response, Box::new(io)))
}

/// What the guest is told. The words are in its log, where the rule was the reason.
fn code(unreached: Unreached) -> Error {
    match unreached {
        Unreached::Denied(..) => Error::HttpRequestDenied,
        Unreached::Prohibited(..) => Error::DestinationIpProhibited,
        Unreached::Unknown(..) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        Unreached::Failed(_, _, error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                Error::DestinationIpUnroutable
            }
            _ => Error::DestinationUnavailable,
        },
    }
}

#[cfg(test)]
mod tests;
