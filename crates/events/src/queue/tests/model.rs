//! Random operations on a queue and on a model of it, with a store that stops at any commit, before or after writing,
//! and queues that are opened again on what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_store::{Batch, Committed, Entry, Memory, Scan, Space, Store, StoreError};
use tokio::time::Instant;

use super::{NewMessage, Queues, Receive, create, message, of_group, open};

const SEEDS: u64 = 150;
const STEPS: usize = 120;
const VISIBILITY: Duration = Duration::from_secs(10);

/// A store that fails for ever once so many commits have gone through; the last one may be written all the same.
struct Cut {
    memory: Arc<Memory>,
    left: AtomicI64,
    writes_last: bool,
}

#[async_trait]
impl Store for Cut {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.memory.get(space, key).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left > 0 || (left == 0 && self.writes_last) {
            let committed = self.memory.commit(batch).await?;
            if left > 0 {
                return Ok(committed);
            }
        }
        Err(StoreError::Io {
            attempted: "commit a batch",
            reason: "the disk is gone".to_owned(),
        })
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<(Bytes, Entry)>, StoreError> {
        self.memory.scan(scan).await
    }
}

/// A small generator: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// Its send failed: it may be there.
    Unknown,
    /// It was acknowledged: it must come, until it is deleted.
    Acknowledged,
    /// Its removal failed: it may come again.
    PerhapsDeleted,
    Deleted,
}

struct Known {
    fate: Fate,
    group: Option<String>,
    hidden_until: Option<Instant>,
    receipt: Option<String>,
}

struct Model {
    fifo: bool,
    queue: &'static str,
    known: BTreeMap<u32, Known>,
    next: u32,
}

impl Model {
    async fn send(&mut self, queues: &Queues, dice: &mut Dice) -> bool {
        let mut batch: Vec<NewMessage> = Vec::new();
        let first = self.next;
        for _ in 0..=dice.roll(3) {
            let group = self.fifo.then(|| format!("g{}", dice.roll(3)));
            let body = format!("{:05}", self.next);
            batch.push(match &group {
                Some(group) => of_group(&body, group),
                None => message(&body),
            });
            let known = Known {
                fate: Fate::Unknown,
                group,
                hidden_until: None,
                receipt: None,
            };
            self.known.insert(self.next, known);
            self.next += 1;
        }
        let sent = queues.send_all(self.queue, batch, "tester").await;
        let Ok(answers) = sent else { return false };
        for (number, answer) in (first..).zip(answers) {
            answer.expect("it is good input");
            self.known.get_mut(&number).expect("it is known").fate = Fate::Acknowledged;
        }
        true
    }

    async fn receive(&mut self, queues: &Queues, dice: &mut Dice, seed: u64) -> bool {
        let how = Receive {
            messages_max: 1 + usize::try_from(dice.roll(4)).expect("small"),
            wait: Some(Duration::ZERO),
            ..Receive::default()
        };
        let Ok(received) = queues.receive(self.queue, &how).await else {
            return false;
        };
        let now = Instant::now();
        for (place, one) in received.iter().enumerate() {
            let number: u32 = one.content.body.parse().expect("a number");
            let of_batch: Vec<u32> = received[..place]
                .iter()
                .map(|r| r.content.body.parse().expect("a number"))
                .collect();
            self.check_received(number, &of_batch, now, seed);
            let known = self.known.get_mut(&number).expect("checked");
            known.hidden_until = Some(now + VISIBILITY);
            known.receipt = Some(one.receipt.clone());
        }
        true
    }

    fn check_received(&self, number: u32, before: &[u32], now: Instant, seed: u64) {
        let known = &self.known[&number];
        assert_ne!(
            known.fate,
            Fate::Deleted,
            "seed {seed}: {number} was deleted and came again"
        );
        let is_hidden = known
            .hidden_until
            .is_some_and(|until| until > now + Duration::from_millis(5));
        assert!(!is_hidden, "seed {seed}: {number} is hidden and came");
        if !self.fifo {
            return;
        }
        for (other, earlier) in self.known.range(..number) {
            let blocks =
                earlier.fate == Fate::Acknowledged && earlier.group == known.group && !before.contains(other);
            assert!(
                !blocks,
                "seed {seed}: {number} came before {other} of its group was done"
            );
        }
    }

