//! The level `atomic`: reads after AFT's rule, writes kept back until the commit.

use std::sync::Arc;

use super::{Read, Session};
use crate::home::{CommitRequest, KeyWrite};
use crate::lattice::{Capsule, Dependencies, Dot, Stamp, Update, Writer};
use crate::{Key, StateError};

/// The write that a session shows itself before it is one.
const UNCOMMITTED: Dot = Dot {
    writer: Writer::Anyone,
    stamp: Stamp {
        time: u64::MAX,
        node: u64::MAX,
    },
};

impl Session {
    /// What the run has written, on top of the one version that it has read.
    pub(super) async fn read_atomic(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        let pending = self.view().pending.get(key).cloned().unwrap_or_default();
        let replaced = pending
            .iter()
            .rposition(|update| matches!(update, Update::Put(_)));
        let (base, updates) = match replaced {
            Some(at) => (Arc::default(), &pending[at..]),
            None => (self.read_committed(key).await?, &pending[..]),
        };
        if updates.is_empty() {
            return Ok(base);
        }
        overlay(key, &base, updates)
    }

    async fn read_committed(&self, key: &Key) -> Result<Arc<Capsule>, StateError> {
        const ATTEMPTS: usize = 16;
        for _ in 0..ATTEMPTS {
            let known: Option<Read> = self.view().reads.get(key).cloned();
            if let Some(known) = known {
                return self.read_again(key, &known).await;
            }
            let capsule = self.find_fitting(key).await?;
            let mut view = self.view();
            if view.reads.contains_key(key) || !view.enforced.fits(key, &capsule) {
                continue;
            }
            self.cache()?.keep(self.run, key, &capsule)?;
            view.enforced.take_in(key, &capsule);
            view.saw(key, &capsule, self.cache);
            return Ok(capsule);
        }
        Err(StateError::inconsistent(key))
    }

    /// Keeps a write back. Tells at once when the key holds another lattice, as far as this run can see.
    pub(super) async fn buffer(&self, key: &Key, update: Update) -> Result<Arc<Capsule>, StateError> {
        let max = self.inner.config.transaction_bytes_max;
        let bytes = update.bytes() + key.key.len();
        let is_put = matches!(update, Update::Put(_));
        let shown = if is_put && !self.view().pending.contains_key(key) {
            // A blind write reads nothing; the home checks the lattice.
            overlay(key, &Arc::default(), std::slice::from_ref(&update))?
        } else {
            let now = self.read_atomic(key).await?;
            overlay(key, &now, std::slice::from_ref(&update))?
        };
        let mut view = self.view();
        if view.pending_bytes + bytes > max {
            return Err(StateError::TooLarge {
                what: "a transaction",
                bytes: view.pending_bytes + bytes,
                max,
            });
        }
        view.pending_bytes += bytes;
        view.pending.entry(key.clone()).or_default().push(update);
        Ok(shown)
    }

    /// Makes everything that was kept back visible. `false` when the transaction had been committed before.
    pub(super) async fn commit_pending(&self) -> Result<bool, StateError> {
        let writes = self.view().pending.clone();
        if writes.is_empty() {
            return Ok(true);
        }
        let writes = writes.into_iter().map(|(key, updates)| KeyWrite {
            key,
            updates,
            observed: None,
            stamp: None,
        });
        let request = CommitRequest {
            writes: writes.collect(),
            dependencies: Dependencies::new(),
            together: true,
            transaction: self.transaction.clone(),
        };
        Ok(!self.commit_at_home(request).await?.repeated)
    }
}

fn overlay(key: &Key, base: &Arc<Capsule>, updates: &[Update]) -> Result<Arc<Capsule>, StateError> {
    let mut shown = Capsule::clone(base);
    for update in updates {
        let asked = update.lattice().unwrap_or("deletion");
        shown
            .apply(update.clone(), UNCOMMITTED, None)
            .map_err(|found| StateError::OtherLattice {
                key: key.to_string(),
                found,
                asked,
            })?;
    }
    Ok(Arc::new(shown))
}
