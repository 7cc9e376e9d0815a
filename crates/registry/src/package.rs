//! Code packages: content-addressed zip files, and the folders that they are unpacked into.
//!
//! `DIR/packages/SHA256.zip` is what was uploaded and is durable before anybody is told so.
//! `DIR/code/SHA256/` follows from it and can be made again; it appears whole or not at all.

pub(crate) mod archive;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Limits, RegistryError};

/// A package that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) sha256_hex: String,
    pub(crate) sha256_base64: String,
    pub(crate) bytes: u64,
}

impl Package {
    fn of(zip: &[u8]) -> Self {
        let digest = Sha256::digest(zip);
        let sha256_hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            sha256_hex,
            sha256_base64: STANDARD.encode(digest),
            bytes: zip.len() as u64,
        }
    }
}

/// The two folders.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    packages: PathBuf,
    code: PathBuf,
    limits: Limits,
}

impl Packages {
    /// Makes the folders where they are not there, and removes what an interrupted write left in them.
    pub(crate) fn open(dir: &Path, limits: Limits) -> Result<Self, RegistryError> {
        let (packages, code) = (dir.join("packages"), dir.join("code"));
        for dir in [&packages, &code] {
            fs::create_dir_all(dir).map_err(|error| disk("make", dir, &error))?;
            for entry in fs::read_dir(dir)
                .map_err(|error| disk("read", dir, &error))?
                .flatten()
            {
                if entry.file_name().to_string_lossy().ends_with(NEW) {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(Self {
            packages,
            code,
            limits,
        })
    }

    /// Checks a zip without keeping it.
    pub(crate) async fn check(&self, zip: Bytes) -> Result<Package, RegistryError> {
        let limits = self.limits.clone();
        blocking(move || {
            archive::check(&zip, &limits)?;
            Ok(Package::of(&zip))
        })
        .await
    }

    /// Checks a zip and keeps it: durable when this returns.
    pub(crate) async fn keep(&self, zip: Bytes) -> Result<Package, RegistryError> {
        let this = self.clone();
        blocking(move || {
            archive::check(&zip, &this.limits)?;
            let package = Package::of(&zip);
            let path = this.zip_path(&package.sha256_hex);
            if !path.exists() {
                write_durably(&path, &zip)?;
            }
            Ok(package)
        })
        .await
    }

    /// Makes the code folder of a kept package where it is not there, and gives its path.
    pub(crate) async fn unpack(&self, sha256_hex: &str) -> Result<PathBuf, RegistryError> {
        let (this, sha256_hex) = (self.clone(), sha256_hex.to_owned());
        blocking(move || {
            let dir = this.code_dir(&sha256_hex);
            if dir.exists() {
                return Ok(dir);
            }
            let zip_path = this.zip_path(&sha256_hex);
            let zip = fs::read(&zip_path).map_err(|error| disk("read", &zip_path, &error))?;
            let fresh = fresh_name(&dir);
            let unpacked = archive::unpack(&zip, &fresh, &this.limits).and_then(|()| install(&fresh, &dir));
            if unpacked.is_err() {
                remove(&fresh)?;
            }
            unpacked.map(|()| dir)
        })
        .await
    }

    /// Where a package's zip is, or would be.
    pub(crate) fn zip_path(&self, sha256_hex: &str) -> PathBuf {
        self.packages.join(format!("{sha256_hex}.zip"))
    }

    /// Where a package's code is, or would be.
    pub(crate) fn code_dir(&self, sha256_hex: &str) -> PathBuf {
        self.code.join(sha256_hex)
    }

    /// The packages whose zip is kept, by their SHA-256 in hexadecimal.
    pub(crate) async fn kept(&self) -> Result<HashSet<String>, RegistryError> {
        let packages = self.packages.clone();
        blocking(move || {
            let entries = fs::read_dir(&packages).map_err(|error| disk("read", &packages, &error))?;
            let names = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned());
            Ok(names
                .filter_map(|name| name.strip_suffix(".zip").map(str::to_owned))
                .collect())
        })
        .await
    }

    /// Removes packages that nobody uses any more.
    pub(crate) async fn remove_unused(&self, used: HashSet<String>) -> Result<(), RegistryError> {
        let this = self.clone();
        blocking(move || {
            for dir in [&this.packages, &this.code] {
                for entry in fs::read_dir(dir)
                    .map_err(|error| disk("read", dir, &error))?
                    .flatten()
                {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if !used.contains(name.trim_end_matches(".zip")) && !name.ends_with(NEW) {
                        remove(&entry.path())?;
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

/// Ends the name of what is not finished.
const NEW: &str = ".new";

fn fresh_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{}{NEW}", uuid::Uuid::new_v4().simple()))
}

fn write_durably(path: &Path, content: &[u8]) -> Result<(), RegistryError> {
    let fresh = fresh_name(path);
    let written = fs::File::create_new(&fresh)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| sync_dir(path.parent()));
    written.map_err(|error| {
        // What is left has a name that nobody reads; `open` removes it.
        let _ = fs::remove_file(&fresh);
        disk("write", path, &error)
    })
}

/// Moves a finished folder to its place. Somebody else may have been faster: theirs is the same.
fn install(fresh: &Path, dir: &Path) -> Result<(), RegistryError> {
    match fs::rename(fresh, dir) {
        Err(_) if dir.exists() => remove(fresh),
        moved => moved
            .and_then(|()| sync_dir(dir.parent()))
            .map_err(|error| disk("move", dir, &error)),
    }
}

fn sync_dir(dir: Option<&Path>) -> io::Result<()> {
    dir.map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

fn remove(path: &Path) -> Result<(), RegistryError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("remove", path, &error)),
        _ => Ok(()),
    }
}

/// A disk's refusal, in words for a person: a full disk is said to be one.
pub(crate) fn disk(attempted: &str, path: &Path, error: &io::Error) -> RegistryError {
    RegistryError::Platform(format!("could not {attempted} `{}`: {error}", path.display()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(RegistryError::Platform(format!(
            "the package worker failed: {error}"
        )))
    })
}
