//! Values, lattices, buckets and bindings at the level `lww`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use squall_state::lattice::{Body, Update};
use squall_state::{
    BucketSettings, Config, Keeping, Key, Level, SessionRequest, State, StateError, VALUE_BYTES_MAX, Value,
};
use squall_store::{Embedded, EmbeddedConfig, Memory, Store};

use crate::{bucket, get, key, make_bucket, open, session, state, text};

#[tokio::test]
async fn what_was_put_is_read_listed_and_deleted() {
    let state = state(1).await;
    let session = session(&state, Level::Lww, 0);
    for name in ["a", "b/1", "b/2", "c"] {
        session.put(&key(name), text(name)).await.expect("a write");
    }
    assert_eq!(get(&session, "b/1").await.as_deref(), Some("b/1"));
    session.delete(&key("b/1")).await.expect("a deletion");
    assert_eq!(get(&session, "b/1").await, None);
    assert_eq!(get(&session, "nothing").await, None);
    let listed = session
        .list(&bucket("shop"), b"b/", None, 10)
        .await
        .expect("a list");
    assert_eq!(listed, [key("b/2")]);
    let listed = session
        .list(&bucket("shop"), b"", Some(b"a"), 1)
        .await
        .expect("a list");
    assert_eq!(listed, [key("b/2")]);
}

#[tokio::test]
async fn every_lattice_does_what_it_is_for() {
    let state = state(1).await;
    let session = session(&state, Level::Lww, 0);
    assert_eq!(session.counter_add(&key("n"), 5).await.expect("adds"), 5);
    assert_eq!(session.counter_add(&key("n"), -7).await.expect("takes"), -2);
    let element = |text: &'static str| Bytes::from_static(text.as_bytes());
    session
        .set_add(&key("s"), vec![element("x"), element("y")])
        .await
        .expect("adds");
    session
        .set_remove(&key("s"), vec![element("x")])
        .await
        .expect("removes");
    let Body::Set(set) = session.read(&key("s")).await.expect("a read").body().clone() else {
        panic!("a set was written");
    };
    assert_eq!(set.elements().collect::<Vec<_>>(), [&element("y")]);
    session
        .map_put(&key("m"), element("f"), text("1"))
        .await
        .expect("writes");
    let Body::Map(map) = session.read(&key("m")).await.expect("a read").body().clone() else {
        panic!("a map was written");
    };
    assert_eq!(map.field(b"f"), Some(&text("1")));
    for number in [1.0, 3.0, 2.0] {
        session
            .update(&key("max"), Update::Max(number))
            .await
            .expect("raises");
        session
            .update(&key("min"), Update::Min(number))
            .await
            .expect("lowers");
        let scored = vec![(number, element("z")), (-number, element("a"))];
        session
            .update(&key("o"), Update::OrderedAdd(scored))
            .await
            .expect("scores");
    }
    let body = |capsule: &squall_state::lattice::Capsule| capsule.body().clone();
    let Body::Max(max) = body(&session.read(&key("max")).await.expect("a read")) else {
        panic!("a maximum")
    };
    let Body::Min(min) = body(&session.read(&key("min")).await.expect("a read")) else {
        panic!("a minimum")
    };
    assert_eq!((max.value(), min.value()), (3.0, 1.0));
    let Body::OrderedSet(set) = body(&session.read(&key("o")).await.expect("a read")) else {
        panic!("a set")
    };
    assert_eq!(set.elements(), [(-2.0, element("a")), (2.0, element("z"))]);
    let nan = session.update(&key("max"), Update::Max(f64::NAN)).await;
    assert!(matches!(nan, Err(StateError::Invalid(_))), "{nan:?}");
}

#[tokio::test]
async fn a_lattice_of_another_type_is_refused_by_both_names_until_the_key_is_deleted() {
    let state = state(1).await;
    let session = session(&state, Level::Lww, 0);
    session.counter_add(&key("k"), 1).await.expect("adds");
    let error = session
        .put(&key("k"), text("v"))
        .await
        .expect_err("a counter is no register");
    assert_eq!(
        error.to_string(),
        "`shop/k` holds a counter, and this operation is for a register: use another key, or delete this one"
    );
    assert!(session.get(&key("k")).await.is_err());
    assert_eq!(
        session
            .counter_add(&key("k"), 1)
            .await
            .expect("nothing has changed"),
        2
    );
    session.delete(&key("k")).await.expect("a deletion");
    session
        .put(&key("k"), text("v"))
        .await
        .expect("it may be something else now");
    session.delete(&key("k")).await.expect("a deletion");
    assert_eq!(session.counter_add(&key("k"), 1).await.expect("and again"), 1);
}

