//! What each level promises, shown on small stories; and what happens when a cache dies or a run is forgotten.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use squall_state::transport::{Unsteady, Weather};
use squall_state::{
    CacheId, Config, Keeping, Level, Session, SessionContext, SessionRequest, State, StateError,
};
use squall_store::Memory;

use crate::{get, key, make_bucket, session, state, text};

/// Two caches that hear of nothing by themselves.
async fn deaf(network: &Arc<Unsteady>) -> State {
    let config = Config {
        caches: 3,
        ..Config::default()
    };
    let state = State::open_with(Arc::new(Memory::new()), config, network.clone())
        .await
        .expect("it opens");
    make_bucket(&state, "shop", Keeping::Durable).await;
    state
}

fn silence() -> Arc<Unsteady> {
    Arc::new(Unsteady::new(Weather {
        seed: 1,
        call_delay_max: Duration::ZERO,
        push_delay_max: Duration::ZERO,
        push_loss_percent: 100,
    }))
}

fn next(state: &State, context: SessionContext, cache: u16) -> Session {
    let bytes = context.encode().expect("it is small");
    let request = SessionRequest {
        cache: CacheId(cache),
        travelling: Some(SessionContext::decode(&bytes).expect("its own bytes")),
        ..SessionRequest::default()
    };
    state.session(request).expect("the run goes on")
}

async fn put(session: &Session, name: &str, value: &str) {
    session.put(&key(name), text(value)).await.expect("a write");
}

