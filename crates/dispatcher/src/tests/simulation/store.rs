//! A store that remembers what of it would be left after a power loss, and that fails, stalls and dies by dice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_store::{Batch, Committed, Durability, Entry, Memory, Scan, Space, Store, StoreError};
use tokio::sync::Notify;

use super::Dice;
use crate::tests::fake::pass;

/// What of a store outlives the process: its batches in their order.
#[derive(Default)]
pub(super) struct Disk {
    batches: Vec<Batch>,
    /// How many of them survive a power loss.
    durable: usize,
}

/// One process's view of the disk.
pub(super) struct FaultyStore {
    memory: Memory,
    disk: Arc<Mutex<Disk>>,
    dice: Dice,
    /// Commits until the process dies; `None` lets it live.
    left: Mutex<Option<u64>>,
    /// Told when it dies.
    pub(super) died: Notify,
    /// Commits that come no further: the process is dead.
    is_dead: AtomicBool,
    /// No more faults.
    pub(super) is_calm: AtomicBool,
    /// The broken variant: says that a batch is durable when it is not.
    lies: bool,
}

impl FaultyStore {
    /// The store as it is after the end of the process before; after a power loss only part of it is left.
    pub(super) async fn open(
        disk: &Arc<Mutex<Disk>>,
        dice: Dice,
        life: Option<u64>,
        power_loss: bool,
        lies: bool,
    ) -> Arc<Self> {
        let memory = Memory::new();
        let left = {
            let mut disk = disk.lock().unwrap();
            if power_loss {
                let (durable, all) = (disk.durable as u64, disk.batches.len() as u64);
                let kept = durable + dice.below(all - durable + 1);
                disk.batches.truncate(kept as usize);
            }
            // What was read back is on the disk.
            disk.durable = disk.batches.len();
            disk.batches.clone()
        };
        for batch in left {
            memory.commit(batch).await.expect("it was committed before");
        }
        Arc::new(Self {
            memory,
            disk: disk.clone(),
            dice,
            left: Mutex::new(life),
            died: Notify::new(),
            is_dead: AtomicBool::new(false),
            is_calm: AtomicBool::new(life.is_none()),
            lies,
        })
    }

    /// Whether the process dies now.
    fn dies(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match &mut *left {
            None => false,
            Some(0) => true,
            Some(commits) => {
                *commits -= 1;
                false
            }
        }
    }

    async fn die(&self) -> Result<Committed, StoreError> {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        if !self.is_calm.load(Ordering::SeqCst) && self.dice.of_100(2) {
            return Err(io("read"));
        }
        self.memory.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        if !self.is_calm.load(Ordering::SeqCst) {
            if self.dice.of_100(10) {
                pass(Duration::from_millis(self.dice.below(3000))).await;
            }
            if self.dice.of_100(5) {
                return Err(io("write"));
            }
        }
        // Half of the deaths come before the write, half between it and its acknowledgement.
        let (dies, is_first) = (self.dies(), self.dice.of_100(50));
        if self.is_dead.load(Ordering::SeqCst) || (dies && is_first) {
            return self.die().await;
        }
        let committed = self.memory.commit(batch.clone()).await?;
        {
            let mut disk = self.disk.lock().unwrap();
            let is_durable = batch.durability == Durability::Durable && !self.lies;
            disk.batches.push(batch);
            if is_durable {
                disk.durable = disk.batches.len();
            }
        }
        if dies {
            return self.die().await;
        }
        Ok(committed)
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.memory.scan(scan).await
    }
}

fn io(attempted: &'static str) -> StoreError {
    let reason = "the dice said so".to_owned();
    StoreError::Io { attempted, reason }
}
