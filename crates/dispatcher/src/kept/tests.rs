//! What is put is found until its time is over, also by who opens the store again; bounds are kept.

use std::time::UNIX_EPOCH;

use squall_store::Memory;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn id(number: u8) -> KeptId {
    [number; 16]
}

async fn open(store: &Arc<dyn Store>, records_max: usize) -> Kept {
    let limits = Limits {
        retention: HOUR,
        records_max,
        bytes_max: 1000,
    };
    Kept::open(store.clone(), b'r', limits).await.expect("readable")
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

async fn put(kept: &Kept, number: u8, text: &'static str, from: SystemTime) {
    let mut put = kept.put(id(number), Bytes::from_static(text.as_bytes()), from);
    let mut batch = Batch::durable();
    batch.ops = std::mem::take(&mut put.ops);
    kept.store.commit(batch).await.expect("written");
    kept.noted(&put);
}

#[track_caller]
fn check(found: Result<Option<(Bytes, i64)>, StoreError>, expected: Option<(&'static str, i64)>) {
    let expected = expected.map(|(text, until)| (Bytes::from_static(text.as_bytes()), until));
    assert_eq!(found.expect("readable"), expected);
}

async fn stored(store: &Arc<dyn Store>) -> usize {
    store
        .scan(Scan::prefix(OUTCOMES, vec![]))
        .await
        .expect("readable")
        .len()
}

#[tokio::test]
async fn a_record_is_found_until_its_time_is_over_and_then_removed() {
    let store = memory();
    let kept = open(&store, 9).await;
    put(&kept, 1, "one", at(0)).await;
    put(&kept, 2, "two", at(10)).await;
    check(kept.get(id(1), at(3599)).await, Some(("one", 3_600_000)));
    check(kept.get(id(1), at(3600)).await, None);
    kept.sweep(at(3600)).await.expect("removed");
    check(kept.get(id(2), at(3600)).await, Some(("two", 3_610_000)));
    assert_eq!(stored(&store).await, 2);
}

#[tokio::test]
async fn who_opens_again_finds_what_was_put_last() {
    let store = memory();
    let kept = open(&store, 9).await;
    put(&kept, 1, "one", at(0)).await;
    put(&kept, 1, "again", at(5)).await;
    put(&kept, 1, "and again", at(5)).await;
    assert_eq!(stored(&store).await, 2);
    let kept = open(&store, 9).await;
    check(kept.get(id(1), at(3601)).await, Some(("and again", 3_605_000)));
    check(kept.get(id(2), at(3601)).await, None);
}

#[tokio::test]
async fn past_the_bounds_the_oldest_go() {
    let store = memory();
    let kept = open(&store, 2).await;
    for number in 1..=2 {
        put(&kept, number, "x", at(number.into())).await;
    }
    assert!(kept.is_full(0) && !kept.is_over());
    put(&kept, 3, "x", at(3)).await;
    assert!(kept.is_over());
    kept.sweep(at(4)).await.expect("removed");
    check(kept.get(id(1), at(4)).await, None);
    check(kept.get(id(3), at(4)).await, Some(("x", 3_603_000)));
    // Bytes count too, and what comes anew under an id counts once.
    let long: &'static str = "y".repeat(990).leak();
    put(&kept, 3, long, at(4)).await;
    assert!(!kept.is_over() && kept.is_full(0));
    put(&kept, 2, long, at(4)).await;
    assert!(kept.is_over());
}

#[test]
fn a_sealed_record_is_read_and_a_damaged_one_refused() {
    let sealed = seal(3, &(7u32, "text"), 0);
    assert_eq!(unseal::<(u32, &str)>(3, &sealed), Ok((7, "text")));
    assert!(unseal::<(u32, &str)>(2, &sealed).is_err());
    for place in 0..sealed.len() {
        let mut damaged = sealed.to_vec();
        damaged[place] ^= 1;
        assert!(unseal::<(u32, &str)>(3, &damaged).is_err(), "{place}");
    }
}
