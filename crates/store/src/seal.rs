//! Seals what must not be read off the disk: authenticated encryption under a key in a file of its own.
//!
//! Whoever has a copy of the store without that file has nothing; whoever may read both may read all.
//! XChaCha20-Poly1305: its nonces are long enough to be drawn at random for every sealing.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// One key.
#[derive(Clone)]
pub struct Seal {
    cipher: XChaCha20Poly1305,
    path: PathBuf,
}

/// Why a key or what it sealed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key's file can be neither read nor made.
    #[error("could not read or write the key file `{path}`: {source}")]
    File {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and holds something else.
    #[error("`{path}` is not a key file: it holds {bytes} bytes, a key has {KEY_BYTES}")]
    NotAKey {
        /// The key's file.
        path: PathBuf,
        /// What it holds.
        bytes: usize,
    },
    /// Sealed under another key, for another name, or damaged.
    #[error(
        "it does not open with the key in `{path}`: bring back the key file that it was written with, or it is damaged"
    )]
    Closed {
        /// The key's file.
        path: PathBuf,
    },
    /// More than the cipher takes (256 GiB).
    #[error("it is too large to be sealed")]
    TooLarge,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Seal {
    /// The key in `path`, which is made first, durably and readable by its owner alone, where there is none.
    ///
    /// # Errors
    /// [`SealError::File`] and [`SealError::NotAKey`].
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File {
            path: path.to_owned(),
            source,
        };
        let key = match fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        if key.len() != KEY_BYTES {
            return Err(SealError::NotAKey {
                path: path.to_owned(),
                bytes: key.len(),
            });
        }
        Ok(Self {
            cipher: XChaCha20Poly1305::new(Key::from_slice(&key)),
            path: path.to_owned(),
        })
    }

    /// Seals `content` for `name`: it opens for no other name. Never the same bytes twice.
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    pub fn seal(&self, name: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload {
            msg: content,
            aad: name,
        };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .map_err(|_| SealError::TooLarge)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for `name`.
    ///
    /// # Errors
    /// [`SealError::Closed`].
    pub fn unseal(&self, name: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let closed = || SealError::Closed {
            path: self.path.clone(),
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(closed)?;
        let payload = Payload {
            msg: sealed,
            aad: name,
        };
        self.cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| closed())
    }
}

/// Makes a key under a name of its own first: a crash leaves none or a whole one.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    let key = XChaCha20Poly1305::generate_key(&mut OsRng);
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    //! A key lasts, and opens only what it sealed, for the name that it was sealed for.

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("seal.key");
        let sealed = Seal::open(&path)
            .and_then(|seal| seal.seal(b"f", b"secret"))
            .expect("a key");
        let again = Seal::open(&path).expect("the same key");
        assert_eq!(again.unseal(b"f", &sealed).expect("opens"), b"secret");
        let mode = fs::metadata(&path).expect("its file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let other = again.seal(b"f", b"secret").expect("sealed");
        assert_ne!(sealed, other);
    }

    #[test]
    fn what_was_changed_moved_or_sealed_by_another_stays_closed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let seal = Seal::open(&dir.path().join("seal.key")).expect("a key");
        let sealed = seal.seal(b"f", b"secret").expect("sealed");
        let is_closed = |opened| matches!(opened, Err(SealError::Closed { .. }));
        assert!(is_closed(seal.unseal(b"g", &sealed)));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(is_closed(seal.unseal(b"f", &changed)), "byte {at}");
            assert!(is_closed(seal.unseal(b"f", &sealed[..at])), "cut at {at}");
        }
        let other = Seal::open(&dir.path().join("other.key")).expect("a key");
        assert!(is_closed(other.unseal(b"f", &sealed)));
    }

    #[test]
    fn a_file_that_is_no_key_is_said_so() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("seal.key");
        fs::write(&path, "not a key").expect("written");
        let error = Seal::open(&path).expect_err("no key");
        let said = "is not a key file: it holds 9 bytes, a key has 32";
        assert!(error.to_string().ends_with(said), "{error}");
    }
}
