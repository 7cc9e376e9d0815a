//! What only a store on disk can do wrong: crashes, damage, a second opener, a full disk.

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
