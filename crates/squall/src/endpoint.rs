//! DATA_DIR/endpoint: where the server of a data directory answers, for as long as it does.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

const FILE: &str = "endpoint";

/// The file, removed when the server ends in order.
/// After a kill the file stays: who reads it must expect that nobody answers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    path: PathBuf,
}

impl Endpoint {
    /// Writes `url`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn announce(data_dir: &Path, url: &str) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let fresh = data_dir.join(format!("{FILE}.new"));
        fs::write(&fresh, format!("{url}\n"))
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("could not write `{}`", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the endpoint file");
        }
    }
}

/// The URL of a server that listens on `address`.
/// A server on all addresses is told by the loopback address, which is always among them.
pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(loopback);
    }
    format!("{scheme}://{address}")
}

/// The URL that the server of `data_dir` announced; `None` when none runs there (or none ever did).
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Option<String>> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read `{}`", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_there_while_the_server_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(read(dir.path()).expect("readable"), None);
        let url = url("http", "0.0.0.0:9400".parse().expect("an address"));
        let endpoint = Endpoint::announce(dir.path(), &url).expect("written");
        assert_eq!(
            read(dir.path()).expect("readable").as_deref(),
            Some("http://127.0.0.1:9400")
        );
        drop(endpoint);
        assert_eq!(read(dir.path()).expect("readable"), None);
    }
}
