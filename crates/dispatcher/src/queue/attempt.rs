//! One attempt at an accepted event, and what follows from it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use squall_store::Batch;
use squall_types::{FunctionError, FunctionName, InvokeError};
use tokio::time::Instant;

use super::ending;
use super::index::Item;
use super::record::{self, Condition, Event};
use super::{EVENTS, Queue};
use crate::dispatcher::Inner;
use crate::{invoke, retry};

/// What to do with an event after an attempt.
pub(super) enum Next {
    /// It is done, or given up: its record is not on its way any more.
    Done,
    /// Later, since the function failed on it.
    Later(Duration),
    /// Later, since it could not be run or handed over, for this reason: ever longer until it can.
    Backoff(&'static str),
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
        if let Some(item) = self.item.take() {
            self.inner.queue.places().remove(item.sequence);
        }
        let mut index = self.inner.queue.index();
        index.ended(&self.name);
        index.release(&self.name);
    }

    fn again(&mut self, after: Duration, backoffs: u8, refusal: Option<&'static str>) {
        if let Some(mut item) = self.item.take() {
            (item.backoffs, item.refusal) = (backoffs, refusal);
            let now = Instant::now();
            // At its last moment it is looked at once more, to be given up; where even that failed, later.
            let due = match item.expires {
                expires if expires > now => (now + after).min(expires),
                _ => now + after,
            };
            let mut index = self.inner.queue.index();
            index.ended(&self.name);
            index.insert(&self.name, item, due, now);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.again(retry::backoff(0), 0, Some("platform fault"));
        self.inner.queue.wake.notify_one();
    }
}

/// Runs the event once.
pub(super) async fn attempt(inner: Arc<Inner>, name: FunctionName, mut item: Item) {
    let mut running = Running {
        inner: inner.clone(),
        name,
        item: Some(item.clone()),
    };
    let next = try_once(&inner, &running.name, &mut item).await;
    running.item = Some(item.clone());
    match next {
        Next::Done => running.done(),
        Next::Later(delay) => running.again(delay, 0, None),
        Next::Backoff(why) => {
            running.again(
                retry::backoff(item.backoffs),
                item.backoffs.saturating_add(1),
                Some(why),
            );
        }
        Next::Left => running.again(Duration::ZERO, item.backoffs, item.refusal),
    }
}

async fn try_once(inner: &Arc<Inner>, name: &FunctionName, item: &mut Item) -> Next {
    let event = match read(&inner.queue, record::key(item.sequence)).await {
        Ok(Some(event)) => event,
        Ok(None) => {
            tracing::error!(function = %name, sequence = item.sequence, "the record of an accepted event is gone");
            return Next::Done;
        }
        Err(error) => {
            tracing::error!(function = %name, sequence = item.sequence, error, "could not read an accepted event");
            return Next::Backoff("platform fault");
        }
    };
    if event.ending.is_some() {
        return ending::hand_over(inner, item, event).await;
    }
    // The age may have been set anew since the event was put into its row.
    item.live_for(inner.event_age_max(&event.target));
    if item.expires <= Instant::now() {
        return ending::end(inner, item, event, Condition::EventAgeExceeded, None).await;
    }
    let condition = match invoke::call(inner.clone(), event.invocation(), None).await {
        Ok(outcome) => {
            let version = outcome.executed_version.to_string();
            match outcome.result {
                Ok(body) => {
                    let response = Some((version, body));
                    return ending::end(inner, item, event, Condition::Success, response).await;
                }
                Err(error) => return failed(inner, item, event, version, error).await,
            }
        }
        Err(InvokeError::NotFound(_)) => Condition::FunctionDeleted,
        Err(InvokeError::PayloadTooLarge { .. }) => Condition::Refused,
        Err(InvokeError::ShuttingDown) => return Next::Left,
        Err(error) => {
            tracing::debug!(function = %name, request_id = %event.request_id, %error, "an accepted event waits");
            return Next::Backoff(refusal(&error));
        }
    };
    ending::end(inner, item, event, condition, None).await
}

fn refusal(error: &InvokeError) -> &'static str {
    match error {
        InvokeError::Throttled { .. } => "throttled",
        InvokeError::NotReady { .. } | InvokeError::Preparing { .. } => "not ready",
        _ => "platform fault",
    }
}

/// The function failed on it.
async fn failed(
    inner: &Arc<Inner>,
    item: &mut Item,
    mut event: Event,
    version: String,
    error: FunctionError,
) -> Next {
    event.failures = event.failures.saturating_add(1);
    let now = SystemTime::now();
    event.note(now, summary(&error.body));
    let policy = inner.resolver.event_policy(&event.target);
    let Some(delay) = retry::after_function_error(event.failures, policy.retries_max) else {
        let response = Some((version, error.body));
        return ending::end(inner, item, event, Condition::RetriesExhausted, response).await;
    };
    event.due = now + delay;
    // Buffered: after a power loss the event may run more often than it would have, and never less.
    write(inner, item.sequence, &event).await;
    Next::Later(delay)
}

/// `ErrorType: message` of a function's error.
pub(super) fn summary(body: &Bytes) -> String {
    let error: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| error[field].as_str().unwrap_or("?").to_owned();
    format!("{}: {}", text("errorType"), text("errorMessage"))
}

/// Notes what happened to an event that stays on its way; buffered.
pub(super) async fn write(inner: &Inner, sequence: u64, event: &Event) {
    let batch = Batch::buffered().put(EVENTS, record::key(sequence), event.encode());
    if let Err(error) = inner.queue.store.commit(batch).await {
        tracing::error!(request_id = %event.request_id, %error, "could not note an attempt at an accepted event");
    }
}

pub(crate) async fn read(queue: &Queue, key: Bytes) -> Result<Option<Event>, String> {
    let entry = queue.store.get(EVENTS, &key).await;
    let entry = entry.map_err(|error| error.to_string())?;
    entry.map(|entry| Event::decode(&entry.value)).transpose()
}

/// Gives up all waiting events of a function that was deleted, in a task of its own. Those that ended already are
/// still handed over.
pub(crate) fn forget(inner: &Arc<Inner>, name: &FunctionName) {
    let items = inner.queue.index().take_all(name);
    if items.is_empty() {
        return;
    }
    let (inner, name) = (inner.clone(), name.clone());
    let (tasks, handle) = (inner.tasks.clone(), inner.handle.clone());
    let forget_all = async move {
        for mut item in items {
            let next = match read(&inner.queue, record::key(item.sequence)).await {
                Ok(Some(event)) if event.ending.is_none() => {
                    ending::end(&inner, &mut item, event, Condition::FunctionDeleted, None).await
                }
                Ok(Some(_)) => Next::Later(Duration::ZERO),
                Ok(None) => Next::Done,
                Err(error) => {
                    tracing::error!(function = %name, sequence = item.sequence, error, "could not read an accepted event");
                    Next::Backoff("platform fault")
                }
            };
            let now = Instant::now();
            if matches!(next, Next::Done) {
                inner.queue.places().remove(item.sequence);
                inner.queue.index().release(&name);
            } else {
                let due = now + retry::backoff(0);
                inner.queue.index().insert(&name, item, due, now);
                inner.queue.wake.notify_one();
            }
        }
    };
    tasks.spawn_on(forget_all, &handle);
}
