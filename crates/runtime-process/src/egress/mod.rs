//! The outside of a function with the rule `egress`: the server connects for it, to what its list names.
//!
//! In the function's network every address is its own (`sandbox::network`), and the sockets bound there are served here.
//! The function asks for a name and gets an address that stands for it (`dns`, `names`). It connects to that address, or
//! to any other; which one that was tells what it wants to reach. `Network::connect` decides, and the two connections
//! are joined (`relay`). `process` keeps [`serve`] going for as long as its process.
//!
//! A function that may not reach something sees a name that does not exist, a port that nobody listens on, or a
//! connection that is reset.

mod dns;
mod names;
mod relay;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use squall_runtime::network::Network;
use squall_types::FunctionName;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use self::names::Names;

/// Connections at once of one network; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// As long as a client waits that retries its first packet a few times.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// After an accept failed (out of descriptors, say), others get a chance to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What was passed out of a function's network.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Where names are asked for.
    pub(crate) names: OwnedFd,
    /// One for each port of the list, on all addresses.
    pub(crate) ports: Vec<OwnedFd>,
}

/// Serves all of it until it is dropped, which closes every connection.
pub(crate) async fn serve(sockets: Sockets, network: Network, function: FunctionName) {
    let mut serving = JoinSet::new();
    let outside = Arc::new(Outside {
        network,
        names: Names::default(),
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        function,
    });
    let opened = || -> io::Result<_> {
        let names = UdpSocket::from_std(std::net::UdpSocket::from(sockets.names))?;
        let listeners = sockets.ports.into_iter();
        let listeners = listeners.map(|port| TcpListener::from_std(port.into()));
        Ok((names, listeners.collect::<io::Result<Vec<_>>>()?))
    };
    let (names, listeners) = match opened() {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(function = %outside.function, %error, "could not open a function's way out");
            return;
        }
    };
    let answering = Arc::clone(&outside);
    serving.spawn(async move { dns::serve(&names, answering.network.rule(), &answering.names).await });
    for listener in listeners {
        serving.spawn(Arc::clone(&outside).accept(listener));
    }
    serving.join_all().await;
}

struct Outside {
    network: Network,
    names: Names,
    places: Arc<Semaphore>,
    function: FunctionName,
}

impl Outside {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                let place = place.expect("nobody closes it");
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((near, _)) => {
                    connections.spawn(Arc::clone(&self).take_on(near, place));
                }
                Err(error) => {
                    let function = &self.function;
                    tracing::debug!(%function, %error, "could not accept a connection to the outside");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn take_on(self: Arc<Self>, mut near: TcpStream, _place: OwnedSemaphorePermit) {
        if let Err(reason) = self.join(&mut near).await {
            let function = &self.function;
            tracing::debug!(%function, reason, "ended a connection to the outside");
            // So that its end is not taken for the end of what was sent.
            let _ = near.set_zero_linger();
        }
    }

    async fn join(&self, near: &mut TcpStream) -> Result<(), String> {
        // What it was made to: every address is the network's own.
        let wanted = near.local_addr().map_err(|error| error.to_string())?;
        let host = self.host(wanted);
        let connecting = tokio::time::timeout(CONNECT_MAX, self.network.connect(&host, wanted.port()));
        let mut far = connecting
            .await
            .map_err(|_| format!("nobody at `{host}` answered within {CONNECT_MAX:?}"))?
            .map_err(|error| error.to_string())?;
        let _ = near.set_nodelay(true);
        let joined = relay::join(near, &mut far).await;
        if joined.is_err() {
            let _ = far.set_zero_linger();
        }
        joined.map_err(|error| format!("`{host}`: {error}"))
    }

    fn host(&self, wanted: SocketAddr) -> String {
        let name = match wanted.ip() {
            IpAddr::V4(address) => self.names.name_of(address),
            IpAddr::V6(_) => None,
        };
        name.map_or_else(|| wanted.ip().to_string(), |name| name.to_string())
    }
}