#[tokio::test(start_paused = true)]
async fn at_lww_a_cache_is_stale_until_it_has_caught_up() {
    let state = deaf(&silence()).await;
    let (a, b) = (session(&state, Level::Lww, 0), session(&state, Level::Lww, 1));
    put(&a, "k", "1").await;
    assert_eq!(get(&b, "k").await.as_deref(), Some("1"));
    put(&a, "k", "2").await;
    assert_eq!(get(&b, "k").await.as_deref(), Some("1"), "nobody has told it");
    state.sync().await;
    assert_eq!(get(&b, "k").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn in_one_process_every_cache_hears_of_a_write_at_once() {
    let state = state(3).await;
    let (a, b) = (session(&state, Level::Lww, 0), session(&state, Level::Lww, 2));
    for value in ["1", "2", "3"] {
        put(&a, "k", value).await;
        assert_eq!(get(&b, "k").await.as_deref(), Some(value));
    }
    assert_eq!(
        state.cached_on(&[key("k"), key("l")]),
        [(CacheId(0), 1), (CacheId(1), 0), (CacheId(2), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeated_read_finds_the_first_version_in_the_cache_that_kept_it() {
    let state = deaf(&silence()).await;
    let other = session(&state, Level::Lww, 2);
    put(&other, "k", "1").await;
    let first = session(&state, Level::RepeatableRead, 0);
    assert_eq!(get(&first, "k").await.as_deref(), Some("1"));
    put(&other, "k", "2").await;
    let second = next(&state, first.finish(), 1);
    assert_eq!(get(&second, "k").await.as_deref(), Some("1"));
    put(&second, "k", "own").await;
    put(&other, "k", "3").await;
    let third = next(&state, second.finish(), 2);
    assert_eq!(
        get(&third, "k").await.as_deref(),
        Some("own"),
        "what the run wrote is what it reads"
    );
    third.commit().await.expect("it ends");
    assert_eq!(get(&other, "k").await.as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_dies_with_a_snapshot_makes_the_run_start_again() {
    let network = silence();
    let state = deaf(&network).await;
    let other = session(&state, Level::Lww, 2);
    for lost in ["its memory", "its connection"] {
        put(&other, "k", "1").await;
        let first = session(&state, Level::RepeatableRead, 0);
        get(&first, "k").await;
        put(&other, "k", "2").await;
        let second = next(&state, first.finish(), 1);
        if lost == "its memory" {
            state.lose_cache(CacheId(0)).expect("there is one");
        } else {
            network.cut_off(CacheId(0));
        }
        let error = second.get(&key("k")).await.expect_err("nobody has the version");
        assert_eq!(error.name(), "SnapshotLost", "{lost}");
        assert!(error.is_retryable());
        second.abort().await;
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_causal_writes_stay_side_by_side_until_one_has_seen_both() {
    let state = deaf(&silence()).await;
    put(&session(&state, Level::Causal, 0), "k", "0").await;
    let (a, b) = (
        session(&state, Level::SingleKeyCausal, 0),
        session(&state, Level::SingleKeyCausal, 1),
    );
    get(&a, "k").await;
    get(&b, "k").await;
    put(&a, "k", "a").await;
    put(&b, "k", "b").await;
    put(&b, "k", "b2").await;
    let all = session(&state, Level::SingleKeyCausal, 2);
    let values = all.get_all(&key("k")).await.expect("a read");
    assert_eq!(
        values,
        [text("b2"), text("a")],
        "the latest first, and its own predecessor gone"
    );
    put(&all, "k", "both").await;
    assert_eq!(all.get_all(&key("k")).await.expect("a read"), [text("both")]);
}

/// `reply` depends on `post`: whoever sees the reply sees the post.
#[tokio::test(start_paused = true)]
async fn a_causal_reader_never_sees_an_effect_without_its_cause() {
    let state = deaf(&silence()).await;
    for level in [Level::Lww, Level::MultiKeyCausal, Level::Causal] {
        let name = |key: &str| format!("{level}/{key}");
        let reader = session(&state, Level::Lww, 1);
        assert_eq!(
            get(&reader, &name("post")).await,
            None,
            "and its cache knows it as absent"
        );
        put(&session(&state, level, 0), &name("post"), "post").await;
        let replier = session(&state, level, 0);
        get(&replier, &name("post")).await;
        put(&replier, &name("reply"), "reply").await;
        let reader = session(&state, level, 1);
        assert_eq!(get(&reader, &name("reply")).await.as_deref(), Some("reply"));
        let post = get(&reader, &name("post")).await;
        let expected = (level != Level::Lww).then_some("post");
        assert_eq!(post.as_deref(), expected, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn causality_goes_with_a_run_from_cache_to_cache() {
    let state = deaf(&silence()).await;
    let stale = session(&state, Level::Lww, 1);
    assert_eq!(get(&stale, "post").await, None);
    put(&session(&state, Level::Causal, 0), "post", "post").await;
    let replier = session(&state, Level::Causal, 0);
    get(&replier, "post").await;
    put(&replier, "reply", "reply").await;
    for (level, expected) in [(Level::MultiKeyCausal, None), (Level::Causal, Some("post"))] {
        let first = session(&state, level, 0);
        assert_eq!(get(&first, "reply").await.as_deref(), Some("reply"));
        // Cache 1 has known `post` as absent since before it was written, and nobody has told it.
        let second = next(&state, first.finish(), 1);
        assert_eq!(get(&second, "post").await.as_deref(), expected, "{level}");
        second.commit().await.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_its_successor_was_depended_on_gets_the_older_version() {
    let state = deaf(&silence()).await;
    put(&session(&state, Level::Causal, 0), "a", "a1").await;
    put(&session(&state, Level::Causal, 0), "b", "b1").await;
    let reader = session(&state, Level::Causal, 1);
    assert_eq!(get(&reader, "a").await.as_deref(), Some("a1"));
    let writer = session(&state, Level::Causal, 0);
    put(&writer, "a", "a2").await;
    put(&writer, "b", "b2").await;
    // `b2` would need `a2`, and this run has read `a1`.
    assert_eq!(get(&reader, "b").await.as_deref(), Some("b1"));
}

#[tokio::test]
async fn an_atomic_run_is_seen_whole_at_its_end() {
    let state = state(2).await;
    let writer = session(&state, Level::Atomic, 0);
    put(&writer, "a", "1").await;
    put(&writer, "b", "1").await;
    assert_eq!(get(&writer, "a").await.as_deref(), Some("1"), "it sees its own");
    let reader = session(&state, Level::Atomic, 1);
    assert_eq!(get(&reader, "a").await, None);
    assert!(writer.commit().await.expect("it commits"));
    assert_eq!(get(&reader, "b").await, None, "it has read the other before");
    let after = session(&state, Level::Atomic, 1);
    assert_eq!(get(&after, "a").await.as_deref(), Some("1"));
    assert_eq!(get(&after, "b").await.as_deref(), Some("1"));
    let gone = session(&state, Level::Atomic, 0);
    put(&gone, "a", "2").await;
    gone.abort().await;
    assert_eq!(
        get(&session(&state, Level::Lww, 0), "a").await.as_deref(),
        Some("1")
    );
    assert!(matches!(
        gone.put(&key("a"), text("3")).await,
        Err(StateError::SessionOver)
    ));
}

#[tokio::test]
async fn the_writes_of_an_atomic_run_travel_with_it() {
    let state = state(2).await;
    let first = session(&state, Level::Atomic, 0);
    put(&first, "a", "1").await;
    first.counter_add(&key("n"), 2).await.expect("adds");
    let second = next(&state, first.finish(), 1);
    assert_eq!(get(&second, "a").await.as_deref(), Some("1"));
    assert_eq!(second.counter_add(&key("n"), 3).await.expect("adds"), 5);
    assert_eq!(get(&session(&state, Level::Lww, 0), "a").await, None);
    second.commit().await.expect("it commits");
    let reader = session(&state, Level::Atomic, 0);
    assert_eq!(reader.counter_add(&key("n"), 0).await.expect("a read"), 5);
    assert_eq!(get(&reader, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_transaction_is_bounded_and_a_wrong_lattice_undoes_all_of_it() {
    let state = state(1).await;
    session(&state, Level::Lww, 0)
        .counter_add(&key("n"), 1)
        .await
        .expect("adds");
    let writer = session(&state, Level::Atomic, 0);
    put(&writer, "a", "1").await;
    put(&writer, "n", "not a counter").await;
    let error = writer.commit().await.expect_err("`n` is a counter");
    assert_eq!(error.name(), "OtherLattice");
    assert_eq!(get(&session(&state, Level::Lww, 0), "a").await, None);
    let large = squall_state::Value::bytes(vec![0; 17 * 1024 * 1024]);
    let error = writer.put(&key("b"), large).await.expect_err("it is too large");
    assert_eq!(error.name(), "TooLarge");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_quiet_for_too_long_is_told_so() {
    let state = state(1).await;
    let context = state.begin(Level::Causal, None).expect("a run");
    tokio::time::advance(Duration::from_secs(1001)).await;
    state.sync().await;
    let request = SessionRequest {
        travelling: Some(context),
        ..SessionRequest::default()
    };
    let error = state.session(request).err().expect("it is forgotten");
    assert!(matches!(error, StateError::RunExpired) && error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn dependencies_go_when_everybody_is_past_them() {
    let state = state(2).await;
    let writer = session(&state, Level::Causal, 0);
    for number in 0..20 {
        put(&writer, &format!("k{number}"), "v").await;
        get(&writer, &format!("k{number}")).await;
    }
    let most = |state: &State| state.metadata_bytes(CacheId(0)).into_iter().max();
    let before = most(&state);
    writer.commit().await.expect("it ends");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(1)).await;
        state.sync().await;
    }
    for number in 0..20 {
        let writer = session(&state, Level::SingleKeyCausal, 0);
        put(&writer, &format!("k{number}"), "w").await;
    }
    assert!(most(&state) < before, "{:?} {before:?}", most(&state));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_forgotten_when_everybody_has_heard_of_it() {
    let state = state(2).await;
    let writer = session(&state, Level::Lww, 0);
    put(&writer, "k", "v").await;
    let reader = session(&state, Level::Lww, 1);
    get(&reader, "k").await;
    writer.delete(&key("k")).await.expect("a deletion");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(1)).await;
        state.sync().await;
    }
    assert_eq!(get(&reader, "k").await, None);
    put(&writer, "k", "again").await;
    assert_eq!(get(&reader, "k").await.as_deref(), Some("again"));
    let listed = writer
        .list(&key("k").bucket, b"", None, 10)
        .await
        .expect("a list");
    assert_eq!(listed, [key("k")]);
}

#[test]
fn bytes_that_are_no_context_are_refused() {
    for bytes in [&b""[..], b"\x01", b"\x02abc", b"\x01\xff\xff\xff\xff"] {
        let error = SessionContext::decode(&Bytes::copy_from_slice(bytes)).expect_err("no context");
        assert_eq!(error.name(), "InvalidRequest");
    }
}
