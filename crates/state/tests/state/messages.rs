//! Messages between functions, and the feed of changes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_state::{BucketSettings, ChangeKind, Config, Level, State, StateError};
use squall_store::{Batch, Committed, Entry, Memory, Scan, Space, Store, StoreError};

use crate::{bucket, key, open, session, state, text};

const SOON: Duration = Duration::from_secs(5);

async fn watched(store: &Arc<dyn Store>, changes_max: u64) -> State {
    let config = Config {
        changes_max,
        ..Config::default()
    };
    let state = open(store, config).await;
    let settings = BucketSettings {
        keeps_changes: true,
        ..BucketSettings::default()
    };
    state
        .create_bucket(bucket("shop"), settings)
        .await
        .expect("it is made");
    state
}

#[tokio::test]
async fn messages_wait_for_a_receiver_that_starts_again() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let first = open(&store, Config::default()).await;
    for number in 0..3 {
        let message = Bytes::from(format!("m{number}"));
        first.mailbox().send("actor", message).await.expect("it is kept");
    }
    let received = first.mailbox().recv("actor", SOON).await.expect("a message");
    assert_eq!(received.as_deref(), Some(&b"m0"[..]));
    drop(first);
    let second = open(&store, Config::default()).await;
    for expected in ["m1", "m2"] {
        let received = second.mailbox().recv("actor", SOON).await.expect("a message");
        assert_eq!(received.as_deref(), Some(expected.as_bytes()));
    }
    assert_eq!(
        second
            .mailbox()
            .recv("actor", Duration::ZERO)
            .await
            .expect("no message"),
        None
    );
}

#[tokio::test]
async fn a_waiting_receiver_is_woken() {
    let state = state(1).await;
    state.mailbox().register("a").expect("a valid id");
    let mailbox = state.mailbox().clone();
    let waiting = tokio::spawn(async move { mailbox.recv("a", SOON).await });
    tokio::task::yield_now().await;
    state
        .mailbox()
        .send("a", Bytes::from_static(b"hello"))
        .await
        .expect("it is sent");
    let received = waiting.await.expect("it ends").expect("a message");
    assert_eq!(received.as_deref(), Some(&b"hello"[..]));
}

/// Has written what it was given, and answers one turn later: who asked may be gone by then.
struct Late(Memory);

#[async_trait]
impl Store for Late {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.0.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let done = self.0.commit(batch).await;
        tokio::task::yield_now().await;
        done
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        let found = self.0.scan(scan).await;
        tokio::task::yield_now().await;
        found
    }
}

