//! Carrying messages from one queue to another in one commit: to a dead-letter queue, and back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use squall_store::Batch;

use super::record::{self, Place};
use super::shelf::State;
use super::{Inner, Queue, QueueError};

impl Inner {
    /// Carries messages that were received too often, in the background; they are leaving already.
    pub(super) fn carry_dead(self: &Arc<Self>, queue: &Arc<Queue>, dead: Vec<u64>, target_arn: &str) {
        let target = self.name_in(target_arn).and_then(|name| self.find(name).ok());
        let (inner, queue) = (self.clone(), queue.clone());
        self.tasks.spawn(async move {
            for sequence in dead {
                let carried = match &target {
                    Some(target) => inner.carry(&queue, sequence, target, true).await,
                    None => Err(QueueError::NoSuchQueue),
                };
                if let Err(error) = carried {
                    tracing::error!(queue = queue.name, %error, "could not move a message to its dead-letter queue");
                    queue.shelf().set(sequence, State::Ready);
                }
            }
        });
    }

    /// Carries one message that is leaving. It is in exactly one of the two queues, whenever the server is killed.
    pub(super) async fn carry(
        &self,
        from: &Queue,
        sequence: u64,
        to: &Queue,
        is_dead: bool,
    ) -> Result<(), QueueError> {
        let from_key = record::key(from.id, sequence);
        let Some(mut content) = self.content(from, sequence).await? else {
            return self.remove(from, &[sequence], Batch::buffered()).await;
        };
        let bytes = from.shelf().get(sequence).map_or(0, |entry| entry.bytes);
        content.dead_letter_source = is_dead.then(|| self.arn(&from.name));
        let place = Place {
            // In a dead-letter queue a message is as old as it was; redriven it begins anew.
            sent_ms: if is_dead {
                content.sent_ms
            } else {
                self.clock.wall_ms()
            },
            visible_ms: 0,
            receive_count: 0,
            first_received_ms: 0,
            bytes,
            group: content.group.clone(),
        };
        let to_sequence = {
            let mut shelf = to.shelf();
            let number = self.numbers(1);
            shelf.insert(number, &place, State::Pending);
            number
        };
        let to_key = record::key(to.id, to_sequence);
        let batch = Batch::durable()
            .put(record::PLACES, to_key.clone(), record::encode_place(&place))
            .put(record::CONTENTS, to_key, record::encode_content(&content))
            .delete(record::PLACES, from_key.clone())
            .delete(record::CONTENTS, from_key);
        if let Err(error) = self.store.commit(batch).await {
            to.shelf().remove(to_sequence);
            return Err(error.into());
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        to.shelf().set(to_sequence, State::Ready);
        to.wake.notify_one();
        if from.shelf().remove(sequence).is_some() {
            self.messages.fetch_sub(1, Ordering::Relaxed);
        }
        // Its group may be free now.
        from.wake.notify_one();
        Ok(())
    }
}
