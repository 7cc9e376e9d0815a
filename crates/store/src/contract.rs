//! What every [`Store`] must do, as one suite of tests.
//!
//! An implementation's own tests call [`run`] with a way to make an empty store. It panics where the store is wrong.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{Batch, Committed, Entry, Expect, Scan, Space, Store, StoreError};

const A: Space = Space("contract_a");
const B: Space = Space("contract_b");
/// Tasks that change one counter at once, and how often each does.
const TASKS: u64 = 16;
const CHANGES: u64 = 25;
/// Random batches that are compared with the model.
const MODEL_STEPS: u64 = 400;

/// Runs the whole suite; each part gets a store of its own. Needs a tokio runtime with several threads to mean much.
///
/// # Panics
/// When the store does not do what [`Store`] promises.
pub async fn run<S: Store, F: Future<Output = S>>(open: impl Fn() -> F) {
    writes_reads_and_deletes(&open().await).await;
    applies_a_batch_whole_or_not_at_all(&open().await).await;
    checks_expectations_against_what_was_there_before(&open().await).await;
    appends_under_growing_keys(&open().await).await;
    scans_in_order(&open().await).await;
    refuses_what_is_too_large(&open().await).await;
    loses_no_concurrent_change(Arc::new(open().await)).await;
    shows_no_half_of_a_batch(Arc::new(open().await)).await;
    for seed in 0..4 {
        agrees_with_a_model(&open().await, seed).await;
    }
}

async fn commit(store: &impl Store, batch: Batch) -> Committed {
    store.commit(batch).await.expect("commits")
}

async fn get(store: &impl Store, space: Space, key: &'static str) -> Option<Entry> {
    store.get(space, key.as_bytes()).await.expect("reads")
}

async fn value(store: &impl Store, space: Space, key: &'static str) -> Option<Bytes> {
    get(store, space, key).await.map(|entry| entry.value)
}

async fn keys(store: &impl Store, scan: Scan) -> Vec<String> {
    let found = store.scan(scan).await.expect("scans").into_iter();
    found
        .map(|(key, _)| String::from_utf8_lossy(&key).into_owned())
        .collect()
}

async fn writes_reads_and_deletes(store: &impl Store) {
    assert_eq!(get(store, A, "k").await, None);
    let first = commit(store, Batch::durable().put(A, "k", "one")).await;
    let expected = Entry {
        value: Bytes::from("one"),
        revision: first.sequence,
    };
    assert_eq!(get(store, A, "k").await, Some(expected));
    assert_eq!(
        get(store, B, "k").await,
        None,
        "another space has keys of its own"
    );
    let second = commit(store, Batch::buffered().put(A, "k", "two").put(A, "empty", "")).await;
    assert!(second.sequence > first.sequence, "sequence numbers grow");
    assert_eq!(
        get(store, A, "k").await.map(|entry| entry.revision),
        Some(second.sequence)
    );
    assert_eq!(value(store, A, "empty").await, Some(Bytes::new()));
    let third = commit(store, Batch::durable().delete(A, "k").delete(B, "never written")).await;
    assert!(third.sequence > second.sequence, "a removal is a commit too");
    assert_eq!(get(store, A, "k").await, None);
    assert_eq!(value(store, A, "empty").await, Some(Bytes::new()));
    let empty = commit(store, Batch::durable()).await;
    assert!(
        empty.sequence > third.sequence,
        "so is a batch without operations"
    );
}

async fn applies_a_batch_whole_or_not_at_all(store: &impl Store) {
    let revision = commit(store, Batch::durable().put(A, "k", "v")).await.sequence;
    let batch = || {
        Batch::durable()
            .put(A, "x", "1")
            .put(B, "y", "2")
            .delete(A, "k")
            .append(A, "p", "3")
    };
    for (space, key, expect) in [
        (A, "k", Expect::Absent),
        (A, "k", Expect::Revision(revision + 1)),
        (B, "z", Expect::Revision(revision)),
    ] {
        let result = store.commit(batch().expect(space, key, expect)).await;
        assert!(
            matches!(result, Err(StoreError::Conflict)),
            "{result:?} for {key} {expect:?}"
        );
        assert_eq!(keys(store, Scan::prefix(A, "")).await, ["k"]);
        assert_eq!(keys(store, Scan::prefix(B, "")).await, [""; 0]);
    }
    let holds = batch()
        .expect(A, "k", Expect::Revision(revision))
        .expect(B, "y", Expect::Absent);
    commit(store, holds).await;
    assert_eq!(keys(store, Scan::prefix(A, "").reverse().limit(1)).await, ["x"]);
    assert_eq!(value(store, B, "y").await, Some(Bytes::from("2")));
    assert_eq!(value(store, A, "k").await, None);
}

