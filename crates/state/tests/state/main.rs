//! State as its callers use it: buckets, sessions at every level, messages, changes.

mod basics;
mod consistency;
mod messages;
mod sessions;

use std::sync::Arc;

use squall_state::{
    BucketName, BucketSettings, CacheId, Config, Keeping, Key, Level, Session, SessionRequest, State, Value,
};
use squall_store::{Memory, Store};

pub(crate) fn bucket(name: &str) -> BucketName {
    name.parse().expect("a valid name")
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(bucket("shop"), name.to_owned()).expect("a valid key")
}

pub(crate) async fn open(store: &Arc<dyn Store>, config: Config) -> State {
    State::open(store.clone(), config).await.expect("it opens")
}

/// A state in memory with the durable bucket `shop`.
pub(crate) async fn state(caches: u16) -> State {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let config = Config {
        caches,
        ..Config::default()
    };
    let state = open(&store, config).await;
    make_bucket(&state, "shop", Keeping::Durable).await;
    state
}

pub(crate) async fn make_bucket(state: &State, name: &str, keeping: Keeping) {
    let settings = BucketSettings {
        keeping,
        ..BucketSettings::default()
    };
    state
        .create_bucket(bucket(name), settings)
        .await
        .expect("it is made");
}

pub(crate) fn session(state: &State, level: Level, cache: u16) -> Session {
    let request = SessionRequest {
        level,
        cache: CacheId(cache),
        ..SessionRequest::default()
    };
    state.session(request).expect("a session begins")
}

pub(crate) fn text(value: &str) -> Value {
    Value::bytes(value.to_owned())
}

pub(crate) async fn get(session: &Session, name: &str) -> Option<String> {
    let value = session.get(&key(name)).await.expect("a read");
    value.map(|value| String::from_utf8(value.bytes.to_vec()).expect("text"))
}