#[tokio::test]
async fn a_function_sees_its_own_bucket_and_those_bound_to_it() {
    let state = state(1).await;
    let function: squall_types::FunctionName = "resize".parse().expect("a name");
    let request = SessionRequest {
        function: Some(function.clone()),
        ..SessionRequest::default()
    };
    let session = state.session(request).expect("a session");
    let refused = session
        .put(&key("k"), text("v"))
        .await
        .expect_err("`shop` is not bound");
    assert_eq!(
        refused.to_string(),
        "bucket `shop` is not bound to function `resize`: bind it first"
    );
    let own = Key::new(bucket("resize"), "k").expect("a key");
    session
        .put(&own, text("v"))
        .await
        .expect("a function's own bucket is made when it is wanted");
    let unknown = state.bind(&function, &bucket("nowhere")).await;
    assert!(
        matches!(unknown, Err(StateError::UnknownBucket { .. })),
        "{unknown:?}"
    );
    state.bind(&function, &bucket("shop")).await.expect("it is bound");
    session.put(&key("k"), text("v")).await.expect("`shop` is bound");
    state
        .unbind(&function, &bucket("shop"))
        .await
        .expect("it is unbound");
    let refused = session.get(&key("k")).await;
    assert!(matches!(refused, Err(StateError::NotBound { .. })), "{refused:?}");
}

#[tokio::test]
async fn of_bindings_made_at_once_none_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its commits take time, which is when another binding could be overlooked.
    let store = Embedded::open(folder.path(), EmbeddedConfig::default()).expect("it opens");
    let store: Arc<dyn Store> = Arc::new(store);
    let state = open(&store, Config::default()).await;
    let function: squall_types::FunctionName = "resize".parse().expect("a name");
    let names: Vec<_> = (0..20).map(|number| bucket(&format!("b{number:02}"))).collect();
    for name in &names {
        let made = state.create_bucket(name.clone(), BucketSettings::default()).await;
        made.expect("it is made");
    }
    let mut binding = tokio::task::JoinSet::new();
    for name in names.clone() {
        let (state, function) = (state.clone(), function.clone());
        binding.spawn(async move { state.bind(&function, &name).await });
    }
    for bound in binding.join_all().await {
        bound.expect("it is bound");
    }
    assert_eq!(state.bound(&function), names);
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let state = state(1).await;
    let session = session(&state, Level::Lww, 0);
    let nowhere = Key::new(bucket("nowhere"), "k").expect("a key");
    let error = session.get(&nowhere).await.expect_err("there is no such bucket");
    assert_eq!(error.to_string(), "there is no bucket `nowhere`: create it first");
    assert!(Key::new(bucket("shop"), Bytes::new()).is_err());
    assert!(Key::new(bucket("shop"), vec![0; 1001]).is_err());
    assert!("no/slash".parse::<squall_state::BucketName>().is_err());
    let other = BucketSettings {
        keeping: Keeping::Memory,
        ..BucketSettings::default()
    };
    let error = state
        .create_bucket(bucket("shop"), other)
        .await
        .expect_err("it is durable");
    assert!(matches!(error, StateError::BucketExists { .. }));
    let large = Value::bytes(vec![0; VALUE_BYTES_MAX + 1]);
    let error = session.put(&key("k"), large).await.expect_err("it is too large");
    assert!(matches!(error, StateError::TooLarge { .. }));
}

#[tokio::test]
async fn durable_and_buffered_buckets_are_there_after_a_restart_and_memory_is_not() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let names = [
        ("d", Keeping::Durable),
        ("b", Keeping::Buffered),
        ("m", Keeping::Memory),
    ];
    let first = open(&store, Config::default()).await;
    for (name, keeping) in names {
        make_bucket(&first, name, keeping).await;
        let key = Key::new(bucket(name), "k").expect("a key");
        session(&first, Level::Lww, 0)
            .put(&key, text(name))
            .await
            .expect("a write");
        let counter = Key::new(bucket(name), "n").expect("a key");
        session(&first, Level::Lww, 0)
            .counter_add(&counter, 1)
            .await
            .expect("adds");
    }
    drop(first);
    let second = open(&store, Config::default()).await;
    for (name, keeping) in names {
        let key = Key::new(bucket(name), "k").expect("a key");
        let found = session(&second, Level::Lww, 0).get(&key).await.expect("a read");
        let expected = (keeping != Keeping::Memory).then(|| text(name));
        assert_eq!(found, expected, "{name}");
        let counter = Key::new(bucket(name), "n").expect("a key");
        let now = session(&second, Level::Lww, 0)
            .counter_add(&counter, 1)
            .await
            .expect("adds");
        assert_eq!(now, if keeping == Keeping::Memory { 1 } else { 2 }, "{name}");
    }
}