async fn checks_expectations_against_what_was_there_before(store: &impl Store) {
    let batch = Batch::durable()
        .put(A, "k", "1")
        .expect(A, "k", Expect::Absent)
        .put(A, "k", "2");
    commit(store, batch).await;
    assert_eq!(
        value(store, A, "k").await,
        Some(Bytes::from("2")),
        "the last write of a key stays"
    );
    commit(store, Batch::durable().delete(A, "k").put(A, "k", "3")).await;
    assert_eq!(value(store, A, "k").await, Some(Bytes::from("3")));
    commit(store, Batch::durable().put(A, "k", "4").delete(A, "k")).await;
    assert_eq!(value(store, A, "k").await, None);
}

async fn appends_under_growing_keys(store: &impl Store) {
    let mut expected = Vec::new();
    for n in 0..5_u8 {
        let batch = Batch::buffered()
            .append(A, "p/", vec![n, 0])
            .put(B, "k", "v")
            .append(A, "p/", vec![n, 1]);
        let committed = commit(store, batch).await;
        let [first, second] = committed.appended.as_slice() else {
            panic!("two appends have {} keys", committed.appended.len());
        };
        let sequence = committed.sequence.to_be_bytes();
        assert_eq!(first[..], [b"p/", &sequence[..], &[0, 0, 0, 0]].concat());
        assert_eq!(second[..], [b"p/", &sequence[..], &[0, 0, 0, 2]].concat());
        expected.push((first.clone(), vec![n, 0]));
        expected.push((second.clone(), vec![n, 1]));
    }
    let found = store.scan(Scan::prefix(A, "p/")).await.expect("scans");
    let found: Vec<_> = found
        .into_iter()
        .map(|(key, entry)| (key, entry.value.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

async fn scans_in_order(store: &impl Store) {
    assert_eq!(
        keys(store, Scan::prefix(A, "b")).await,
        [""; 0],
        "a space without entries"
    );
    let mut batch = Batch::durable().put(B, "b9", "other");
    for key in ["b3", "a", "b", "c", "b1", "b2"] {
        batch = batch.put(A, key, key);
    }
    batch = batch
        .put(A, vec![0xff], "high")
        .put(A, vec![0xff, 0xff], "higher");
    commit(store, batch).await;
    let b = || Scan::prefix(A, "b");
    for (scan, expected) in [
        (b(), &["b", "b1", "b2", "b3"][..]),
        (b().limit(2), &["b", "b1"]),
        (b().limit(0), &[]),
        (b().after("b1"), &["b2", "b3"]),
        (b().after("b11"), &["b2", "b3"]),
        (b().after("a"), &["b", "b1", "b2", "b3"]),
        (b().after("b3"), &[]),
        (b().after("z"), &[]),
        (b().reverse(), &["b3", "b2", "b1", "b"]),
        (b().reverse().limit(1), &["b3"]),
        (b().reverse().after("b2"), &["b1", "b"]),
        (b().reverse().after("z"), &["b3", "b2", "b1", "b"]),
        (b().reverse().after("b"), &[]),
        (b().reverse().after("a"), &[]),
        (Scan::prefix(A, "").limit(2), &["a", "b"]),
        (Scan::prefix(A, "nothing"), &[]),
    ] {
        let what = format!("{scan:?}");
        assert_eq!(keys(store, scan).await, expected, "{what}");
    }
    let high = store.scan(Scan::prefix(A, vec![0xff])).await.expect("scans");
    assert_eq!(high.len(), 2, "a prefix that has no successor");
}

async fn refuses_what_is_too_large(store: &impl Store) {
    for batch in [
        Batch::durable().put(A, "", "no key"),
        Batch::durable().put(A, vec![1; crate::KEY_BYTES_MAX + 1], "long key"),
        Batch::durable().append(A, vec![1; crate::KEY_BYTES_MAX - 11], "long prefix"),
        Batch::durable().put(A, "k", vec![0; crate::VALUE_BYTES_MAX + 1]),
    ] {
        let result = store.commit(batch.put(A, "k", "v")).await;
        assert!(matches!(result, Err(StoreError::Refused { .. })), "{result:?}");
    }
    commit(
        store,
        Batch::durable().put(A, vec![1; crate::KEY_BYTES_MAX], vec![7; 1024 * 1024]),
    )
    .await;
    let large = store
        .get(A, &[1; crate::KEY_BYTES_MAX])
        .await
        .expect("reads")
        .expect("an entry");
    assert_eq!(large.value, vec![7; 1024 * 1024]);
}

async fn loses_no_concurrent_change<S: Store>(store: Arc<S>) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..CHANGES {
                while !increment(&*store).await {}
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        counter(get(&*store, A, "counter").await.as_ref()),
        TASKS * CHANGES
    );
}

/// Adds one, unless someone else was faster.
async fn increment(store: &impl Store) -> bool {
    let found = get(store, A, "counter").await;
    let expect = found
        .as_ref()
        .map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
    let next = (counter(found.as_ref()) + 1).to_be_bytes().to_vec();
    let batch = Batch::durable()
        .put(A, "counter", next)
        .expect(A, "counter", expect);
    match store.commit(batch).await {
        Ok(committed) => {
            let seen = get(store, A, "counter").await.expect("it was just written");
            assert!(
                seen.revision >= committed.sequence,
                "what was acknowledged is visible"
            );
            true
        }
        Err(StoreError::Conflict) => false,
        Err(error) => panic!("could not commit: {error}"),
    }
}

fn counter(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| {
        u64::from_be_bytes(entry.value[..].try_into().expect("eight bytes"))
    })
}

async fn shows_no_half_of_a_batch<S: Store>(store: Arc<S>) {
    let write = |n: u64| {
        let value = n.to_be_bytes().to_vec();
        (0..20_u8).fold(Batch::buffered(), |batch, key| {
            batch.put(A, vec![key], value.clone())
        })
    };
    commit(&*store, write(0)).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..200 {
                commit(&*store, write(n)).await;
            }
        }
    });
    let mut last = 0;
    while !writer.is_finished() {
        let found = store.scan(Scan::prefix(A, "")).await.expect("scans");
        let revision = found[0].1.revision;
        assert!(
            found.iter().all(|(_, entry)| entry.revision == revision),
            "{found:?}"
        );
        assert!(revision >= last, "a later read sees no older batch");
        last = revision;
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer did not panic");
}

