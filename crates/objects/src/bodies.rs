//! Bodies: how they are written, read, copied and removed.
//!
//! A body is a file `DIR/xx/UUID`, written and synced, with its folder, before a record names it; a small one is kept in
//! the store beside its record, where one group commit makes both durable. Nothing of a key is ever part of a path.
//! A file that somebody holds ([`Hold`]) is not removed until nobody does: readers hold what they stream, and uploads
//! what no record names yet. Memory is bounded by two pieces per upload, one per reader, and the number of uploads.

mod incoming;
mod reading;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use squall_store::Store;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use incoming::{Expected, Incoming, Received};
pub use reading::Reading;

use crate::error::ObjectsError;
use crate::record::Segment;

/// What is read or written at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Bodies up to this are kept in the store.
pub(crate) const SMALL_BYTES_MAX: usize = 16 * 1024;

/// All bodies. A cheap handle.
#[derive(Clone)]
pub(crate) struct Bodies(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    store: Arc<dyn Store>,
    held: Mutex<HashMap<Uuid, Held>>,
    /// For uploads.
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Held {
    holders: usize,
    /// To be removed when nobody holds it any more.
    is_doomed: bool,
}

/// Keeps a file from being removed.
pub(crate) struct Hold {
    bodies: Bodies,
    file: Uuid,
}

impl Hold {
    /// A record names the file now: it stays.
    pub(crate) fn keep(self) {
        if let Some(held) = self.bodies.held().get_mut(&self.file) {
            held.is_doomed = false;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.bodies.held();
        let Some(held) = all.get_mut(&self.file) else {
            return;
        };
        held.holders -= 1;
        if held.holders > 0 {
            return;
        }
        let is_doomed = held.is_doomed;
        all.remove(&self.file);
        drop(all);
        if is_doomed {
            self.bodies.unlink(self.file);
        }
    }
}

impl Bodies {
    /// Makes the folder and those in it, where they are not there.
    pub(crate) fn open(dir: &Path, store: Arc<dyn Store>, uploads_max: usize) -> Result<Self, ObjectsError> {
        let failed = |error| ObjectsError::file("make the folder of objects", &error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        for first in 0..=u8::MAX {
            match std::fs::create_dir(dir.join(format!("{first:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        std::fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            store,
            held: Mutex::default(),
            places: Arc::new(Semaphore::new(uploads_max)),
        })))
    }

    /// Removes a file that no record names any more, now or when its last reader is done.
    pub(crate) fn remove(&self, file: Uuid) {
        if let Some(held) = self.held().get_mut(&file) {
            held.is_doomed = true;
            return;
        }
        self.unlink(file);
    }

    pub(crate) fn is_held(&self, file: Uuid) -> bool {
        self.held().contains_key(&file)
    }

    pub(crate) fn hold(&self, file: Uuid) -> Hold {
        self.hold_as(file, false)
    }

    /// A file of a new name, that is removed unless it is kept.
    fn hold_new(&self) -> Hold {
        self.hold_as(Uuid::new_v4(), true)
    }

    fn hold_as(&self, file: Uuid, is_doomed: bool) -> Hold {
        let mut all = self.held();
        let held = all.entry(file).or_default();
        held.holders += 1;
        held.is_doomed |= is_doomed;
        Hold {
            bodies: self.clone(),
            file,
        }
    }

    /// Holds a body's files.
    pub(crate) fn hold_all(&self, segments: &[Segment]) -> Vec<Hold> {
        let files = segments.iter().filter(|segment| !segment.small);
        files.map(|segment| self.hold(segment.file)).collect()
    }

    /// The folder whose files' names begin with a byte.
    pub(crate) fn folder(&self, first: u8) -> PathBuf {
        self.0.dir.join(format!("{first:02x}"))
    }

    fn path(&self, file: Uuid) -> PathBuf {
        self.folder(file.as_bytes()[0]).join(file.to_string())
    }

    fn unlink(&self, file: Uuid) {
        match std::fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, %file, "could not remove a body; the next start tries again");
            }
            _ => {}
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        // A panic under this lock is a bug in counting; at worst a file stays until the next start.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another name for each of a body's files, and another place for each small piece.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchKey`] where the body was removed meanwhile, and others where the disk fails.
    pub(crate) async fn link(&self, segments: &[Segment]) -> Result<Vec<(Segment, Stored)>, ObjectsError> {
        let mut linked = Vec::with_capacity(segments.len());
        for segment in segments {
            let stored = match segment.small {
                true => Stored::Small(self.small(segment.file).await?),
                false => Stored::File(self.link_file(segment.file).await?),
            };
            let file = match &stored {
                Stored::Small(_) => Uuid::new_v4(),
                Stored::File(hold) => hold.file,
            };
            linked.push((
                Segment {
                    file,
                    ..segment.clone()
                },
                stored,
            ));
        }
        Ok(linked)
    }

    async fn link_file(&self, from: Uuid) -> Result<Hold, ObjectsError> {
        let hold = self.hold_new();
        let (from, to) = (self.path(from), self.path(hold.file));
        let linked = tokio::task::spawn_blocking(move || link_or_copy(&from, &to)).await;
        match linked.map_err(io::Error::other).and_then(|linked| linked) {
            Ok(()) => Ok(hold),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ObjectsError::NoSuchKey),
            Err(error) => Err(ObjectsError::file("copy a body", &error)),
        }
    }

    /// The bytes of a small body.
    async fn small(&self, name: Uuid) -> Result<Bytes, ObjectsError> {
        let entry = self.0.store.get(crate::record::SMALL, name.as_bytes()).await?;
        entry.map(|entry| entry.value).ok_or(ObjectsError::NoSuchKey)
    }
}

/// Where a new segment's bytes are, until a record names it.
pub(crate) enum Stored {
    /// Here: they are written with the record.
    Small(Bytes),
    /// In a file, synced.
    File(Hold),
}

/// A file has room for some 65,000 names; behind them it is copied.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_data()?;
    }
    sync_folder_of(to)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().expect("a body is in a folder");
    std::fs::File::open(folder)?.sync_all()
}