#[tokio::test]
async fn a_value_larger_than_a_record_is_kept_in_chunks_that_go_with_it() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let first = open(&store, Config::default()).await;
    make_bucket(&first, "shop", Keeping::Durable).await;
    let large = Value::bytes(vec![7; 20 * 1024 * 1024]);
    session(&first, Level::Lww, 0)
        .put(&key("k"), large.clone())
        .await
        .expect("a write");
    let second = open(&store, Config::default()).await;
    let found = session(&second, Level::Lww, 0)
        .get(&key("k"))
        .await
        .expect("a read");
    assert!(found == Some(large));
    session(&second, Level::Lww, 0)
        .put(&key("k"), text("small"))
        .await
        .expect("a write");
    let chunks = squall_store::Scan::prefix(squall_store::Space("state_chunks"), Bytes::new());
    assert_eq!(store.scan(chunks).await.expect("a scan").len(), 0);
}

async fn small_memory_bucket(max: u64, idle_after: Option<Duration>) -> State {
    let state = state(1).await;
    let settings = BucketSettings {
        keeping: Keeping::Memory,
        memory_bytes_max: max,
        idle_after,
        ..BucketSettings::default()
    };
    state
        .create_bucket(bucket("small"), settings)
        .await
        .expect("it is made");
    state
}

#[tokio::test]
async fn a_memory_bucket_is_bounded_and_frees_what_is_deleted() {
    let state = small_memory_bucket(10_000, None).await;
    let session = session(&state, Level::Lww, 0);
    let of = |name: &str| Key::new(bucket("small"), name.to_owned()).expect("a key");
    session
        .put(&of("a"), Value::bytes(vec![0; 9_000]))
        .await
        .expect("it fits");
    let error = session
        .put(&of("b"), Value::bytes(vec![0; 9_000]))
        .await
        .expect_err("it is full");
    assert_eq!(error.to_string(), "bucket `small` is full: 10000 are allowed");
    session.delete(&of("a")).await.expect("a deletion");
    assert_eq!(state.memory_bytes(&bucket("small")).expect("it is there"), 0);
    session
        .put(&of("b"), Value::bytes(vec![0; 9_000]))
        .await
        .expect("it fits now");
    state.delete_bucket(&bucket("small")).await.expect("it goes");
    assert!(session.get(&of("b")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_memory_bucket_that_nobody_uses_is_emptied() {
    let state = small_memory_bucket(10_000, Some(Duration::from_secs(60))).await;
    let of = Key::new(bucket("small"), "a").expect("a key");
    session(&state, Level::Lww, 0)
        .put(&of, text("v"))
        .await
        .expect("a write");
    tokio::time::advance(Duration::from_secs(59)).await;
    state.sync().await;
    assert!(state.memory_bytes(&bucket("small")).expect("it is there") > 0);
    tokio::time::advance(Duration::from_secs(2)).await;
    state.sync().await;
    assert_eq!(state.memory_bytes(&bucket("small")).expect("it is there"), 0);
}

#[tokio::test]
async fn a_deleted_bucket_leaves_nothing_behind() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let state = open(&store, Config::default()).await;
    make_bucket(&state, "shop", Keeping::Durable).await;
    let writer = session(&state, Level::Lww, 0);
    for number in 0..600 {
        writer
            .put(&key(&format!("k{number}")), text("v"))
            .await
            .expect("a write");
    }
    writer.delete(&key("k7")).await.expect("a deletion");
    state.delete_bucket(&bucket("shop")).await.expect("it goes");
    for space in ["state_values", "state_keys", "state_tombstones"] {
        let scan = squall_store::Scan::prefix(squall_store::Space(space), Bytes::new());
        assert_eq!(store.scan(scan).await.expect("a scan").len(), 0, "{space}");
    }
    make_bucket(&state, "shop", Keeping::Durable).await;
    assert_eq!(get(&writer, "k1").await, None);
}
