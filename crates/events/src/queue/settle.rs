//! The end of a delivery: deleted, hidden for longer or shorter, or given back.

use std::sync::Arc;

use squall_store::Batch;

use super::receipt::Receipt;
use super::receive::place_of;
use super::record;
use super::shelf::State;
use super::{Queue, QueueError, Queues};

impl Queues {
    /// Deletes a received message. Deleting it twice, or by the handle of an older delivery, is no error.
    ///
    /// # Errors
    /// As [`delete_all`](Self::delete_all).
    pub async fn delete(&self, queue: &str, handle: &str) -> Result<(), QueueError> {
        let mut answers = self.delete_all(queue, &[handle]).await?;
        answers.pop().expect("one answer per handle")
    }

    /// Deletes several received messages with one commit; an answer for each.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`] and [`QueueError::Store`]; in the answers [`QueueError::InvalidReceipt`], and for
    /// FIFO queues [`QueueError::ExpiredReceipt`].
    pub async fn delete_all(
        &self,
        queue: &str,
        handles: &[&str],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let queue = self.find(queue)?;
        let mut answers = Vec::with_capacity(handles.len());
        let mut leaving = Vec::new();
        {
            let mut shelf = queue.shelf();
            shelf.advance(self.0.clock.now_ms());
            for handle in handles {
                let receipt = match queue.receipt(handle) {
                    Ok(receipt) => receipt,
                    Err(error) => {
                        answers.push(Err(error));
                        continue;
                    }
                };
                let entry = shelf.get(receipt.sequence);
                let is_current = entry.is_some_and(|entry| entry.receive_count == receipt.receive_count);
                let state = entry.map(|entry| entry.state);
                let answer = match state {
                    Some(State::InFlight(_)) if is_current => {
                        shelf.set(receipt.sequence, State::Leaving);
                        leaving.push(receipt.sequence);
                        Ok(())
                    }
                    Some(State::Ready) if is_current && !shelf.is_fifo() => {
                        // Late, but nobody else has it.
                        shelf.set(receipt.sequence, State::Leaving);
                        leaving.push(receipt.sequence);
                        Ok(())
                    }
                    Some(State::Ready | State::InFlight(_)) if shelf.is_fifo() => {
                        Err(QueueError::ExpiredReceipt((*handle).to_owned()))
                    }
                    _ => Ok(()),
                };
                answers.push(answer);
            }
        }
        if !leaving.is_empty() {
            self.remove_to_its_end(queue, leaving).await?;
        }
        Ok(answers)
    }

    /// In a task of its own: what is leaving must not be forgotten half-way when a caller goes away.
    async fn remove_to_its_end(&self, queue: Arc<Queue>, leaving: Vec<u64>) -> Result<(), QueueError> {
        let inner = self.0.clone();
        let removing = self.0.tasks.spawn(async move {
            let batch = if queue.shelf().is_fifo() {
                Batch::durable()
            } else {
                Batch::buffered()
            };
            inner.remove(&queue, &leaving, batch).await
        });
        removing.await.unwrap_or(Ok(()))
    }

    /// Hides a received message for so many seconds from now; 0 makes it visible.
    ///
    /// # Errors
    /// [`QueueError::NotInFlight`], [`QueueError::InvalidReceipt`], [`QueueError::InvalidParameter`].
    pub async fn change_visibility(&self, queue: &str, handle: &str, secs: u32) -> Result<(), QueueError> {
        if secs > 43_200 {
            return Err(QueueError::InvalidParameter(format!(
                "Value {secs} for parameter VisibilityTimeout is invalid. Reason: VisibilityTimeout must be an integer \
                 between 0 and 43200."
            )));
        }
        let queue = self.find(queue)?;
        let receipt = queue.receipt(handle)?;
        let place = {
            let mut shelf = queue.shelf();
            let now = self.0.clock.now_ms();
            shelf.advance(now);
            let entry = shelf.get(receipt.sequence);
            let is_in_flight = entry.is_some_and(|entry| {
                matches!(entry.state, State::InFlight(_)) && entry.receive_count == receipt.receive_count
            });
            if !is_in_flight {
                return Err(QueueError::NotInFlight);
            }
            let state = match secs {
                0 => State::Ready,
                secs => State::InFlight(now + u64::from(secs) * 1000),
            };
            shelf.set(receipt.sequence, state);
            shelf.get(receipt.sequence).map(place_of)
        };
        // Also for longer: who sleeps until the old moment would wake too early and look again, which does no harm.
        queue.wake.notify_one();
        let place = place.expect("it is in flight");
        let key = record::key(queue.id, receipt.sequence);
        let batch = Batch::buffered().put(record::PLACES, key, record::encode_place(&place));
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// Makes received messages visible again as if nobody had received them: nobody could work on them.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`]. Handles whose delivery is over are passed over.
    pub fn give_back(&self, queue: &str, handles: &[&str]) -> Result<(), QueueError> {
        let queue = self.find(queue)?;
        let mut shelf = queue.shelf();
        for receipt in handles.iter().filter_map(|handle| queue.receipt(handle).ok()) {
            shelf.give_back(receipt.sequence, receipt.receive_count);
        }
        drop(shelf);
        queue.wake.notify_one();
        Ok(())
    }
}

impl Queue {
    fn receipt(&self, handle: &str) -> Result<Receipt, QueueError> {
        Receipt::parse(handle)
            .filter(|receipt| receipt.queue == self.id)
            .ok_or_else(|| QueueError::InvalidReceipt(handle.to_owned()))
    }
}
