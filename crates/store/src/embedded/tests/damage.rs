//! Files that are not as they were left.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use super::*;

const COUNT: u64 = 40;

/// A closed store's only journal, and where its data ends.
struct Journal {
    path: std::path::PathBuf,
    data: Vec<u8>,
}

impl Journal {
    fn of(dir: &Path) -> Self {
        let path = dir.join("db/0.jnl");
        // What is behind is the engine's filling.
        let mut data = vec![0; 64 * 1024];
        let length = File::open(&path)
            .expect("opens")
            .read_at(&mut data, 0)
            .expect("reads");
        data.truncate(length);
        let end = data.iter().rposition(|byte| *byte != 0).expect("there is data") + 1;
        data.truncate(end);
        Self { path, data }
    }

    fn file(&self) -> File {
        OpenOptions::new().write(true).open(&self.path).expect("opens")
    }

    /// Where batches end.
    fn ends(&self) -> Vec<usize> {
        let places = self.data.windows(4).enumerate();
        places
            .filter(|(_, bytes)| bytes == b"FJL\x03")
            .map(|(at, _)| at + 4)
            .collect()
    }
}

/// Leaves a store, damages its journal, and says how much is there when it opens.
async fn damaged(damage: impl FnOnce(&Journal)) -> Result<u64, StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    written(dir.path(), COUNT).await;
    damage(&Journal::of(dir.path()));
    let opened = open(dir.path());
    let result = match &opened {
        Ok(store) => Ok(numbers(store).await.len() as u64),
        Err(error) => Err(error.clone()),
    };
    drop(opened);
    if result.is_err() {
        accepts_what_is_left_when_told_to(dir.path()).await;
    }
    result
}

/// The way out that the error names.
async fn accepts_what_is_left_when_told_to(dir: &Path) {
    assert!(open(dir).is_err(), "an error does not go away by itself");
    fs::write(dir.join("MARK"), b"").expect("writes");
    let found = numbers(&open(dir).expect("opens")).await;
    assert_eq!(
        found,
        (0..found.len() as u64).collect::<Vec<_>>(),
        "it is what came first"
    );
    assert_eq!(numbers(&open(dir).expect("opens")).await, found);
}

#[tokio::test]
async fn a_torn_end_that_was_never_acknowledged_is_cut_off() {
    for bytes in [1, 5, 13, 14, 60, 110] {
        let result = damaged(|journal| {
            let torn = &journal.data[..bytes];
            journal
                .file()
                .write_all_at(torn, journal.data.len() as u64)
                .expect("writes");
        });
        assert_eq!(result.await.expect("opens"), COUNT, "{bytes} bytes of a batch");
    }
    let whole_but_wrong = damaged(|journal| {
        let ends = journal.ends();
        let mut batch = journal.data[ends[ends.len() - 2]..].to_vec();
        batch[60] ^= 1;
        journal
            .file()
            .write_all_at(&batch, journal.data.len() as u64)
            .expect("writes");
    });
    assert_eq!(whole_but_wrong.await.expect("opens"), COUNT);
}

#[tokio::test]
async fn an_acknowledged_end_that_is_missing_is_an_error() {
    for bytes in [1, 50, 1000] {
        let result = damaged(|journal| {
            journal
                .file()
                .set_len((journal.data.len() - bytes) as u64)
                .expect("cuts");
        });
        let error = result.await.expect_err("it is noticed").to_string();
        assert!(
            error.contains("were acknowledged") && error.contains("MARK"),
            "{error}"
        );
    }
    // At the end of a batch there is nothing odd to see but that it ends too early.
    let result = damaged(|journal| {
        let ends = journal.ends();
        journal.file().set_len(ends[ends.len() - 2] as u64).expect("cuts");
    });
    let error = result.await.expect_err("it is noticed").to_string();
    assert!(error.contains("only those up to 39 are there"), "{error}");
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_or_does_no_harm() {
    let mut errors = 0;
    for place in 0..48 {
        let result = damaged(|journal| {
            let at = journal.data.len() * place / 48;
            let byte = journal.data[at] ^ (1 << (place % 8));
            journal.file().write_all_at(&[byte], at as u64).expect("writes");
        });
        match result.await {
            Ok(found) => assert_eq!(found, COUNT, "place {place}"),
            Err(StoreError::Corrupt(_)) => errors += 1,
            Err(error) => panic!("{error} at place {place}"),
        }
    }
    assert!(errors > 40, "{errors} of 48 were noticed");
}

#[tokio::test]
async fn a_sealed_journal_is_checked_like_the_newest() {
    let dir = tempfile::tempdir().expect("a directory");
    written(dir.path(), COUNT).await;
    let journal = Journal::of(dir.path());
    let ends = journal.ends();
    let (first, second) = journal.data.split_at(ends[19]);
    let without_one = &journal.data[ends[20]..];
    for (sealed, newest, expected) in [
        (first, second, Ok(())),
        (&[first, &[0; 100]].concat(), second, Ok(())),
        (first, without_one, Err("after commit 20")),
        (&first[..first.len() - 1], second, Err("behind commit 19")),
        (first, &second[..second.len() - 1], Err("behind commit 39")),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("9.jnl"), sealed).expect("writes");
        fs::write(dir.path().join("10.jnl"), newest).expect("writes");
        match (journal::check(dir.path(), Some(COUNT)), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_mark_is_an_error_once_there_is_something() {
    let dir = tempfile::tempdir().expect("a directory");
    written(dir.path(), 0).await;
    fs::remove_file(dir.path().join("MARK")).expect("removes");
    written(dir.path(), 1).await;
    fs::remove_file(dir.path().join("MARK")).expect("removes");
    let error = open(dir.path()).map(drop).expect_err("it is noticed").to_string();
    assert!(error.contains("high-water mark is missing"), "{error}");
    accepts_what_is_left_when_told_to(dir.path()).await;
}
