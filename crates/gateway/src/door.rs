//! Requests of functions that have no network: they come by a door in the walls of their own function.
//!
//! `serve` takes their connections beside those of the port. By a door a function reaches the platform's API with its
//! own credentials, and nothing with anybody else's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, Response, StatusCode};
use squall_types::{FunctionName, Visitor};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::at_once::at_once;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::places::Places;
use crate::reply::Body;
use crate::serve::serve_connection;

/// Connections by all doors at once; for further ones, idle ones give up their places.
const VISITORS_MAX: usize = 1024;

/// Which function's door a request came by; among the extensions of its head.
#[derive(Debug, Clone)]
pub(crate) struct Door(FunctionName);

impl Door {
    /// Whether credentials of this function (`None`: of no function) may be used for the request.
    pub(crate) fn admits(extensions: &Extensions, function: Option<&FunctionName>) -> bool {
        let door = extensions.get::<Self>();
        door.is_none_or(|door| function == Some(&door.0))
    }
}

/// What needs no signature is not open by a door: a function's URL, for one.
pub(crate) fn refuse_unsigned() -> Response<Body> {
    let message = "this function has no network: it reaches the platform's API, and no function URLs";
    ApiError::new(StatusCode::FORBIDDEN, "AccessDeniedException", message).into_response()
}

/// Serves those who come by doors, until `stop`, and then until the last request is answered.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    mut visitors: mpsc::Receiver<Visitor>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Places::new(VISITORS_MAX, stop.clone());
    loop {
        let place = places.take().await;
        let visitor = tokio::select! {
            visitor = visitors.recv() => visitor,
            () = stop.cancelled() => break,
        };
        let Some(Visitor {
            function,
            stream,
            place: at_door,
        }) = visitor
        else {
            break;
        };
        let gateway = gateway.clone();
        connections.spawn(at_once(async move {
            match TcpStream::from_std(stream) {
                // Whoever comes by a door is on the loopback of its own network.
                Ok(stream) => {
                    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                    serve_connection(gateway, stream, peer, place, Some(Door(function))).await;
                }
                Err(error) => tracing::debug!(%function, %error, "a connection by a door was gone at once"),
            }
            drop(at_door);
        }));
    }
    connections.close();
    connections.wait().await;
}
