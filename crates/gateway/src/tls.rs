//! TLS on the listener: one certificate and its key, read from files, and read again when they have been renewed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// A client that has not ended its handshake by then is not waited for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;
/// As much as a client without TLS has sent in one go, mostly.
const HEAD_BYTES: usize = 16 * 1024;
/// What a client hears that speaks HTTP without TLS.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this port speaks HTTPS: write https:// before the address\n";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, not to be read, or not PEM.
    #[error("could not read {what} from `{}`: {source}", path.display())]
    Read {
        /// The certificate or the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: pem::Error,
    },
    /// Both were read, and do not go together.
    #[error("the key in `{}` is not the key of the certificate in `{}`, or cannot be used: {source}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

/// A certificate with its chain, and its key; clones share one.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<TlsAcceptor>>,
}

impl Tls {
    /// Reads PEM files: the certificate first and then its chain; a key in PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let acceptor = acceptor(&certificate, &key)?;
        Ok(Self {
            certificate,
            key,
            current: Arc::new(RwLock::new(acceptor)),
        })
    }

    /// Reads both files again, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then what was read before stays in use.
    pub fn renew(&self) -> Result<(), TlsError> {
        let acceptor = acceptor(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// The connection behind `stream`, once its handshake is done.
    ///
    /// # Errors
    /// A client that speaks no TLS, or none that we do, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, stream));
        accepted.await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

async fn handshake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
        refuse(&mut stream).await?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client speaks no TLS",
        ));
    }
    acceptor.accept(stream).await
}

/// Tells a client without TLS. What it has sent is read first: an end over unread bytes is a reset, which may overtake
/// the answer.
async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_buf(&mut Vec::with_capacity(HEAD_BYTES)).await?;
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| {
            let none = chain.is_empty();
            if none {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(|source| TlsError::Read {
            what: "a certificate",
            path: certificate.to_owned(),
            source,
        })?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
        what: "a private key",
        path: key.to_owned(),
        source,
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|versions| versions.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|source| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
