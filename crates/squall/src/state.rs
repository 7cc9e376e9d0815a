//! The functions' state as the other engines need it: opened here, wired in `node`.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use squall_host::to_state;
use squall_state::{CacheId, Config, Key, SessionRequest, State, StateError};
use squall_store::Store;
use squall_types::{FunctionName, FunctionRef, MIB};
use squall_workflow::dag::{Reference, RunId, SharedState, Value};

use crate::up::UpArgs;

/// Opens what the store holds.
///
/// # Errors
/// When the store cannot be read, or its records are damaged.
pub(crate) async fn open(args: &UpArgs, store: Arc<dyn Store>) -> anyhow::Result<State> {
    let bytes = usize::try_from(u64::from(args.state_cache_mib) * MIB).context("the caches are too large")?;
    let config = Config {
        caches: args.state_caches,
        cache_bytes_max: bytes / usize::from(args.state_caches.max(1)),
        ..Config::default()
    };
    Ok(State::open(store, config).await?)
}

/// State as runs of DAGs see it.
pub(crate) struct RunState(pub(crate) State);

#[async_trait]
impl SharedState for RunState {
    fn caches(&self) -> u16 {
        u16::try_from(self.0.cache_sizes().len()).unwrap_or(u16::MAX)
    }

    fn cached_on(&self, keys: &[&Reference]) -> Vec<usize> {
        // A name that cannot be is nowhere; the function that asks for it gets the error.
        let keys: Vec<Key> = keys.iter().filter_map(|key| key_of(key).ok()).collect();
        let counts = self.0.cached_on(&keys).into_iter();
        counts.map(|(_, count)| count).collect()
    }

    fn begin(&self, level: Option<&str>, run: RunId) -> Result<Option<Bytes>, String> {
        let begun = || {
            let session = self.0.session(SessionRequest {
                level: level.map(str::parse).transpose()?.unwrap_or_default(),
                transaction: Some(run.to_string()),
                ..SessionRequest::default()
            })?;
            session.finish().encode().map(Some)
        };
        begun().map_err(|error: StateError| error.to_string())
    }

    fn sees_what(&self, one: &FunctionRef, others: &[FunctionRef]) -> bool {
        let seen = |function: &FunctionName| -> BTreeSet<String> {
            let bound = self.0.bound(function).into_iter();
            let own = function.to_string();
            bound.map(|bucket| bucket.to_string()).chain([own]).collect()
        };
        let mut of_others: BTreeSet<String> = others.iter().flat_map(|other| seen(&other.name)).collect();
        of_others.insert(one.name.to_string());
        seen(&one.name) == of_others
    }

    async fn put(&self, key: &Reference, value: &Value) -> Result<(), String> {
        let put = async {
            let key = key_of(key)?;
            let session = self.0.session(SessionRequest {
                cache: CacheId(0),
                ..SessionRequest::default()
            })?;
            let value = squall_state::Value {
                bytes: value.bytes.clone(),
                encoding: to_state(value.encoding),
            };
            session.put(&key, value).await?;
            session.commit().await
        };
        let put: Result<bool, StateError> = put.await;
        put.map(drop).map_err(|error| error.to_string())
    }
}

fn key_of(reference: &Reference) -> Result<Key, StateError> {
    Key::new(reference.bucket.parse()?, reference.key.clone())
}
