//! Reads the engine's journals before the engine does, and says what it would not.
//!
//! fjall (3.1, `journal/entry.rs`) ends at the first bytes that it does not understand, cuts them and all behind them
//! off, and goes on; a batch that is whole but has a wrong checksum makes it refuse the journal for ever, also when
//! that batch is the torn end of a write that was never acknowledged.
//! Here both are told apart: each batch carries the sequence numbers of its group, so that a gap is seen,
//! and what was acknowledged is known from the [`mark`](super::mark). Only an unacknowledged end is cut.
//!
//! A journal is a row of batches: `1 count:u32 seqno:u64`, then `count` times
//! `2 type:u8 compression:u8 keyspace:u64 key_len:u16 value_len:u32 stored_len:u32 key value`,
//! then `3 xxh3:u64 "FJL" 3`, all little-endian; behind the last one the file may be filled with zeros.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::directory::io as io_error;
use super::envelope;
use super::group::{GROUP_KEY, decode_first};
use crate::StoreError;

const START_BYTES: u64 = 1 + 4 + 8;
const ITEM_HEADER_BYTES: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
const END_BYTES: u64 = 1 + 8 + 4;
const MAGIC: &[u8; 4] = b"FJL\x03";
const BUFFER_BYTES: usize = 64 * 1024;
static ZEROS: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];

/// The sequence numbers of one group, which is one batch of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    first: u64,
    last: u64,
}

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Behind a whole batch there is nothing, or zeros.
    Clean,
    /// Something that is not a batch starts here.
    Torn { at: u64 },
}

/// Whether there is any journal with a batch in it, or with something that is none.
pub(super) fn is_blank(dir: &Path) -> Result<bool, StoreError> {
    for path in journals(dir)? {
        let mut any = false;
        let end = walk(&path, |_| {
            any = true;
            Ok(())
        })?;
        if any || end != End::Clean {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fails when something of what was acknowledged, up to `floor`, is missing from the journals' row of groups.
/// An unacknowledged, torn end is cut off. Without a floor, whatever can be read is accepted.
pub(super) fn check(dir: &Path, floor: Option<u64>) -> Result<(), StoreError> {
    let journals = journals(dir)?;
    let mut last: Option<u64> = None;
    for (n, path) in journals.iter().enumerate() {
        let end = walk(path, |group| {
            let before = last.replace(group.last);
            match (floor, before) {
                (Some(_), Some(before)) if before + 1 != group.first => Err(gap(path, before, group.first)),
                _ => Ok(()),
            }
        })?;
        let End::Torn { at } = end else { continue };
        let newest = n + 1 == journals.len();
        if let Some(floor) = floor
            // When no group is in the journals, the row that the engine has shows, once it is open, what is missing.
            && (!newest || last.is_some_and(|last| last < floor))
        {
            return Err(damaged(path, at, last, floor));
        }
        tracing::info!(journal = %path.display(), at, "cut off the end of a journal that was never acknowledged");
        cut(path, at).map_err(io_error("cut off the journal's torn end"))?;
    }
    Ok(())
}

fn gap(path: &Path, before: u64, first: u64) -> StoreError {
    let name = path.display();
    StoreError::Corrupt(format!(
        "`{name}` goes on at commit {first} after commit {before}"
    ))
}

fn damaged(path: &Path, at: u64, last: Option<u64>, floor: u64) -> StoreError {
    let (name, last) = (path.display(), last.unwrap_or(0));
    StoreError::Corrupt(format!(
        "`{name}` is damaged at byte {at}, behind commit {last}; commits up to {floor} were acknowledged"
    ))
}

fn cut(path: &Path, at: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

/// The journals, oldest first.
fn journals(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let (Some(id), true) = (id, path.extension().is_some_and(|end| end == "jnl")) {
                found.push((id, path));
            }
        }
        Ok(found)
    };
    let mut found = match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found.map_err(io_error("list the journals"))?,
    };
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Hands each whole batch's group to `each`.
fn walk(path: &Path, mut each: impl FnMut(Group) -> Result<(), StoreError>) -> Result<End, StoreError> {
    let attempted = io_error("read the journal");
    let file = File::open(path).map_err(&attempted)?;
    let size = file.metadata().map_err(&attempted)?.len();
    let mut reader = Reader {
        file: BufReader::with_capacity(BUFFER_BYTES, file),
        left: size,
        key: Vec::new(),
        value: Vec::new(),
    };
    loop {
        let at = size - reader.left;
        match reader.batch() {
            Ok(Some(group)) => each(group)?,
            Ok(None) => {
                let file = reader.file.into_inner();
                return zeros_from(file, at).map_err(&attempted);
            }
            Err(error) => return Err(attempted(error)),
        }
    }
}

/// Whether the rest of a journal is the engine's filling.
fn zeros_from(mut file: File, at: u64) -> io::Result<End> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    let mut rest = BufReader::with_capacity(BUFFER_BYTES, file);
    loop {
        let part = rest.fill_buf()?;
        if part.is_empty() {
            return Ok(End::Clean);
        }
        if part != &ZEROS[..part.len()] {
            return Ok(End::Torn { at });
        }
        let length = part.len();
        rest.consume(length);
    }
}

/// Reads batches; nothing longer than what is left is ever believed.
struct Reader {
    file: BufReader<File>,
    left: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    /// The next batch's group; `None` when what follows is not a whole batch of ours.
    fn batch(&mut self) -> io::Result<Option<Group>> {
        let Some([1, count @ .., _, _, _, _, _, _, _, _]) = self.take::<{ START_BYTES as usize }>()? else {
            return Ok(None);
        };
        let mut hasher = Xxh3::new();
        for _ in 0..u32::from_le_bytes(count) {
            if !self.item(&mut hasher)? {
                return Ok(None);
            }
        }
        let Some([3, a, b, c, d, e, f, g, h, magic @ ..]) = self.take::<{ END_BYTES as usize }>()? else {
            return Ok(None);
        };
        let checksum = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if checksum != hasher.finish() || &magic != MAGIC || self.key != GROUP_KEY {
            return Ok(None);
        }
        let entry = envelope::open(&self.key, &self.value).ok();
        Ok(entry.and_then(|entry| {
            let first = decode_first(&entry.value)?;
            let last = entry.revision;
            Some(Group { first, last })
        }))
    }

    /// Reads one item; `false` when what follows is none.
    fn item(&mut self, hasher: &mut Xxh3) -> io::Result<bool> {
        let Some(header) = self.take::<ITEM_HEADER_BYTES>()? else {
            return Ok(false);
        };
        let [
            2,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            k0,
            k1,
            _,
            _,
            _,
            _,
            v0,
            v1,
            v2,
            v3,
        ] = header
        else {
            return Ok(false);
        };
        let key_bytes = u64::from(u16::from_le_bytes([k0, k1]));
        let value_bytes = u64::from(u32::from_le_bytes([v0, v1, v2, v3]));
        if key_bytes + value_bytes > self.left {
            return Ok(false);
        }
        self.left -= key_bytes + value_bytes;
        self.key.clear();
        self.value.clear();
        self.file.by_ref().take(key_bytes).read_to_end(&mut self.key)?;
        self.file
            .by_ref()
            .take(value_bytes)
            .read_to_end(&mut self.value)?;
        hasher.update(&header);
        hasher.update(&self.key);
        hasher.update(&self.value);
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.left < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.left -= N as u64;
        Ok(Some(bytes))
    }
}
