//! Which network a function has: its variable `SQUALL_NETWORK`, and the platform's door where it has none.
//!
//! `runtime` reads the [`Rule`] when a function is made; `process` keeps a [`serve_door`] open as long as its process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use squall_types::{FunctionName, Revision, Visitor};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::sandbox::OwnNetwork;

/// The variable that says the rule.
const VARIABLE: &str = "SQUALL_NETWORK";
/// Connections at once by one door; further ones wait.
const VISITORS_MAX: usize = 64;
/// After an accept failed (out of descriptors, say), others get a chance to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Lambda's port of the Runtime API.
const RUNTIME_API_PORT: u16 = 9001;

/// How functions without a network reach the platform.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Where the server listens on its host; within walls it is the same port of their own loopback.
    pub port: u16,
    /// Takes the connections.
    pub visitors: mpsc::Sender<Visitor>,
}

/// What a function may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Whatever the host reaches.
    Host,
    /// The platform's API by its door, and nothing else.
    None,
}

impl Rule {
    /// # Errors
    /// What its owner wrote is no rule, in words for the owner.
    pub(crate) fn of(revision: &Revision) -> Result<Self, String> {
        match revision.environment.get(VARIABLE).map(String::as_str) {
            Option::None | Some("host") => Ok(Self::Host),
            Some("none") => Ok(Self::None),
            Some("egress") => Err(format!(
                "{VARIABLE}=egress is not supported: there are `none` and `host`"
            )),
            Some(other) => Err(format!(
                "{VARIABLE}={other} is no rule: there are `none` and `host`"
            )),
        }
    }

    /// The network that is made for it; `None` is the host's.
    pub(crate) fn network(self, doors: Option<&Doors>, has_runtime_api: bool) -> Option<OwnNetwork> {
        let door = doors.map(|doors| doors.port);
        // The server itself may listen on that port.
        let port = if door == Some(RUNTIME_API_PORT) {
            RUNTIME_API_PORT + 1
        } else {
            RUNTIME_API_PORT
        };
        (self == Self::None).then_some(OwnNetwork {
            door,
            runtime_api: has_runtime_api.then_some(port),
        })
    }
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
