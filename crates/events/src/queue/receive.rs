//! Receiving: what is there at once, or what comes while the caller waits.

use std::sync::Arc;
use std::time::Duration;

use squall_store::Batch;
use tokio::time::{Instant, sleep_until};

use super::message::Received;
use super::receipt::Receipt;
use super::record::{self, Place};
use super::shelf::{Entry, State, Wish};
use super::{Inner, Queue, QueueError, Queues};

/// How to receive.
#[derive(Debug, Clone)]
pub struct Receive {
    /// The most messages.
    pub messages_max: usize,
    /// The most bytes of bodies and attributes, beyond the first message.
    pub bytes_max: usize,
    /// How long to wait for the first message; the queue's own time where there is none.
    pub wait: Option<Duration>,
    /// For how many seconds they are hidden; the queue's own time where there is none.
    pub visibility_secs: Option<u32>,
    /// All from one group of a FIFO queue.
    pub one_group: bool,
}

impl Default for Receive {
    fn default() -> Self {
        Self {
            messages_max: 1,
            bytes_max: usize::MAX,
            wait: None,
            visibility_secs: None,
            one_group: false,
        }
    }
}

impl Queues {
    /// Receives messages. None, when none has come in time or the server is draining.
    /// Dropping the future may leave messages hidden until their visibility timeout is over.
    ///
    /// # Errors
    /// [`QueueError::OverLimit`] when too many are in flight already; [`QueueError::Store`].
    pub async fn receive(&self, queue: &str, how: &Receive) -> Result<Vec<Received>, QueueError> {
        let queue = self.find(queue)?;
        let attributes = queue.attributes();
        let visibility_secs = how.visibility_secs.unwrap_or(attributes.visibility_secs);
        let redrive = attributes.redrive.filter(|policy| {
            // Where the dead-letter queue is gone, its messages stay where they are.
            let name = self.0.name_in(&policy.target_arn);
            name.is_some_and(|name| self.find(name).is_ok())
        });
        let wish = Wish {
            messages_max: how.messages_max,
            bytes_max: how.bytes_max,
            visibility_ms: u64::from(visibility_secs) * 1000,
            receive_count_max: redrive.as_ref().map(|policy| policy.receive_count_max),
            one_group: how.one_group,
        };
        let wait = how
            .wait
            .unwrap_or(Duration::from_secs(attributes.wait_secs.into()));
        let deadline = Instant::now() + wait;
        loop {
            let woken = queue.wake.notified();
            tokio::pin!(woken);
            // Before the look, so that nothing that comes after it is missed.
            woken.as_mut().enable();
            let is_short = wait.is_zero();
            let (received, next_due) = self.try_receive(&queue, wish, redrive.as_ref(), is_short).await?;
            if !received.is_empty() || Instant::now() >= deadline || self.0.stop.is_cancelled() {
                return Ok(received);
            }
            let due = next_due.map_or(deadline, |ms| self.0.clock.instant(ms).min(deadline));
            tokio::select! {
                () = woken => {}
                () = sleep_until(due) => {}
                () = self.0.stop.cancelled() => {}
            }
            if !Arc::ptr_eq(&self.find(&queue.name)?, &queue) {
                return Err(QueueError::NoSuchQueue);
            }
        }
    }

    async fn try_receive(
        &self,
        queue: &Arc<Queue>,
        mut wish: Wish,
        redrive: Option<&super::RedrivePolicy>,
        is_short: bool,
    ) -> Result<(Vec<Received>, Option<u64>), QueueError> {
        let (taken, next_due) = {
            let mut shelf = queue.shelf();
            let room = self
                .0
                .in_flight_max(queue)
                .saturating_sub(shelf.counts().in_flight);
            let over_limit = room == 0 && is_short && !shelf.is_fifo();
            if over_limit {
                return Err(QueueError::OverLimit(
                    "The maximum number of in flight messages is reached; delete some first.".to_owned(),
                ));
            }
            wish.messages_max = wish.messages_max.min(room);
            let taken = shelf.take(self.0.clock.now_ms(), wish);
            if shelf.has_ready() {
                // The next waiter's turn.
                queue.wake.notify_one();
            }
            (taken, shelf.next_due())
        };
        if let (false, Some(policy)) = (taken.dead.is_empty(), redrive) {
            self.0.carry_dead(queue, taken.dead, &policy.target_arn);
        }
        if taken.delivered.is_empty() {
            return Ok((Vec::new(), next_due));
        }
        let received = self.0.hand_out(queue, taken.delivered).await?;
        Ok((received, next_due))
    }
}

impl Inner {
    fn in_flight_max(&self, queue: &Queue) -> usize {
        if queue.name.ends_with(".fifo") {
            self.config.in_flight_fifo_max
        } else {
            self.config.in_flight_max
        }
    }

    /// Writes that messages were received, and reads what they hold.
    async fn hand_out(&self, queue: &Queue, taken: Vec<(u64, Entry)>) -> Result<Vec<Received>, QueueError> {
        let mut batch = Batch::buffered();
        for (sequence, entry) in &taken {
            batch = batch.put(
                record::PLACES,
                record::key(queue.id, *sequence),
                record::encode_place(&place_of(entry)),
            );
        }
        if let Err(error) = self.store.commit(batch).await {
            let mut shelf = queue.shelf();
            for (sequence, entry) in &taken {
                shelf.give_back(*sequence, entry.receive_count);
            }
            return Err(error.into());
        }
        let mut received = Vec::with_capacity(taken.len());
        for (sequence, entry) in taken {
            match self.content(queue, sequence).await? {
                Some(content) => received.push(Received {
                    content,
                    receipt: Receipt {
                        queue: queue.id,
                        sequence,
                        receive_count: entry.receive_count,
                    }
                    .handle(),
                    sequence,
                    receive_count: entry.receive_count,
                    first_received_ms: entry.first_received_ms,
                }),
                // It was purged meanwhile, and the delivery has written its place again.
                None => self.remove(queue, &[sequence], Batch::buffered()).await?,
            }
        }
        Ok(received)
    }

    pub(super) async fn content(
        &self,
        queue: &Queue,
        sequence: u64,
    ) -> Result<Option<super::Content>, QueueError> {
        let key = record::key(queue.id, sequence);
        let Some(entry) = self.store.get(record::CONTENTS, &key).await? else {
            return Ok(None);
        };
        record::decode_content(&entry.value)
            .map(Some)
            .map_err(|reason| super::damaged(&format!("the message {sequence}"), &reason))
    }
}

/// What is written of an entry.
pub(super) fn place_of(entry: &Entry) -> Place {
    Place {
        sent_ms: entry.sent_ms,
        visible_ms: match entry.state {
            State::Delayed(until) | State::InFlight(until) => until,
            State::Pending | State::Ready | State::Leaving => 0,
        },
        receive_count: entry.receive_count,
        first_received_ms: entry.first_received_ms,
        bytes: entry.bytes,
        group: entry.group.as_deref().map(str::to_owned),
    }
}
