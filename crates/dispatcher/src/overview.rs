//! Looking after accepted events: lists them, finds one, and has what was given up run again.

use std::time::SystemTime;

use async_trait::async_trait;
use squall_store::Batch;
use squall_types::{
    AcceptedEvents, EventNote, EventQuery, EventResult, EventState, EventStatus, InvokeError, PendingTarget,
    RequestId,
};
use tokio::time::Instant;

use crate::dispatcher::{Dispatcher, Inner};
use crate::log::unix_ms;
use crate::queue::record::{self, Condition, Event};
use crate::queue::{EVENTS, discard, full, read};
use crate::result;

#[async_trait]
impl AcceptedEvents for Dispatcher {
    async fn list(&self, query: EventQuery) -> Result<Vec<EventStatus>, InvokeError> {
        let queue = &self.inner().queue;
        let function = query.function.as_ref();
        let sequences = if query.failed {
            queue.failed().list(query.after, function, query.limit)
        } else {
            queue.places().list(query.after, function, query.limit)
        };
        let mut events = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            // It may have ended or moved since it was listed.
            if let Some(event) = load(self.inner(), sequence, query.failed).await? {
                events.push(status(self.inner(), sequence, event, query.failed));
            }
        }
        Ok(events)
    }

    async fn find(&self, id: RequestId) -> Result<Option<EventStatus>, InvokeError> {
        let queue = &self.inner().queue;
        let places = [
            (queue.places().sequence(id), false),
            (queue.failed().sequence(id), true),
        ];
        for (sequence, is_failed) in places {
            let Some(sequence) = sequence else { continue };
            if let Some(event) = load(self.inner(), sequence, is_failed).await? {
                let mut found = status(self.inner(), sequence, event, is_failed);
                look_up(self.inner(), &mut found);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn result(&self, id: RequestId) -> Result<Option<EventResult>, InvokeError> {
        result::find(self.inner(), id, SystemTime::now()).await
    }

    async fn redrive(&self, id: RequestId) -> Result<bool, InvokeError> {
        let dispatcher = self.clone();
        let redrive = async move { redrive(dispatcher.inner(), id).await };
        // Not to be cut in two: an event that was written must be put into its row.
        self.detached(redrive).await
    }

    async fn discard(&self, id: RequestId) -> Result<bool, InvokeError> {
        let queue = &self.inner().queue;
        let Some(sequence) = queue.failed().sequence(id) else {
            return Ok(false);
        };
        Ok(discard(queue, sequence).await)
    }
}

async fn load(inner: &Inner, sequence: u64, is_failed: bool) -> Result<Option<Event>, InvokeError> {
    let key = if is_failed {
        record::failed_key(sequence)
    } else {
        record::key(sequence)
    };
    read(&inner.queue, key).await.map_err(InvokeError::Platform)
}

fn status(inner: &Inner, sequence: u64, event: Event, is_failed: bool) -> EventStatus {
    let state = match (&event.ending, is_failed) {
        (_, true) => EventState::Failed,
        (Some(_), false) => EventState::Delivering,
        (None, false) => EventState::Waiting,
    };
    let notes = event.notes.into_iter().map(|note| EventNote {
        at_ms: note.at_ms,
        text: note.text,
    });
    let pending = event.ending.iter().flat_map(|ending| &ending.pending);
    EventStatus {
        request_id: event.request_id,
        sequence,
        function: inner.resolver.function_arn(&event.target),
        state,
        accepted_ms: unix_ms(event.accepted),
        failures: event.failures,
        due_ms: None,
        condition: event.ending.as_ref().map(|ending| ending.condition.as_str()),
        refusal: None,
        notes: notes.collect(),
        targets: pending
            .map(|target| PendingTarget {
                arn: target.arn.clone(),
                error: target.error.clone(),
            })
            .collect(),
        payload: event.payload,
    }
}

/// Adds what only the row knows.
fn look_up(inner: &Inner, status: &mut EventStatus) {
    if status.state == EventState::Failed {
        return;
    }
    if let Some((due, refusal)) = inner.queue.index().look_up(status.sequence) {
        let wait = due.saturating_duration_since(Instant::now());
        status.due_ms = Some(unix_ms(SystemTime::now() + wait));
        status.refusal = refusal;
    }
}

async fn redrive(inner: &Inner, id: RequestId) -> Result<bool, InvokeError> {
    let queue = &inner.queue;
    // Taken out first: of two at once, one finds it.
    let taken = {
        let mut failed = queue.failed();
        let sequence = failed.sequence(id);
        sequence.and_then(|sequence| failed.remove(sequence).map(|place| (sequence, place)))
    };
    let Some((sequence, place)) = taken else {
        return Ok(false);
    };
    let moved = bring_back(inner, sequence).await;
    if moved.is_err() {
        queue.failed().insert(sequence, place);
    }
    moved
}

async fn bring_back(inner: &Inner, failed: u64) -> Result<bool, InvokeError> {
    let queue = &inner.queue;
    let Some(mut event) = load(inner, failed, true).await? else {
        return Ok(false);
    };
    let now = SystemTime::now();
    event.note(now, "tried again by hand".to_owned());
    match &mut event.ending {
        // It ran well: only who has not heard of it is told.
        Some(ending) if ending.condition == Condition::Success => ending.at = now,
        _ => {
            (event.ending, event.failures) = (None, 0);
            (event.accepted, event.due) = (now, now);
        }
    }
    let name = &event.target.name;
    if !queue.index().reserve(name) {
        return Err(full());
    }
    // The append comes first, so that its key has the place 0.
    let batch = Batch::durable()
        .append(EVENTS, record::PREFIX, event.encode())
        .delete(EVENTS, record::failed_key(failed));
    match queue.commit_append(batch).await {
        Ok(sequence) => {
            queue.insert(sequence, &event, inner.event_age_max(&event.target));
            queue.wake();
            Ok(true)
        }
        Err(error) => {
            queue.index().release(name);
            tracing::error!(request_id = %event.request_id, %error, "could not bring a failed event back");
            Err(InvokeError::Platform("could not bring the event back".to_owned()))
        }
    }
}
