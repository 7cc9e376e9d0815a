//! One attempt at an accepted event, and what follows from it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use squall_runtime::LogLine;
use squall_store::Batch;
use squall_types::{FunctionName, InvokeError};
use tokio::time::Instant;

use super::index::Item;
use super::record::{self, Event};
use super::{EVENTS, Queue};
use crate::dispatcher::Inner;
use crate::{invoke, log, report, retry};

/// Why an event is dropped without having succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The function failed on it as often as it may.
    RetriesExhausted,
    /// It could not be run for the longest time that an event is kept.
    EventAgeExceeded,
    /// The function, version or alias is gone.
    FunctionDeleted,
    /// It can never be run as it is.
    Refused,
}

impl Reason {
    /// Lambda's `condition` of a destination record, where it has one.
    fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::FunctionDeleted => "FunctionDeleted",
            Self::Refused => "Refused",
        }
    }
}

/// What to do with an event after an attempt.
enum Next {
    /// It is done, well or not: remove it.
    Done,
    /// Later, since the function failed on it.
    Later(Duration),
    /// Later, since it could not be run: ever longer until it can.
    Backoff,
    /// The queue is closed: it stays in the store for the next start.
    Left,
}

/// An event that runs. When it is dropped unfinished (a panic), the event waits for another attempt.
struct Running {
    inner: Arc<Inner>,
    name: FunctionName,
    item: Option<Item>,
}

impl Running {
    fn done(mut self) {
        self.item = None;
        let mut index = self.inner.queue.index();
        index.ended(&self.name);
        index.release(&self.name);
    }

    fn again(&mut self, after: Duration, backoffs: u8) {
        if let Some(mut item) = self.item.take() {
            item.backoffs = backoffs;
            let now = Instant::now();
            // At its last moment it is looked at once more, to be dropped.
            let due = (now + after).min(item.expires);
            let mut index = self.inner.queue.index();
            index.ended(&self.name);
            index.insert(&self.name, item, due, now);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.again(retry::backoff(0), 0);
        self.inner.queue.wake.notify_one();
    }
}

/// Runs the event once.
pub(super) async fn attempt(inner: Arc<Inner>, name: FunctionName, item: Item) {
    let mut running = Running {
        inner: inner.clone(),
        name,
        item: Some(item.clone()),
    };
    match try_once(&inner, &running.name, &item).await {
        Next::Done => running.done(),
        Next::Later(delay) => running.again(delay, 0),
        Next::Backoff => running.again(retry::backoff(item.backoffs), item.backoffs.saturating_add(1)),
        Next::Left => running.again(Duration::ZERO, item.backoffs),
    }
}

async fn try_once(inner: &Arc<Inner>, name: &FunctionName, item: &Item) -> Next {
    let event = match read(&inner.queue, item.sequence).await {
        Ok(Some(event)) => event,
        Ok(None) => {
            tracing::error!(function = %name, sequence = item.sequence, "the record of an accepted event is gone");
            return Next::Done;
        }
        Err(error) => {
            tracing::error!(function = %name, sequence = item.sequence, error, "could not read an accepted event");
            return Next::Backoff;
        }
    };
    if item.expires <= Instant::now() {
        return exhausted(inner, item.sequence, &event, Reason::EventAgeExceeded).await;
    }
    match invoke::call(inner.clone(), event.invocation(), None).await {
        Ok(outcome) if outcome.result.is_ok() => remove(&inner.queue, item.sequence).await,
        Ok(_) => failed(inner, item.sequence, event).await,
        Err(InvokeError::NotFound(_)) => {
            exhausted(inner, item.sequence, &event, Reason::FunctionDeleted).await
        }
        Err(InvokeError::PayloadTooLarge { .. }) => {
            exhausted(inner, item.sequence, &event, Reason::Refused).await
        }
        Err(InvokeError::ShuttingDown) => Next::Left,
        Err(error) => {
            tracing::debug!(function = %name, request_id = %event.request_id, %error, "an accepted event waits");
            Next::Backoff
        }
    }
}

/// The function failed on it.
async fn failed(inner: &Inner, sequence: u64, mut event: Event) -> Next {
    event.failures = event.failures.saturating_add(1);
    let Some(delay) = retry::after_function_error(event.failures) else {
        return exhausted(inner, sequence, &event, Reason::RetriesExhausted).await;
    };
    event.due = SystemTime::now() + delay;
    // Buffered: after a power loss the event may run more often than it would have, and never less.
    let batch = Batch::buffered().put(EVENTS, record::key(sequence), event.encode());
    if let Err(error) = inner.queue.store.commit(batch).await {
        tracing::error!(request_id = %event.request_id, %error, "could not note an attempt at an accepted event");
    }
    Next::Later(delay)
}

/// Nothing more is tried. Destinations and dead-letter queues will hang here.
async fn exhausted(inner: &Inner, sequence: u64, event: &Event, reason: Reason) -> Next {
    let (name, request_id) = (&event.target.name, event.request_id);
    let reason = reason.as_str();
    tracing::warn!(function = %name, %request_id, reason, "dropped an accepted event");
    let at = SystemTime::now();
    let text = format!("{} {request_id} Event dropped: {reason}", report::iso(at));
    if reason != Reason::FunctionDeleted.as_str() {
        // The log of a deleted function is gone, and stays gone.
        log::outside(&inner.logs, name, "queue", vec![LogLine { at, text }]).await;
    }
    remove(&inner.queue, sequence).await
}

/// Buffered: a removal that is lost makes the event run once more.
async fn remove(queue: &Queue, sequence: u64) -> Next {
    let batch = Batch::buffered().delete(EVENTS, record::key(sequence));
    if let Err(error) = queue.store.commit(batch).await {
        tracing::error!(sequence, %error, "could not remove a finished event; it runs again after a restart");
    }
    Next::Done
}

async fn read(queue: &Queue, sequence: u64) -> Result<Option<Event>, String> {
    let entry = queue.store.get(EVENTS, &record::key(sequence)).await;
    let entry = entry.map_err(|error| error.to_string())?;
    entry.map(|entry| Event::decode(&entry.value)).transpose()
}

/// Drops all waiting events of a function that was deleted, in a task of its own.
pub(crate) fn forget(inner: &Arc<Inner>, name: &FunctionName) {
    let items = inner.queue.index().take_all(name);
    if items.is_empty() {
        return;
    }
    let (inner, name) = (inner.clone(), name.clone());
    let (tasks, handle) = (inner.tasks.clone(), inner.handle.clone());
    let drop_all = async move {
        for item in items {
            match read(&inner.queue, item.sequence).await {
                Ok(Some(event)) => {
                    exhausted(&inner, item.sequence, &event, Reason::FunctionDeleted).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(function = %name, sequence = item.sequence, error, "could not read an accepted event");
                }
            }
            inner.queue.index().release(&name);
        }
    };
    tasks.spawn_on(drop_all, &handle);
}
