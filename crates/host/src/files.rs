//! Large values as sealed files of memory, made once for each version of a value and mapped by every instance.
//!
//! Bounded in bytes: the file that was asked for longest ago goes first. Whoever has it mapped keeps its pages.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags};
use squall_runtime::{HostError, Sealed};
use squall_state::{Key, Value};

use crate::refusal::invalid;

/// Up to this a copy is made at once; a larger one is made where it keeps nobody waiting.
const COPIED_AT_ONCE_BYTES_MAX: usize = 1024 * 1024;

/// The files that are kept.
#[derive(Debug)]
pub(crate) struct Files {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses, and names contents.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// Held, so that no other content ever lies at the same address: the address tells whether it has changed.
    bytes: Bytes,
    version: u64,
    used: u64,
    sealed: Arc<Sealed>,
}

impl Files {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// The file of a value, and what names its content.
    pub(crate) async fn of(&self, key: &Key, value: &Value) -> Result<(u64, Arc<Sealed>), HostError> {
        if let Some(found) = self.lock().find(key, &value.bytes) {
            return Ok(found);
        }
        let bytes = value.bytes.clone();
        let made = if bytes.len() <= COPIED_AT_ONCE_BYTES_MAX {
            seal(&bytes)
        } else {
            let made = tokio::task::spawn_blocking(move || seal(&bytes)).await;
            made.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let sealed = made.map_err(|error| HostError {
            kind: "Full",
            message: format!(
                "no memory could be had for a value of {} bytes: {error}",
                value.bytes.len()
            ),
            is_retryable: true,
        })?;
        Ok(self
            .lock()
            .keep(key, &value.bytes, Arc::new(sealed), self.bytes_max))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, key: &Key, bytes: &Bytes) -> Option<(u64, Arc<Sealed>)> {
        self.clock += 1;
        let entry = self.by_key.get_mut(key)?;
        let is_same = entry.bytes.as_ptr() == bytes.as_ptr() && entry.bytes.len() == bytes.len();
        if !is_same {
            return None;
        }
        entry.used = self.clock;
        Some((entry.version, Arc::clone(&entry.sealed)))
    }

    fn keep(
        &mut self,
        key: &Key,
        bytes: &Bytes,
        sealed: Arc<Sealed>,
        bytes_max: usize,
    ) -> (u64, Arc<Sealed>) {
        if let Some(found) = self.find(key, bytes) {
            // Another call was faster.
            return found;
        }
        let version = self.clock;
        let entry = Entry {
            bytes: bytes.clone(),
            version,
            used: version,
            sealed: Arc::clone(&sealed),
        };
        self.bytes += bytes.len();
        if let Some(old) = self.by_key.insert(key.clone(), entry) {
            self.bytes -= old.bytes.len();
        }
        while self.bytes > bytes_max && self.by_key.len() > 1 {
            self.drop_oldest();
        }
        (version, sealed)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.by_key.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone())
            && let Some(old) = self.by_key.remove(&key)
        {
            self.bytes -= old.bytes.len();
        }
    }
}

fn seal(bytes: &[u8]) -> io::Result<Sealed> {
    let file = rustix::fs::memfd_create("value", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(Sealed {
        file,
        bytes: bytes.len() as u64,
    })
}

/// The content of a file that came from an instance, read whole.
pub(crate) async fn read(sealed: Arc<Sealed>, bytes_max: usize) -> Result<Bytes, HostError> {
    let length = usize::try_from(sealed.bytes).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(HostError {
            kind: "TooLarge",
            message: format!("a value of {length} bytes is too large: at most {bytes_max} are allowed"),
            is_retryable: false,
        });
    }
    let read = if length <= COPIED_AT_ONCE_BYTES_MAX {
        read_whole(&sealed.file, length)
    } else {
        let read = tokio::task::spawn_blocking(move || read_whole(&sealed.file, length)).await;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
    };
    read.map_err(|error| invalid(format!("the value could not be read: {error}")))
}

fn read_whole(file: &OwnedFd, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut have = 0;
    while have < length {
        match rustix::io::pread(file, &mut bytes[have..], have as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => have += count,
        }
    }
    Ok(bytes.into())
}
