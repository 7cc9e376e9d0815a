//! Objects, with the outbox of `events` as the way by which their changes are told.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use squall_events::Clock;
use squall_events::outbox::{Outbox, Parcel};
use squall_objects::{Announce, CommitError, Notice, Objects, ObjectsConfig};
use squall_store::{Batch, Committed, Store};
use squall_types::Home;

/// A notification is tried for so long: a day, as on AWS at most.
const TRIED_MS: i64 = 24 * 3600 * 1000;
const RETRIES_MAX: u32 = 185;

struct ByOutbox {
    store: Arc<dyn Store>,
    outbox: Outbox,
    clock: Clock,
}

#[async_trait]
impl Announce for ByOutbox {
    async fn commit(&self, batch: Batch, notices: Vec<Notice>) -> Result<Committed, CommitError> {
        if notices.is_empty() {
            return self.store.commit(batch).await.map_err(CommitError::Store);
        }
        let room = self.outbox.reserve(notices.len()).ok_or(CommitError::Full)?;
        let expires_ms = self.clock.now_ms() + TRIED_MS;
        let parcel = |notice: Notice| Parcel {
            id: notice.id,
            target: notice.target,
            body: notice.body,
            attributes: std::collections::BTreeMap::new(),
            retries_max: RETRIES_MAX,
            expires_ms,
            dead_letter: None,
            source: notice.source,
            failures: 0,
            given_up: None,
        };
        let parcels: Vec<Parcel> = notices.into_iter().map(parcel).collect();
        let committed = self.store.commit(Outbox::write(batch, &parcels)).await;
        let committed = committed.map_err(CommitError::Store)?;
        self.outbox.posted(room, committed.appended.clone());
        Ok(committed)
    }
}

/// Opens the objects of a data folder.
///
/// # Errors
/// When the store fails or holds something damaged, or the folder cannot be made.
pub(crate) async fn open(
    store: Arc<dyn Store>,
    home: Home,
    data_dir: &Path,
    outbox: Outbox,
) -> anyhow::Result<Objects> {
    let announce = ByOutbox {
        store: store.clone(),
        outbox,
        clock: Clock::host(),
    };
    let config = ObjectsConfig::new(home, data_dir.join("objects"));
    Ok(Objects::open(store, Arc::new(announce), config).await?)
}

/// Removes what a crash left behind, once.
pub(crate) async fn sweep(objects: Objects) {
    if let Err(error) = objects.sweep().await {
        tracing::error!(%error, "could not remove bodies that nothing names");
    }
}
