//! A follower of a bucket's changes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::home::Home;
use crate::{Bucket, Change, Cursor, StateError};

/// How many changes are read at a time.
const PAGE: usize = 256;

/// Gives the changes of the keys with a prefix, in order. What it has given is kept until it is trimmed.
pub struct Watch {
    home: Home,
    bucket: Arc<Bucket>,
    prefix: Bytes,
    after: Option<Cursor>,
    read: VecDeque<Change>,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl Watch {
    pub(crate) fn new(
        home: Home,
        bucket: Arc<Bucket>,
        prefix: Bytes,
        after: Option<Cursor>,
    ) -> Result<Self, StateError> {
        if !bucket.settings.keeps_changes {
            return Err(StateError::Invalid(format!(
                "bucket `{}` keeps no changes: make one that does",
                bucket.name
            )));
        }
        let changed = home.changed(&bucket);
        Ok(Self {
            home,
            bucket,
            prefix,
            after,
            read: VecDeque::new(),
            changed,
        })
    }

    /// The next change; waits for it. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`StateError::Store`], [`StateError::Corrupt`].
    pub async fn next(&mut self) -> Result<Change, StateError> {
        loop {
            if let Some(change) = self.read.pop_front() {
                return Ok(change);
            }
            self.changed.borrow_and_update();
            let page = self
                .home
                .read_changes(&self.bucket, self.after.as_ref(), PAGE)
                .await?;
            if let Some(last) = page.last() {
                self.after = Some(last.cursor.clone());
                let ours = page
                    .into_iter()
                    .filter(|change| change.key.starts_with(&self.prefix));
                self.read.extend(ours);
                continue;
            }
            // The sender lives as long as the home, which is held here.
            let _ = self.changed.changed().await;
        }
    }
}