/// Random batches do to the store what they do to a map.
async fn agrees_with_a_model(store: &impl Store, seed: u64) {
    let mut random = Random(seed);
    let mut model = BTreeMap::<Bytes, Entry>::new();
    for _ in 0..MODEL_STEPS {
        let mut after = model.clone();
        let mut written = Vec::new();
        let mut holds = true;
        let mut batch = if random.below(2) == 0 {
            Batch::durable()
        } else {
            Batch::buffered()
        };
        for _ in 0..random.below(5) {
            let key = Bytes::from(vec![b'k', random.below(8) as u8]);
            let revision = model.get(&key).map(|entry| entry.revision);
            match random.below(5) {
                0 => {
                    after.remove(&key);
                    batch = batch.delete(A, key);
                }
                1 => {
                    let expect = [Expect::Absent, Expect::Revision(revision.unwrap_or(1))];
                    let expect = expect[random.below(2) as usize];
                    holds &= expect.holds(revision);
                    batch = batch.expect(A, key, expect);
                }
                _ => {
                    let value = Bytes::from(vec![random.below(256) as u8; random.below(6000) as usize]);
                    let entry = Entry {
                        value: value.clone(),
                        revision: 0,
                    };
                    after.insert(key.clone(), entry);
                    written.push(key.clone());
                    batch = batch.put(A, key, value);
                }
            }
        }
        match store.commit(batch).await {
            Ok(committed) if holds => {
                for key in written {
                    after
                        .entry(key)
                        .and_modify(|entry| entry.revision = committed.sequence);
                }
                model = after;
            }
            Err(StoreError::Conflict) if !holds => {}
            other => panic!("{other:?} where expectations hold: {holds}, seed {seed}"),
        }
        let found = store.scan(Scan::prefix(A, "k")).await.expect("scans");
        assert!(
            found.iter().map(|(key, entry)| (key, entry)).eq(&model),
            "seed {seed}"
        );
    }
}

/// Numbers that look random and are the same each time (splitmix64), so that a failure comes back.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
