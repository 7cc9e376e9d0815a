//! A body on its way out.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::{Bodies, Hold, PIECE_BYTES};
use crate::error::ObjectsError;
use crate::record::Segment;

/// A body that is being read, from one byte to another. Its files are not removed until it is dropped.
pub struct Reading {
    places: VecDeque<Place>,
    _holds: Vec<Hold>,
}

/// Bytes that are to be read.
enum Place {
    Memory(Bytes),
    Closed(PathBuf, Range<u64>),
    Open(Arc<File>, Range<u64>),
}

impl Bodies {
    /// Reads some bytes of a body. Whoever calls it looks again whether the record still names these segments: what
    /// was not removed when they are held will not be.
    pub(crate) async fn read(
        &self,
        segments: &[Segment],
        range: Range<u64>,
    ) -> Result<Reading, ObjectsError> {
        let mut places = VecDeque::new();
        let mut holds = Vec::new();
        let mut start = 0;
        for segment in segments {
            let end = start + segment.bytes;
            let part = range.start.max(start)..range.end.min(end);
            if part.start < part.end {
                let part = part.start - start..part.end - start;
                places.push_back(match segment.small {
                    true => Place::Memory(cut(&self.small(segment.file).await?, part)?),
                    false => {
                        holds.push(self.hold(segment.file));
                        Place::Closed(self.path(segment.file), part)
                    }
                });
            }
            start = end;
        }
        Ok(Reading {
            places,
            _holds: holds,
        })
    }
}

fn cut(bytes: &Bytes, part: Range<u64>) -> Result<Bytes, ObjectsError> {
    let ends = (usize::try_from(part.start), usize::try_from(part.end));
    match ends {
        (Ok(start), Ok(end)) if end <= bytes.len() => Ok(bytes.slice(start..end)),
        _ => Err(ObjectsError::Platform(
            "a small body is shorter than its record says".to_owned(),
        )),
    }
}

impl Reading {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let (bytes, rest) = match self.places.pop_front()? {
            Place::Memory(bytes) => return Some(Ok(bytes)),
            Place::Closed(path, range) => {
                let read = tokio::task::spawn_blocking(move || {
                    let file = Arc::new(File::open(path)?);
                    let (bytes, range) = read_piece(&file, range)?;
                    Ok((bytes, file, range))
                });
                match joined(read.await) {
                    Ok((bytes, file, range)) => (bytes, Place::Open(file, range)),
                    Err(error) => return Some(Err(error)),
                }
            }
            Place::Open(file, range) => {
                let read = tokio::task::spawn_blocking(move || {
                    let (bytes, range) = read_piece(&file, range)?;
                    Ok((bytes, file, range))
                });
                match joined(read.await) {
                    Ok((bytes, file, range)) => (bytes, Place::Open(file, range)),
                    Err(error) => return Some(Err(error)),
                }
            }
        };
        if !matches!(&rest, Place::Open(_, range) if range.is_empty()) {
            self.places.push_front(rest);
        }
        Some(Ok(bytes))
    }
}

fn joined<T>(read: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    read.map_err(io::Error::other).and_then(|read| read)
}

fn read_piece(file: &File, range: Range<u64>) -> io::Result<(Bytes, Range<u64>)> {
    let length = (range.end - range.start).min(PIECE_BYTES as u64);
    let mut piece = vec![0; usize::try_from(length).expect("a piece fits into memory")];
    file.read_exact_at(&mut piece, range.start)?;
    Ok((piece.into(), range.start + length..range.end))
}
