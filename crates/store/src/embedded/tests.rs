//! What only a store on disk can do wrong: crashes, damage, a second opener, a full disk.

mod damage;
mod processes;

use super::*;
use crate::contract;

const SPACE: Space = Space("test");

fn open(dir: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(dir, EmbeddedConfig::default())
}

/// A store in a directory that goes with it.
struct Temporary {
    store: Embedded,
    _dir: tempfile::TempDir,
}

#[async_trait]
impl Store for Temporary {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.store.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.store.commit(batch).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.store.scan(scan).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    contract::run(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        Temporary {
            store: open(dir.path()).expect("opens"),
            _dir: dir,
        }
    })
    .await;
}

async fn put(store: &Embedded, n: u64, durable: bool) -> Result<u64, StoreError> {
    let batch = if durable {
        Batch::durable()
    } else {
        Batch::buffered()
    };
    let key = n.to_be_bytes().to_vec();
    let value = vec![n as u8; (n % 300) as usize];
    Ok(store.commit(batch.put(SPACE, key, value)).await?.sequence)
}

async fn numbers(store: &Embedded) -> Vec<u64> {
    let found = store.scan(Scan::prefix(SPACE, "")).await.expect("scans");
    let number = |(key, entry): (Bytes, Entry)| {
        let n = u64::from_be_bytes(key[..].try_into().expect("eight bytes"));
        assert_eq!(entry.value, vec![n as u8; (n % 300) as usize]);
        n
    };
    found.into_iter().map(number).collect()
}

/// Leaves a closed store with this many commits, buffered and durable ones in turn.
async fn written(dir: &Path, count: u64) {
    let store = open(dir).expect("opens");
    for n in 0..count {
        put(&store, n, n % 2 == 0).await.expect("commits");
    }
}

#[tokio::test]
async fn keeps_everything_when_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 1..4 {
        let store = open(dir.path()).expect("opens");
        assert_eq!(numbers(&store).await, (0..(round - 1) * 100).collect::<Vec<_>>());
        for n in (round - 1) * 100..round * 100 {
            assert_eq!(
                put(&store, n, n % 2 == 0).await.expect("commits"),
                n + 1,
                "sequence numbers go on"
            );
        }
        if round == 2 {
            store.close().await.expect("closes");
            let late = put(&store, 0, false).await;
            assert!(matches!(late, Err(StoreError::Io { .. })), "{late:?}");
            assert_eq!(numbers(&store).await.len(), 200, "a closed store can be read");
        }
    }
}

#[tokio::test]
async fn refuses_a_format_that_it_does_not_know() {
    let dir = tempfile::tempdir().expect("a directory");
    written(dir.path(), 1).await;
    fs::write(dir.path().join("FORMAT"), "squall-store 2\n").expect("writes");
    let error = open(dir.path()).map(drop).expect_err("it is refused").to_string();
    assert!(
        error.contains("data format squall-store 2; this version reads squall-store 1"),
        "{error}"
    );
}

#[tokio::test]
async fn takes_up_a_first_start_that_was_interrupted() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("db/keyspaces")).expect("creates");
    for (file, length) in [("LOCK", 0), ("db/lock", 0), ("db/0.jnl", 64 * 1024 * 1024)] {
        let file = fs::File::create(dir.path().join(file)).expect("creates");
        file.set_len(length).expect("grows");
    }
    written(dir.path(), 3).await;
    assert_eq!(numbers(&open(dir.path()).expect("opens")).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_outgrew_its_memory_has_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = || EmbeddedConfig {
        memtable_bytes: 64 * 1024,
        ..EmbeddedConfig::default()
    };
    let value = |n: u32| vec![n as u8; 1000];
    let key = |n: u32| n.to_be_bytes().to_vec();
    {
        let store = Embedded::open(dir.path(), config()).expect("opens");
        for step in 0..100 {
            let numbers = step * 20..(step + 1) * 20;
            let batch = numbers.fold(Batch::buffered(), |batch, n| batch.put(SPACE, key(n), value(n)));
            let batch = batch.delete(SPACE, key(step * 20));
            store.commit(batch).await.expect("commits");
        }
    }
    let store = Embedded::open(dir.path(), config()).expect("opens");
    let found = store.scan(Scan::prefix(SPACE, "")).await.expect("scans");
    let expected = (0..2000_u32).filter(|n| n % 20 != 0).map(|n| (key(n), value(n)));
    assert!(
        found
            .iter()
            .map(|(key, entry)| (key.to_vec(), entry.value.to_vec()))
            .eq(expected)
    );
    assert_eq!(
        store.commit(Batch::durable()).await.expect("commits").sequence,
        101
    );
}

#[tokio::test]
async fn a_failure_in_the_background_is_an_error_and_not_a_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = EmbeddedConfig {
        memtable_bytes: 16 * 1024,
        ..EmbeddedConfig::default()
    };
    let store = Embedded::open(dir.path(), config).expect("opens");
    put(&store, 0, true).await.expect("commits");
    fs::remove_dir_all(dir.path().join("db/keyspaces")).expect("removes");
    let mut result = Ok(0);
    for n in 0..100_000 {
        result = put(&store, n, false).await;
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(StoreError::Io { .. })), "{result:?}");
    let result = put(&store, 0, true).await;
    assert!(matches!(result, Err(StoreError::Io { .. })), "{result:?}");
}

#[tokio::test]
async fn keeps_everything_over_several_journals() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = |n: u32| n.to_be_bytes().to_vec();
    // Just too short for the engine to compress.
    let value = |n: u32| vec![n as u8; 4000];
    let mut batches = 0;
    {
        let store = open(dir.path()).expect("opens");
        // A space that is written once would keep the first journal for ever, if nobody flushed it.
        put(&store, 7, true).await.expect("commits");
        // The engine begins a second journal when it next flushes after 64 MB.
        while !dir.path().join("db/1.jnl").exists() {
            let numbers = batches * 50..(batches + 1) * 50;
            batches += 1;
            assert!(batches < 1000, "200 MB are in one journal");
            let space = Space("bulk");
            let batch = numbers.fold(Batch::buffered(), |batch, n| batch.put(space, key(n), value(n)));
            store.commit(batch).await.expect("commits");
        }
    }
    let store = open(dir.path()).expect("opens");
    assert_eq!(numbers(&store).await, [7]);
    let found = store.scan(Scan::prefix(Space("bulk"), "")).await.expect("scans");
    let expected = (0..batches * 50).map(|n| (key(n), value(n)));
    assert!(
        found
            .iter()
            .map(|(key, entry)| (key.to_vec(), entry.value.to_vec()))
            .eq(expected)
    );
}
