//! Changes of functions take effect: replaced revisions drain, deleted functions lose their waiting events.

use std::sync::Arc;

use squall_registry::Change;
use squall_types::RevisionId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::dispatcher::Inner;
use crate::queue;

/// Runs until it is dropped.
pub(crate) async fn run(inner: &Arc<Inner>, mut changes: broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::RevisionReplaced(revision)) => retire(inner, revision),
            Ok(Change::FunctionDeleted(name)) => {
                inner.metrics.forget(&name);
                queue::forget(inner, &name);
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    missed,
                    "missed changes of functions; comparing all pools with the registry"
                );
                catch_up(inner);
            }
            // The registry is gone, so nothing changes any more.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn retire(inner: &Arc<Inner>, revision: RevisionId) {
    let effects = inner.state().pools.retire(revision, Instant::now());
    inner.carry_out(effects);
}

/// Retires every revision that nothing resolves to any more. Events of deleted functions are found when they are due.
fn catch_up(inner: &Arc<Inner>) {
    let revisions = inner.state().pools.revisions();
    for revision in revisions {
        if !inner.resolver.is_current(revision) {
            retire(inner, revision);
        }
    }
}
