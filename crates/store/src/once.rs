//! Writes that happen once however often they are tried: what a batch does is done together with a mark of its id, and a
//! batch whose id is marked does nothing.
//!
//! For receivers of deliveries whose senders repeat them after a crash, between the receiver's write and their own.
//! Such a sender knows within moments that the write was made, or finds out when it starts again. So marks are kept for
//! a while of the process's life, and the later marks of a receiver sweep its older ones out: nothing runs beside it.
//! Bounded by [`OnceConfig::ids_max`], past which the oldest marks go early.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Batch, Committed, Expect, Scan, Space, Store, StoreError};

const ONCE: Space = Space("once");
/// A mark's value: that it is there says all.
const MARK: &[u8] = &[1];
/// The most old marks that one new mark sweeps out.
const SWEPT_MAX: usize = 4;
const OPEN_PAGE_RECORDS: usize = 4096;

/// Bounds.
#[derive(Debug, Clone)]
pub struct OnceConfig {
    /// How long a mark is kept while the process runs. After a start all marks that are there are kept as long again.
    pub kept: Duration,
    /// The most marks.
    pub ids_max: usize,
}

impl Default for OnceConfig {
    fn default() -> Self {
        Self {
            kept: Duration::from_secs(600),
            ids_max: 200_000,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was applied.
    Now(Committed),
    /// One with this id was applied before; this one did nothing.
    Before,
}

/// One receiver's marks.
pub struct Once {
    store: Arc<dyn Store>,
    receiver: &'static str,
    config: OnceConfig,
    /// All marks, the oldest first.
    marks: Mutex<VecDeque<(Instant, Bytes)>>,
}

impl Once {
    /// Reads a receiver's marks. Its name starts their keys, and no receiver's name may start another's.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        receiver: &'static str,
        config: OnceConfig,
    ) -> Result<Self, StoreError> {
        let mut marks = VecDeque::new();
        let mut scan = Scan::prefix(ONCE, format!("{receiver}/")).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = store.scan(scan.clone()).await?;
            let now = Instant::now();
            marks.extend(page.iter().map(|(key, _)| (now, key.clone())));
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        Ok(Self {
            store,
            receiver,
            config,
            marks: Mutex::new(marks),
        })
    }

    /// Commits a batch, unless one with this id was committed before.
    ///
    /// # Errors
    /// As [`Store::commit`]; [`StoreError::Conflict`] only where another expectation of the batch does not hold.
    pub async fn commit(&self, batch: Batch, id: &[u8]) -> Result<Taken, StoreError> {
        let key = self.key(id);
        let mut batch = batch
            .put(ONCE, key.clone(), MARK)
            .expect(ONCE, key.clone(), Expect::Absent);
        let old = self.sweep();
        for (_, old) in &old {
            batch = batch.delete(ONCE, old.clone());
        }
        match self.store.commit(batch).await {
            Ok(committed) => {
                self.marks().push_back((Instant::now(), key));
                Ok(Taken::Now(committed))
            }
            Err(error) => {
                self.put_back(old);
                let is_marked =
                    matches!(error, StoreError::Conflict) && self.store.get(ONCE, &key).await?.is_some();
                if is_marked { Ok(Taken::Before) } else { Err(error) }
            }
        }
    }

    /// Marks that were not swept out after all.
    fn put_back(&self, old: Vec<(Instant, Bytes)>) {
        let mut marks = self.marks();
        for mark in old.into_iter().rev() {
            marks.push_front(mark);
        }
    }

    /// How many marks there are.
    pub fn len(&self) -> usize {
        self.marks().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.marks().is_empty()
    }

    /// Takes marks out whose time is over, or that are too many.
    fn sweep(&self) -> Vec<(Instant, Bytes)> {
        let now = Instant::now();
        let mut marks = self.marks();
        let mut old = Vec::new();
        while old.len() < SWEPT_MAX
            && let Some((since, _)) = marks.front()
            && (now - *since > self.config.kept || marks.len() >= self.config.ids_max)
        {
            old.extend(marks.pop_front());
        }
        old
    }

    fn key(&self, id: &[u8]) -> Bytes {
        let mut key = Vec::with_capacity(self.receiver.len() + 1 + id.len());
        key.extend_from_slice(self.receiver.as_bytes());
        key.push(b'/');
        key.extend_from_slice(id);
        key.into()
    }

    fn marks(&self) -> MutexGuard<'_, VecDeque<(Instant, Bytes)>> {
        // A panic under this lock is a bug in counting; the marks are in the store whatever the row says.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    const SPACE: Space = Space("test");

    async fn open(store: &Arc<dyn Store>, ids_max: usize) -> Once {
        let config = OnceConfig {
            ids_max,
            ..OnceConfig::default()
        };
        Once::open(store.clone(), "t", config).await.expect("a store")
    }

    async fn write(once: &Once, id: &str) -> bool {
        let batch = Batch::durable().append(SPACE, "a", "value");
        matches!(
            once.commit(batch, id.as_bytes()).await.expect("a store"),
            Taken::Now(_)
        )
    }

    async fn count(store: &Arc<dyn Store>, space: Space) -> usize {
        store.scan(Scan::prefix(space, "")).await.expect("a store").len()
    }

    #[tokio::test]
    async fn what_has_an_id_is_written_once_also_after_a_restart() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let once = open(&store, 100).await;
        assert!(write(&once, "x").await);
        assert!(!write(&once, "x").await);
        assert!(write(&once, "y").await);
        let once = open(&store, 100).await;
        assert!(!write(&once, "x").await);
        assert_eq!(count(&store, SPACE).await, 2);
        assert!(
            store.get(ONCE, b"t/x").await.expect("a store").is_some(),
            "its place in format 1"
        );
    }

    #[tokio::test]
    async fn another_expectation_that_does_not_hold_is_no_repetition() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let once = open(&store, 100).await;
        let batch = || {
            Batch::durable()
                .put(SPACE, "k", "v")
                .expect(SPACE, "k", Expect::Absent)
        };
        assert!(once.commit(batch(), b"x").await.is_ok());
        assert!(matches!(
            once.commit(batch(), b"y").await,
            Err(StoreError::Conflict)
        ));
        assert_eq!(once.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn marks_go_when_their_time_is_over_or_there_are_too_many() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let once = open(&store, 10).await;
        for n in 0..50 {
            assert!(write(&once, &n.to_string()).await);
        }
        assert_eq!((once.len(), count(&store, ONCE).await), (10, 10));
        tokio::time::advance(Duration::from_secs(601)).await;
        for n in 50..53 {
            assert!(write(&once, &n.to_string()).await);
        }
        assert_eq!((once.len(), count(&store, ONCE).await), (3, 3));
    }
}