/// Polls a future so often, and drops it, as a caller does whose time is over.
async fn dropped_after(polls: usize, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        poll_fn(|context| {
            let is_over = future.as_mut().poll(context).is_ready();
            assert!(!is_over, "it was to be dropped in the middle");
            Poll::Ready(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_receiver_that_goes_in_the_middle_leaves_its_message_to_the_next() {
    // It goes while it waits for the message, and while it waits for the message's removal.
    for polls in 1..=2 {
        let first = open(
            &(Arc::new(Late(Memory::new())) as Arc<dyn Store>),
            Config::default(),
        )
        .await;
        let mailbox = first.mailbox();
        for message in ["m0", "m1"] {
            mailbox.send("actor", message.into()).await.expect("it is sent");
        }
        let counted = mailbox.recv("actor", SOON).await.expect("a message");
        assert_eq!(counted.as_deref(), Some(&b"m0"[..]));
        mailbox.send("actor", "m2".into()).await.expect("it is sent");
        dropped_after(polls, mailbox.recv("actor", SOON)).await;
        for expected in ["m1", "m2"] {
            let received = mailbox.recv("actor", SOON).await.expect("a message");
            assert_eq!(
                received.as_deref(),
                Some(expected.as_bytes()),
                "after {polls} polls"
            );
        }
        let nothing = mailbox.recv("actor", Duration::ZERO).await.expect("no message");
        assert_eq!(nothing, None);
    }
}

#[tokio::test]
async fn a_message_whose_sender_goes_in_the_middle_keeps_no_other_from_its_receiver() {
    let state = open(
        &(Arc::new(Late(Memory::new())) as Arc<dyn Store>),
        Config::default(),
    )
    .await;
    let mailbox = state.mailbox();
    mailbox.send("actor", "m0".into()).await.expect("it is sent");
    dropped_after(1, mailbox.send("actor", "m1".into())).await;
    mailbox.send("actor", "m2".into()).await.expect("it is sent");
    for expected in ["m0", "m1", "m2"] {
        let received = mailbox.recv("actor", Duration::ZERO).await.expect("a message");
        assert_eq!(received.as_deref(), Some(expected.as_bytes()));
    }
    let nothing = mailbox.recv("actor", Duration::ZERO).await.expect("no message");
    assert_eq!(nothing, None);
}

#[tokio::test]
async fn an_inbox_that_nobody_reads_is_full_at_its_bound() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let config = Config {
        inbox_messages_max: 2,
        message_bytes_max: 10,
        ..Config::default()
    };
    let state = open(&store, config).await;
    let send = |message: &'static [u8]| {
        let mailbox = state.mailbox().clone();
        async move { mailbox.send("nobody", Bytes::from_static(message)).await }
    };
    send(b"1").await.expect("there is room");
    send(b"2").await.expect("there is room");
    let error = send(b"3").await.expect_err("it is full");
    assert_eq!(
        error.to_string(),
        "the inbox of `nobody` is full: nobody has received 2 messages"
    );
    assert!(matches!(
        send(b"more than ten").await,
        Err(StateError::TooLarge { .. })
    ));
    state.mailbox().recv("nobody", SOON).await.expect("a message");
    send(b"3").await.expect("there is room again");
}

#[tokio::test]
async fn changes_come_in_order_and_stay_until_they_are_trimmed() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let first = watched(&store, 100).await;
    let writer = session(&first, Level::Lww, 0);
    for name in ["a/1", "b/1", "a/2"] {
        writer.put(&key(name), text("v")).await.expect("a write");
    }
    writer.delete(&key("a/1")).await.expect("a deletion");
    drop(writer);
    drop(first);
    let second = watched(&store, 100).await;
    let mut watch = second
        .watch(&bucket("shop"), "a/", None)
        .expect("it keeps changes");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watch.next().await.expect("a change"));
    }
    let told: Vec<(&[u8], ChangeKind)> = seen.iter().map(|change| (&change.key[..], change.kind)).collect();
    let expected: [(&[u8], ChangeKind); 3] = [
        (b"a/1", ChangeKind::Written),
        (b"a/2", ChangeKind::Written),
        (b"a/1", ChangeKind::Deleted),
    ];
    assert_eq!(told, expected);
    second
        .trim_changes(&bucket("shop"), &seen[1].cursor)
        .await
        .expect("trims");
    let left = second.changes(&bucket("shop"), None, 10).await.expect("reads");
    assert_eq!(left, seen[2..]);
    let later = tokio::spawn(async move { watch.next().await });
    tokio::task::yield_now().await;
    session(&second, Level::Atomic, 0)
        .put(&key("a/9"), text("v"))
        .await
        .expect("a write that never is");
    session(&second, Level::Lww, 0)
        .put(&key("a/3"), text("v"))
        .await
        .expect("a write");
    assert_eq!(later.await.expect("it ends").expect("a change").key, "a/3");
}

#[tokio::test]
async fn a_feed_that_nobody_trims_refuses_writes_at_its_bound() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let state = watched(&store, 2).await;
    let writer = session(&state, Level::Lww, 0);
    writer.put(&key("k"), text("1")).await.expect("there is room");
    writer.put(&key("k"), text("2")).await.expect("there is room");
    let error = writer.put(&key("k"), text("3")).await.expect_err("it is full");
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    let changes = state.changes(&bucket("shop"), None, 10).await.expect("reads");
    state
        .trim_changes(&bucket("shop"), &changes[1].cursor)
        .await
        .expect("trims");
    writer
        .put(&key("k"), text("3"))
        .await
        .expect("there is room again");
}
