//! The registered DAGs: in memory to call them, in the store to keep them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use squall_store::{Batch, Scan, Store};

use super::record::{self, DAGS, DagRecord};
use super::{DagError, Spec, Topology};

/// The longest name of a DAG.
const NAME_CHARS_MAX: usize = 128;

/// DAGs by name.
pub(crate) struct Catalog {
    store: Arc<dyn Store>,
    dags: RwLock<BTreeMap<String, Arc<Topology>>>,
    /// One change at a time, so that memory and store agree on the last.
    changing: tokio::sync::Mutex<()>,
    dags_max: usize,
}

impl Catalog {
    pub(crate) async fn open(store: Arc<dyn Store>, dags_max: usize) -> Result<Self, DagError> {
        let mut dags = BTreeMap::new();
        for (key, entry) in store.scan(Scan::prefix(DAGS, "")).await? {
            let what = format!("the DAG `{}`", String::from_utf8_lossy(&key));
            let (record, _): (DagRecord, _) = record::decode(&what, entry.value)?;
            dags.insert(record.name, Arc::new(Topology::new(record.spec)?));
        }
        Ok(Self {
            store,
            dags: RwLock::new(dags),
            changing: tokio::sync::Mutex::new(()),
            dags_max,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Topology>, DagError> {
        let dags = self.dags.read().unwrap_or_else(PoisonError::into_inner);
        let found = dags.get(name).cloned();
        found.ok_or_else(|| DagError::NotFound(format!("there is no DAG `{name}`")))
    }

    pub(crate) fn all(&self) -> Vec<(String, Arc<Topology>)> {
        let dags = self.dags.read().unwrap_or_else(PoisonError::into_inner);
        dags.iter()
            .map(|(name, dag)| (name.clone(), dag.clone()))
            .collect()
    }

    /// Keeps a DAG under a name, in the place of one that was there.
    pub(crate) async fn put(&self, name: &str, spec: Spec) -> Result<Arc<Topology>, DagError> {
        check_name(name)?;
        let topology = Arc::new(Topology::new(spec)?);
        let _changing = self.changing.lock().await;
        if self.get(name).is_err() && self.all().len() >= self.dags_max {
            let text = format!("there are {} DAGs, as many as may be", self.dags_max);
            return Err(DagError::Throttled(text));
        }
        let record = DagRecord {
            name: name.to_owned(),
            spec: topology.spec.clone(),
            registered_at_ms: now_ms(),
        };
        let batch = Batch::durable().put(DAGS, name.to_owned(), record::encode(&record, b""));
        self.store.commit(batch).await?;
        let mut dags = self.dags.write().unwrap_or_else(PoisonError::into_inner);
        dags.insert(name.to_owned(), topology.clone());
        Ok(topology)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), DagError> {
        let _changing = self.changing.lock().await;
        self.get(name)?;
        self.store
            .commit(Batch::durable().delete(DAGS, name.to_owned()))
            .await?;
        self.dags
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), DagError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.bytes().all(allowed);
    if is_name && !name.starts_with('.') {
        return Ok(());
    }
    Err(DagError::Invalid(format!(
        "`{name}` is not a name of a DAG: use 1 to {NAME_CHARS_MAX} of letters, digits, `-`, `_` and `.`"
    )))
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
