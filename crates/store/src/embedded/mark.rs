//! The high-water mark: the last sequence numbers that were acknowledged, kept beside the engine.
//!
//! The engine drops a damaged part of its journal, and all behind it, without a word. What it then holds ends before
//! the mark, and opening it fails instead.
//!
//! The mark is written after the journal and before the acknowledgement, so it is never ahead of what was kept, except
//! that buffered commits survive only the process: their mark counts while the system has not been started anew.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::directory::{io, replace};
use crate::StoreError;

const MAGIC: &[u8; 4] = b"sqm1";
/// Magic, two sequence numbers, a checksum of the boot's id, a checksum of all that. Less than a sector: written whole.
const MARK_BYTES: usize = 4 + 8 + 8 + 4 + 4;
/// How often the mark itself is synced; in between, only a loss of power makes it an older one.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What must be there, as the last run left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    /// There is no mark: the store was never opened to its end.
    None,
    /// The file was emptied by someone who accepts what is there.
    Waived,
    /// All sequence numbers up to this one were acknowledged.
    At(u64),
}

/// The mark's file, open for writing.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    boot: u32,
    durable: u64,
    written: u64,
    synced_at: Instant,
}

/// What the mark says.
pub(super) fn read(path: &Path) -> Result<Floor, StoreError> {
    let content = match fs::read(path) {
        Ok(content) if content.is_empty() => return Ok(Floor::Waived),
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Floor::None),
        Err(error) => return Err(io("read the high-water mark")(error)),
    };
    let damaged = || {
        let what = "the high-water mark cannot be read";
        StoreError::Corrupt(format!("{what}; {}", advice(path)))
    };
    let content: &[u8; MARK_BYTES] = content.as_slice().try_into().map_err(|_| damaged())?;
    let (body, checksum) = content.split_at(MARK_BYTES - 4);
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_le_bytes() != checksum {
        return Err(damaged());
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| body[at + n]));
    let (durable, written) = (number(4), number(12));
    let same_boot = boot_id().is_some_and(|boot| boot.to_le_bytes() == body[20..24]);
    Ok(Floor::At(if same_boot { durable.max(written) } else { durable }))
}

/// What to do when acknowledged writes are missing.
pub(super) fn advice(path: &Path) -> String {
    let path = path.display();
    format!(
        "restore the data directory from a backup, or empty the file `{path}` to go on without what is lost"
    )
}

impl Mark {
    /// Starts marking, when all up to `sequence` is known to be synced.
    pub(super) fn create(path: &Path, sequence: u64) -> Result<Self, StoreError> {
        let boot = boot_id().unwrap_or(0);
        let content = encode(boot, sequence, sequence);
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) if file.metadata().is_ok_and(|meta| meta.len() == MARK_BYTES as u64) => {
                file.write_all_at(&content, 0)
                    .map_err(io("write the high-water mark"))?;
                file
            }
            _ => replace(path, &content)?,
        };
        Ok(Self {
            file,
            boot,
            durable: sequence,
            written: sequence,
            synced_at: Instant::now(),
        })
    }

    /// Marks what is about to be acknowledged.
    pub(super) fn advance(&mut self, sequence: u64, durable: bool) -> Result<(), StoreError> {
        self.written = sequence;
        if durable {
            self.durable = sequence;
        }
        let content = encode(self.boot, self.durable, self.written);
        self.file
            .write_all_at(&content, 0)
            .map_err(io("write the high-water mark"))?;
        if durable && self.synced_at.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the mark survive a loss of power.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.synced_at = Instant::now();
        self.file.sync_data().map_err(io("sync the high-water mark"))
    }
}

fn encode(boot: u32, durable: u64, written: u64) -> [u8; MARK_BYTES] {
    let mut content = [0; MARK_BYTES];
    content[..4].copy_from_slice(MAGIC);
    content[4..12].copy_from_slice(&durable.to_le_bytes());
    content[12..20].copy_from_slice(&written.to_le_bytes());
    content[20..24].copy_from_slice(&boot.to_le_bytes());
    let checksum = crc32fast::hash(&content[..24]);
    content[24..].copy_from_slice(&checksum.to_le_bytes());
    content
}

/// A checksum of the running system's boot id; `None` where the kernel does not tell one.
fn boot_id() -> Option<u32> {
    let id = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    Some(crc32fast::hash(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&Path), expected: Result<Floor, &str>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("MARK");
        let mut mark = Mark::create(&path, 5).expect("creates");
        mark.advance(7, true).expect("advances");
        mark.advance(9, false).expect("advances");
        change(&path);
        match (read(&path), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn buffered_commits_count_while_the_system_runs() {
        check(|_| {}, Ok(Floor::At(9)));
    }

    #[test]
    fn only_durable_commits_count_after_a_new_boot() {
        check(
            |path| fs::write(path, encode(boot_id().unwrap_or(0) ^ 1, 7, 9)).expect("writes"),
            Ok(Floor::At(7)),
        );
    }

    #[test]
    fn an_emptied_mark_waives_the_check_and_a_damaged_one_does_not() {
        check(|path| fs::write(path, b"").expect("writes"), Ok(Floor::Waived));
        check(|path| fs::remove_file(path).expect("removes"), Ok(Floor::None));
        check(
            |path| fs::write(path, [1; MARK_BYTES]).expect("writes"),
            Err("cannot be read"),
        );
        check(
            |path| fs::write(path, b"short").expect("writes"),
            Err("empty the file"),
        );
    }
}
