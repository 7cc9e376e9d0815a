//! What people say of a function's log: how long to keep it, and labels. Few, so all are in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::FunctionName;

use super::LogStore;
use crate::{Batch, Scan, Space, Store, StoreError};

const GROUPS: Space = Space("log_groups");
const FORMAT: u8 = 1;

/// What is said of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Since when there is one, in milliseconds since 1970; `None` where nobody made it but its first line.
    pub created_ms: Option<i64>,
    /// How long lines are kept; `None` for as long as the server keeps lines.
    pub retention_days: Option<u32>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
}

/// All that was said.
pub(super) type Groups = Arc<Mutex<HashMap<FunctionName, LogGroup>>>;

pub(super) async fn read(store: &Arc<dyn Store>) -> Result<Groups, StoreError> {
    let mut groups = HashMap::new();
    for (key, entry) in store.scan(Scan::prefix(GROUPS, Bytes::new())).await? {
        let (function, group) = decode(&key, &entry.value)?;
        groups.insert(function, group);
    }
    Ok(Arc::new(Mutex::new(groups)))
}

fn decode(key: &[u8], value: &[u8]) -> Result<(FunctionName, LogGroup), StoreError> {
    let damaged = || StoreError::Corrupt(format!("the log group `{}` cannot be read", key.escape_ascii()));
    let name = std::str::from_utf8(key).ok().and_then(|name| name.parse().ok());
    let (FORMAT, body) = value
        .split_first()
        .map(|(format, body)| (*format, body))
        .ok_or_else(damaged)?
    else {
        return Err(damaged());
    };
    let group = postcard::from_bytes(body).map_err(|_| damaged())?;
    Ok((name.ok_or_else(damaged)?, group))
}

fn encode(group: &LogGroup) -> Vec<u8> {
    postcard::to_extend(group, vec![FORMAT]).expect("text and numbers always encode")
}

fn lock(groups: &Groups) -> MutexGuard<'_, HashMap<FunctionName, LogGroup>> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStore {
    /// What was said of a function's log.
    pub fn group(&self, function: &FunctionName) -> Option<LogGroup> {
        lock(&self.groups).get(function).cloned()
    }

    /// All of whose logs something was said.
    pub fn groups(&self) -> BTreeMap<FunctionName, LogGroup> {
        let groups = lock(&self.groups);
        groups
            .iter()
            .map(|(function, group)| (function.clone(), group.clone()))
            .collect()
    }

    /// Says something of a function's log.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_group(&self, function: &FunctionName, group: LogGroup) -> Result<(), StoreError> {
        let key = function.as_str().as_bytes().to_vec();
        self.store
            .commit(Batch::durable().put(GROUPS, key, encode(&group)))
            .await?;
        lock(&self.groups).insert(function.clone(), group);
        Ok(())
    }

    /// Forgets what was said of a function's log. Its lines, [`LogStore::forget`] removes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_group(&self, function: &FunctionName) -> Result<(), StoreError> {
        let key = function.as_str().as_bytes().to_vec();
        self.store.commit(Batch::durable().delete(GROUPS, key)).await?;
        lock(&self.groups).remove(function);
        Ok(())
    }

    /// How long a function's lines are kept.
    pub(super) fn retention_ms(&self, function: &FunctionName) -> i64 {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        let days = lock(&self.groups)
            .get(function)
            .and_then(|group| group.retention_days);
        let standard = || i64::try_from(self.config.retention.as_millis()).unwrap_or(i64::MAX);
        days.map_or_else(standard, |days| i64::from(days) * DAY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_format_is_read_for_ever() {
        let fixture = b"\x01\x01\x0e\x01\x1e\x01\x01a\x01b";
        let (function, group) = decode(b"shop", fixture).expect("a group");
        assert_eq!(
            (function.as_str(), group.created_ms, group.retention_days),
            ("shop", Some(7), Some(30))
        );
        assert_eq!(group.tags["a"], "b");
        assert_eq!(encode(&group), fixture);
        assert!(decode(b"shop", b"\x02\x00").is_err());
    }
}
