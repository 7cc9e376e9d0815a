//! Which network a function has, and the platform's door in one of its own.
//!
//! `runtime` asks for it when an instance is made; `process` keeps a [`serve_door`] open as long as its process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use squall_runtime::network::{Network, Rule};
use squall_types::{FunctionName, Visitor};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::sandbox::{Egress, OwnNetwork};

/// Connections at once by one door; further ones wait.
const VISITORS_MAX: usize = 64;
/// After an accept failed (out of descriptors, say), others get a chance to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Lambda's port of the Runtime API.
const RUNTIME_API_PORT: u16 = 9001;

/// How functions with a network of their own reach the platform.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Where the server listens on its host; within walls it is the same port of their own loopback.
    pub port: u16,
    /// Takes the connections.
    pub visitors: mpsc::Sender<Visitor>,
}

/// The network that is made for a function; `None` is the host's.
pub(crate) fn own(network: &Network, doors: Option<&Doors>, has_runtime_api: bool) -> Option<OwnNetwork> {
    let egress = match network.rule() {
        Rule::Host => return None,
        Rule::None => None,
        Rule::Egress(list) => Some(Egress {
            network: network.clone(),
            ports: list.ports().into_iter().collect(),
        }),
    };
    let door = doors.map(|doors| doors.port);
    // The server itself may listen on that port.
    let port = if door == Some(RUNTIME_API_PORT) {
        RUNTIME_API_PORT + 1
    } else {
        RUNTIME_API_PORT
    };
    Some(OwnNetwork {
        door,
        runtime_api: has_runtime_api.then_some(port),
        egress,
    })
}

/// Hands over all who come to a listener that was passed out of a network, until it is dropped or nobody takes them any more.
pub(crate) async fn serve_door(door: OwnedFd, function: FunctionName, visitors: mpsc::Sender<Visitor>) {
    let door = match TcpListener::from_std(door.into()) {
        Ok(door) => door,
        Err(error) => {
            tracing::warn!(%function, %error, "could not open a function's door");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(VISITORS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let accepted = door.accept().await.and_then(|(stream, _)| stream.into_std());
        match accepted {
            Ok(stream) => {
                let visitor = Visitor {
                    function: function.clone(),
                    stream,
                    place: Box::new(place),
                };
                if visitors.send(visitor).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%function, %error, "could not accept a connection at a door");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
