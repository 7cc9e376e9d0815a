//! The data directory: who has it open, and which format it has.
//!
//! `LOCK` is locked for as long as the store is open and holds the pid; `FORMAT` holds the format; `MARK` is
//! [`mark`](super::mark)'s; `db` is the engine's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;

const FORMAT: &str = "squall-store 1";

/// A data directory that this process alone has open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked until it is dropped, or the process ends in whatever way.
    lock: File,
}

impl Directory {
    /// Takes the directory, which is made when there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(io("create the data directory"))?;
        let lock = lock(path)?;
        check_format(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The high-water mark's file.
    pub(super) fn mark(&self) -> PathBuf {
        self.path.join("MARK")
    }

    /// The engine's directory.
    pub(super) fn db(&self) -> PathBuf {
        self.path.join("db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started right now may hold a copy of the file for a moment.
        if let Err(error) = self.lock.unlock() {
            tracing::error!(dir = %self.path.display(), %error, "could not unlock the data directory");
        }
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(dir.join("LOCK")).map_err(io("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder may be about to write it: its pid is a courtesy, so not knowing it is no failure.
            let _ = file.read_to_string(&mut holder);
            return Err(StoreError::InUse {
                path: dir.display().to_string(),
                pid: holder.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(io("lock the data directory")(error)),
    }
    file.set_len(0).map_err(io("write the lock file"))?;
    writeln!(file, "{}", std::process::id()).map_err(io("write the lock file"))?;
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => Err(StoreError::Format {
            path: dir.display().to_string(),
            found: found.trim().to_owned(),
            expected: FORMAT.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            replace(&path, format!("{FORMAT}\n").as_bytes()).map(drop)
        }
        Err(error) => Err(io("read the format")(error)),
    }
}

/// Writes a file whole or not at all, synced, and returns it open for writing.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<File, StoreError> {
    let attempted = io("write a file of the data directory");
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let dir = path.parent().expect("it lies in the data directory");
        File::open(dir)?.sync_all()?;
        Ok(file)
    };
    write().map_err(attempted)
}

/// Turns what the system said into what the caller learns.
pub(super) fn io(attempted: &'static str) -> impl Fn(std::io::Error) -> StoreError {
    move |error| StoreError::Io {
        attempted,
        reason: error.to_string(),
    }
}
