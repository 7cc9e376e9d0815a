//! A body on its way in.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Bodies, Hold, PIECE_BYTES, SMALL_BYTES_MAX, Stored, sync_folder_of};
use crate::digest::{Algorithm, Checksum, Digests};
use crate::error::ObjectsError;
use crate::record::Segment;

/// What is known of a body before it comes.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its length, where the client said so.
    pub bytes: Option<u64>,
    /// The most that is taken.
    pub bytes_max: u64,
    /// What it is to be checked by, beside MD5.
    pub algorithm: Option<Algorithm>,
}

/// A body that is being received. Dropping it leaves nothing behind.
pub struct Incoming {
    bodies: Bodies,
    expected: Expected,
    digests: Digests,
    bytes: u64,
    /// What is not yet on its way to the file.
    piece: BytesMut,
    file: Option<Writing>,
    _place: OwnedSemaphorePermit,
}

struct Writing {
    hold: Hold,
    file: Arc<File>,
    /// The piece before: one is written while the next one comes.
    under_way: Option<JoinHandle<io::Result<()>>>,
}

/// A body that is here, synced, and not yet named by any record. Dropping it leaves nothing behind.
pub struct Received {
    pub(crate) segments: Vec<(Segment, Stored)>,
    /// Its length.
    pub bytes: u64,
    /// Its MD5.
    pub md5: [u8; 16],
    /// What it was asked to be checked by.
    pub checksum: Option<Checksum>,
}

impl Bodies {
    /// Begins to receive a body.
    ///
    /// # Errors
    /// [`ObjectsError::TooLarge`] where it says that it is; [`ObjectsError::Busy`] where too many are on their way.
    pub(crate) fn receive(&self, expected: Expected) -> Result<Incoming, ObjectsError> {
        if expected.bytes.is_some_and(|bytes| bytes > expected.bytes_max) {
            return Err(ObjectsError::TooLarge);
        }
        let place = self.0.places.clone().try_acquire_owned();
        Ok(Incoming {
            bodies: self.clone(),
            digests: Digests::new(expected.algorithm),
            expected,
            bytes: 0,
            piece: BytesMut::new(),
            file: None,
            _place: place.map_err(|_| ObjectsError::Busy)?,
        })
    }
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Where they are too many, or the disk fails. The body is lost then.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ObjectsError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.expected.bytes_max {
            return Err(ObjectsError::TooLarge);
        }
        self.digests.update(&bytes);
        while !bytes.is_empty() {
            let room = PIECE_BYTES - self.piece.len();
            let part = bytes.split_to(room.min(bytes.len()));
            self.piece.extend_from_slice(&part);
            if self.piece.len() == PIECE_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The body is whole: checks it, and syncs it.
    ///
    /// # Errors
    /// Where it is not what was announced, or the disk fails. `md5` and `checksum` are what the client says, in base64.
    pub async fn finish(
        mut self,
        md5: Option<&str>,
        checksum: Option<&str>,
    ) -> Result<Received, ObjectsError> {
        if self.expected.bytes.is_some_and(|bytes| bytes != self.bytes) {
            return Err(ObjectsError::Incomplete);
        }
        let digests = std::mem::replace(&mut self.digests, Digests::new(None));
        let (found_md5, found) = digests.finish();
        check(md5, &STANDARD.encode(found_md5), "Content-MD5")?;
        if let Some(found) = &found {
            check(checksum, &found.value, found.algorithm.name())?;
        }
        let bytes = self.bytes;
        let stored = match self.file {
            None if self.piece.len() <= SMALL_BYTES_MAX => Stored::Small(self.piece.split().freeze()),
            _ => Stored::File(self.sync().await?),
        };
        let (file, small) = match &stored {
            Stored::Small(_) => (Uuid::new_v4(), true),
            Stored::File(hold) => (hold.file, false),
        };
        let segment = Segment { file, bytes, small };
        Ok(Received {
            // An empty body is nowhere.
            segments: if bytes == 0 {
                Vec::new()
            } else {
                vec![(segment, stored)]
            },
            bytes,
            md5: found_md5,
            checksum: found,
        })
    }

    /// Sends the piece on its way to the file, when the piece before is there.
    async fn flush(&mut self) -> Result<(), ObjectsError> {
        if self.file.is_none() {
            self.file = Some(Writing::begin(&self.bodies)?);
        }
        let writing = self.file.as_mut().expect("it was begun above");
        writing.settle().await?;
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE_BYTES));
        let file = writing.file.clone();
        writing.under_way = Some(tokio::task::spawn_blocking(move || (&*file).write_all(&piece)));
        Ok(())
    }

    async fn sync(&mut self) -> Result<Hold, ObjectsError> {
        let mut writing = match self.file.take() {
            Some(writing) => writing,
            None => Writing::begin(&self.bodies)?,
        };
        writing.settle().await?;
        let (file, piece) = (writing.file.clone(), self.piece.split());
        let path = self.bodies.path(writing.hold.file);
        let synced = tokio::task::spawn_blocking(move || {
            (&*file).write_all(&piece)?;
            file.sync_data()?;
            sync_folder_of(&path)
        });
        written(synced.await)?;
        Ok(writing.hold)
    }
}

impl Writing {
    /// Makes the file here and not on another thread: who is dropped while it waits for one would leave it behind.
    fn begin(bodies: &Bodies) -> Result<Self, ObjectsError> {
        let hold = bodies.hold_new();
        let path = bodies.path(hold.file);
        let made = File::options().write(true).create_new(true).open(path);
        let file = made.map_err(|error| ObjectsError::file("make a file for a body", &error))?;
        Ok(Self {
            hold,
            file: Arc::new(file),
            under_way: None,
        })
    }

    async fn settle(&mut self) -> Result<(), ObjectsError> {
        match self.under_way.take() {
            Some(under_way) => written(under_way.await),
            None => Ok(()),
        }
    }
}

fn written(done: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), ObjectsError> {
    let done = done.map_err(io::Error::other).and_then(|written| written);
    done.map_err(|error| ObjectsError::file("write a body", &error))
}

fn check(said: Option<&str>, found: &str, name: &str) -> Result<(), ObjectsError> {
    match said {
        Some(said) if said != found => Err(ObjectsError::BadDigest(format!(
            "The {name} you specified did not match what we received: `{found}`."
        ))),
        _ => Ok(()),
    }
}
