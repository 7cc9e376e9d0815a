//! Connections that the server makes for a function, under the function's rule.
//!
//! `runtime-wasm` sends a component's requests over them, `runtime-process` joins them to connections of processes.
//! A name is looked up here, and the connection goes to an address that was looked at: a name that leads elsewhere the
//! next time leads nobody anywhere. Dropping the future leaves at most one lookup behind, which is counted until it ends.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::list::is_local;
use super::{EgressList, LOCALHOST, Network, Rule, address};

/// Lookups at once of all functions: each holds a thread until the resolver answers. Further ones wait.
static LOOKUPS: Semaphore = Semaphore::const_new(128);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// One address that does not answer must not keep the next from being tried.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// The rule says so.
    #[error("the function's network rule does not allow `{0}` on port {1}")]
    Denied(String, u16),
    /// The name may be reached, but not what it leads to.
    #[error("`{0}` leads to {1}, which is not on the internet and not in the function's list")]
    Prohibited(String, IpAddr),
    /// Nobody knows the name.
    #[error("`{0}` could not be looked up")]
    Unknown(String, #[source] io::Error),
    /// Nobody answers.
    #[error("could not connect to `{0}` on port {1}")]
    Failed(String, u16, #[source] io::Error),
}

impl Network {
    /// Connects to a host by its name or address; an address of IPv6 may be in brackets.
    ///
    /// There is no limit of time but 10 s for each of at most four addresses: the caller has one.
    ///
    /// # Errors
    /// The rule does not allow it, or there is nobody.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Unreached> {
        let list = match self.rule() {
            Rule::None => return Err(Unreached::Denied(host.to_owned(), port)),
            Rule::Host => None,
            Rule::Egress(list) => Some(list),
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let literal = literal.unwrap_or(host).parse::<IpAddr>().ok();
        let addresses = match literal {
            Some(address) => vec![address.to_canonical()],
            None if is_local(host) => LOCALHOST.to_vec(),
            None => return self.connect_by_name(list, host, port).await,
        };
        let may = |address: IpAddr| list.is_none_or(|list| list.allows_address(address, port));
        let allowed: Vec<IpAddr> = addresses.into_iter().filter(|address| may(*address)).collect();
        if allowed.is_empty() {
            return Err(Unreached::Denied(host.to_owned(), port));
        }
        reach(list, &allowed, host, port).await
    }

    async fn connect_by_name(
        &self,
        list: Option<&EgressList>,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, Unreached> {
        // Not even looked up: a name can carry what must not get out.
        if list.is_some_and(|list| !list.allows_name(host, port)) {
            return Err(Unreached::Denied(host.to_owned(), port));
        }
        let found = self.look_up(host, port).await;
        let mut found = found.map_err(|error| Unreached::Unknown(host.to_owned(), error))?;
        let refused = found.first().copied();
        if let Some(list) = list {
            found.retain(|address| list.allows_address_of_name(*address, port));
        }
        found.truncate(ADDRESSES_MAX);
        match refused {
            Some(refused) if found.is_empty() => Err(Unreached::Prohibited(host.to_owned(), refused)),
            _ => reach(list, &found, host, port).await,
        }
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let closed = "nobody closes it";
        let own = Arc::clone(&self.lookups).acquire_owned().await.expect(closed);
        let any = LOOKUPS.acquire().await.expect(closed);
        let host = host.to_owned();
        // The system's resolver cannot be stopped: it keeps its places as long as it runs, also when nobody waits.
        let found = tokio::task::spawn_blocking(move || {
            let _places = (own, any);
            (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
        });
        let found = found.await.map_err(io::Error::other)??;
        Ok(found.iter().map(|found| found.ip().to_canonical()).collect())
    }
}

/// Connects to the first of some allowed addresses that answers.
async fn reach(
    list: Option<&EgressList>,
    addresses: &[IpAddr],
    host: &str,
    port: u16,
) -> Result<TcpStream, Unreached> {
    let mut last = Unreached::Failed(host.to_owned(), port, io::ErrorKind::AddrNotAvailable.into());
    for &address in addresses {
        if list.is_some_and(|list| !list.allows_own(address, port)) && address::is_own(address) {
            last = Unreached::Prohibited(host.to_owned(), address);
            continue;
        }
        let attempt = tokio::time::timeout(ATTEMPT_MAX, TcpStream::connect((address, port)));
        let failed = match attempt.await {
            Ok(Ok(stream)) => {
                // What is sent is whole requests, or what somebody else has already gathered.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = Unreached::Failed(host.to_owned(), port, failed);
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    //! A listener of the loopback is what there is to reach.

    use tokio::net::TcpListener;

    use super::*;

    fn network(list: &str) -> Network {
        Network::new(Rule::Egress(EgressList::parse(list).expect("a list")))
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    #[tokio::test]
    async fn what_is_listed_is_reached_by_its_address() {
        let (_listener, port) = listener().await;
        for list in ["127.0.0.1", "127.0.0.0/8", "localhost"] {
            let network = network(&format!("{list}:{port}"));
            for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST."] {
                let reached = network.connect(host, port).await;
                assert!(reached.is_ok(), "{list} {host}: {reached:?}");
            }
            let denied = network.connect("127.0.0.1", port ^ 1).await;
            assert!(matches!(denied, Err(Unreached::Denied(..))), "{denied:?}");
        }
    }

    #[tokio::test]
    async fn the_hosts_rule_reaches_all_and_none_nothing() {
        let (_listener, port) = listener().await;
        let reached = Network::new(Rule::Host).connect("localhost", port).await;
        assert!(reached.is_ok(), "{reached:?}");
        let denied = Network::new(Rule::None).connect("127.0.0.1", port).await;
        assert!(matches!(denied, Err(Unreached::Denied(..))), "{denied:?}");
    }

    #[tokio::test]
    async fn the_loopback_is_not_the_internet_however_it_is_written() {
        let (_listener, port) = listener().await;
        let network = network(&format!("*:{port},0.0.0.0/1:{port}"));
        for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"] {
            let denied = network.connect(host, port).await;
            assert!(matches!(denied, Err(Unreached::Denied(..))), "{host}: {denied:?}");
        }
        // Names by the grammar of DNS end in no number; the system's resolver takes these for addresses.
        for host in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"] {
            let denied = network.connect(host, port).await;
            assert!(matches!(denied, Err(Unreached::Denied(..))), "{host}: {denied:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_another_answer_than_not_allowed() {
        let (listener, port) = listener().await;
        drop(listener);
        let failed = network(&format!("127.0.0.1:{port}"))
            .connect("127.0.0.1", port)
            .await;
        assert!(matches!(failed, Err(Unreached::Failed(..))), "{failed:?}");
    }
}