    async fn delete(&mut self, queues: &Queues, dice: &mut Dice) -> bool {
        let held: Vec<u32> = self
            .known
            .iter()
            .filter(|(_, known)| known.receipt.is_some())
            .map(|(number, _)| *number)
            .collect();
        if held.is_empty() {
            return true;
        }
        let number = held[usize::try_from(dice.roll(held.len() as u64)).expect("small")];
        let known = self.known.get_mut(&number).expect("it is held");
        let is_in_time = known
            .hidden_until
            .is_some_and(|until| until > Instant::now() + Duration::from_millis(5));
        let receipt = known.receipt.take().expect("it is held");
        match queues.delete(self.queue, &receipt).await {
            Ok(()) if is_in_time => known.fate = Fate::Deleted,
            // Late: it is deleted if nobody else has received it meanwhile.
            Ok(()) | Err(super::QueueError::ExpiredReceipt(_)) => {
                if known.fate != Fate::Deleted {
                    known.fate = Fate::PerhapsDeleted;
                }
            }
            Err(_) => {
                known.fate = Fate::PerhapsDeleted;
                return false;
            }
        }
        true
    }

    /// Everything that was acknowledged and not deleted comes in the end.
    async fn drain(&mut self, queues: &Queues, seed: u64) {
        tokio::time::advance(Duration::from_secs(13 * 3600)).await;
        let mut came = Vec::new();
        let how = Receive {
            messages_max: 10,
            wait: Some(Duration::ZERO),
            ..Receive::default()
        };
        loop {
            let received = queues.receive(self.queue, &how).await.expect("a whole store");
            if received.is_empty() {
                break;
            }
            for one in received {
                came.push(one.content.body.parse::<u32>().expect("a number"));
                queues
                    .delete(self.queue, &one.receipt)
                    .await
                    .expect("a whole store");
            }
        }
        for (number, known) in &self.known {
            let times = came.iter().filter(|other| *other == number).count();
            let expected = match known.fate {
                Fate::Acknowledged => 1..=1,
                Fate::Unknown | Fate::PerhapsDeleted => 0..=1,
                Fate::Deleted => 0..=0,
            };
            assert!(
                expected.contains(&times),
                "seed {seed}: {number}, {:?}, came {times} times",
                known.fate
            );
        }
    }
}

async fn check(seed: u64, fifo: bool) {
    let mut dice = Dice(seed);
    let memory = Arc::new(Memory::new());
    let queue = if fifo { "m.fifo" } else { "m" };
    let fifo_text = fifo.to_string();
    let mut attributes = vec![("VisibilityTimeout", "10")];
    if fifo {
        attributes.push(("FifoQueue", fifo_text.as_str()));
    }
    let whole: Arc<dyn Store> = memory.clone();
    create(&open(&whole).await, queue, &attributes)
        .await
        .expect("a new queue");
    let mut model = Model {
        fifo,
        queue,
        known: BTreeMap::new(),
        next: 0,
    };
    let mut queues = None;
    for _ in 0..STEPS {
        let current = match queues.take() {
            Some(current) => current,
            None => {
                let store: Arc<dyn Store> = Arc::new(Cut {
                    memory: memory.clone(),
                    left: AtomicI64::new(1 + i64::try_from(dice.roll(30)).expect("small")),
                    writes_last: dice.roll(2) == 0,
                });
                open(&store).await
            }
        };
        let went_well = match dice.roll(8) {
            0..=2 => model.send(&current, &mut dice).await,
            3..=4 => model.receive(&current, &mut dice, seed).await,
            5..=6 => model.delete(&current, &mut dice).await,
            _ => {
                tokio::time::advance(Duration::from_secs(dice.roll(15))).await;
                true
            }
        };
        if went_well {
            queues = Some(current);
        }
    }
    drop(queues);
    model.drain(&open(&whole).await, seed).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_and_nothing_deleted_comes_again() {
    for seed in 0..SEEDS {
        check(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn groups_keep_their_order_through_crashes() {
    for seed in 0..SEEDS {
        check(seed, true).await;
    }
}
