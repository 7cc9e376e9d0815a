//! The end of an event: who is to be told, telling them until they have it, and the list of those that were given up.
//!
//! An event is removed only once everybody who is to have it has it. What nobody took in its time goes to the list of
//! failed events, where a person finds it, so no failure is silent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use squall_registry::EventPolicy;
use squall_runtime::LogLine;
use squall_store::{Batch, StoreError};
use squall_types::{Deliver, DeliverError, RequestId};
use tokio::time::{Instant, timeout};

use super::attempt::{self, Next};
use super::document;
use super::index::Item;
use super::places::Place;
use super::record::{self, Condition, Ending, Event, Kind, Pending};
use super::{EVENTS, Queue};
use crate::dispatcher::Inner;
use crate::log::unix_ms;
use crate::{log, report, result};

/// How long a target may take to take something.
const DELIVERY_MAX: Duration = Duration::from_secs(30);

/// Ends an event that ran for the last time, or never will.
pub(super) async fn end(
    inner: &Arc<Inner>,
    item: &mut Item,
    mut event: Event,
    condition: Condition,
    response: Option<(String, bytes::Bytes)>,
) -> Next {
    let now = SystemTime::now();
    let policy = inner.resolver.event_policy(&event.target);
    let pending = targets(&policy, condition);
    if condition != Condition::Success {
        event.note(now, format!("given up: {}", condition.as_str()));
        tell_log(inner, &event, condition, now).await;
        // One that was deleted is not counted any more.
        if condition != Condition::FunctionDeleted {
            inner.metrics.of(&event.target.name).given_up.inc();
        }
    }
    let has_targets = !pending.is_empty();
    event.ending = Some(Ending {
        at: now,
        condition,
        response,
        pending,
    });
    match condition {
        Condition::Success if !has_targets => remove(inner, item.sequence, &event).await,
        _ if !has_targets => give_up(inner, item.sequence, event).await,
        _ => {
            // From here on it has a whole age for being handed over.
            item.expires = Instant::now() + item.age_max;
            item.backoffs = 0;
            note_end(inner, item.sequence, &event).await;
            hand_over(inner, item, event).await
        }
    }
}

fn targets(policy: &EventPolicy, condition: Condition) -> Vec<Pending> {
    let pending = |arn: &Option<String>, kind| {
        arn.clone().map(|arn| Pending {
            arn,
            kind,
            id: RequestId::random(),
            error: String::new(),
        })
    };
    if condition == Condition::Success {
        return pending(&policy.on_success, Kind::Destination)
            .into_iter()
            .collect();
    }
    let destination = pending(&policy.on_failure, Kind::Destination);
    let dead_letter = pending(&policy.dead_letter, Kind::DeadLetter);
    destination.into_iter().chain(dead_letter).collect()
}

/// Tells everybody who does not have it yet.
pub(super) async fn hand_over(inner: &Arc<Inner>, item: &Item, mut event: Event) -> Next {
    let Some(ending) = &mut event.ending else {
        return Next::Backoff("platform fault");
    };
    let pending = std::mem::take(&mut ending.pending);
    let (mut left, mut is_worth_a_retry) = (Vec::new(), false);
    for mut target in pending {
        match deliver(inner, &event, item, &target).await {
            Ok(()) => event.note(SystemTime::now(), format!("handed over to {}", target.arn)),
            Err(error) => {
                is_worth_a_retry |= error.is_retryable();
                target.error = error.to_string();
                left.push(target);
            }
        }
    }
    if left.is_empty() {
        return remove(inner, item.sequence, &event).await;
    }
    tracing::debug!(request_id = %event.request_id, ?left, "an event could not be handed over");
    if let Some(ending) = &mut event.ending {
        ending.pending = left;
    }
    if !is_worth_a_retry || item.expires <= Instant::now() {
        event.note(SystemTime::now(), "given up handing it over".to_owned());
        return give_up(inner, item.sequence, event).await;
    }
    attempt::write(inner, item.sequence, &event).await;
    Next::Backoff("target unavailable")
}

async fn deliver(
    inner: &Arc<Inner>,
    event: &Event,
    item: &Item,
    target: &Pending,
) -> Result<(), DeliverError> {
    let unsupported = || DeliverError::Unsupported(target.arn.clone());
    let targets: &Arc<dyn Deliver> = inner.targets.get().ok_or_else(unsupported)?;
    let function_arn = inner.resolver.function_arn(&event.target);
    let message = document::message(event, &function_arn, target, item.refusal);
    let delivered = timeout(DELIVERY_MAX, targets.deliver(&target.arn, message)).await;
    delivered.unwrap_or_else(|_| Err(DeliverError::Unavailable("it took too long".to_owned())))
}

async fn tell_log(inner: &Inner, event: &Event, condition: Condition, at: SystemTime) {
    let (request_id, reason) = (event.request_id, condition.as_str());
    if condition == Condition::FunctionDeleted {
        // The log of a deleted function is gone, and stays gone.
        return;
    }
    let text = format!("{} {request_id} Event given up: {reason}", report::iso(at));
    log::outside(
        &inner.logs,
        &event.target.name,
        "queue",
        vec![LogLine { at, text }],
    )
    .await;
}

/// Keeps what came of an event that stays until it is handed over.
/// Buffered: after a power loss the event may run once more.
async fn note_end(inner: &Inner, sequence: u64, event: &Event) {
    let batch = Batch::buffered().put(EVENTS, record::key(sequence), event.encode());
    if let Err(error) = commit_with_result(inner, batch, event).await {
        tracing::error!(request_id = %event.request_id, %error, "could not note the end of an accepted event");
    }
}

/// Buffered: a removal that is lost makes the event run once more.
async fn remove(inner: &Inner, sequence: u64, event: &Event) -> Next {
    let batch = Batch::buffered().delete(EVENTS, record::key(sequence));
    if let Err(error) = commit_with_result(inner, batch, event).await {
        tracing::error!(sequence, %error, "could not remove a finished event; it runs again after a restart");
    }
    Next::Done
}

/// Commits what ends an event, and its result with it.
async fn commit_with_result(inner: &Inner, mut batch: Batch, event: &Event) -> Result<(), StoreError> {
    let function_arn = inner.resolver.function_arn(&event.target);
    let mut put = inner.results.put(event, &function_arn);
    batch.ops.extend(result::ops(put.as_mut()));
    inner.store.commit(batch).await?;
    inner.results.noted(put.as_ref());
    inner.results.keep_bounds(SystemTime::now()).await;
    Ok(())
}

/// Puts the event into the list of failed ones, in one durable step.
async fn give_up(inner: &Arc<Inner>, sequence: u64, event: Event) -> Next {
    let now = SystemTime::now();
    let batch = Batch::durable().delete(EVENTS, record::key(sequence)).put(
        EVENTS,
        record::failed_key(sequence),
        event.encode(),
    );
    if let Err(error) = commit_with_result(inner, batch, &event).await {
        tracing::error!(request_id = %event.request_id, %error, "could not keep a failed event; it is tried again");
        return Next::Backoff("platform fault");
    }
    let reason = event
        .ending
        .as_ref()
        .map_or("", |ending| ending.condition.as_str());
    tracing::warn!(
        function = %event.target.name, request_id = %event.request_id, reason,
        "gave up on an accepted event; `squall events` lists those"
    );
    let place = Place {
        id: event.request_id,
        function: event.target.name.clone(),
        at_ms: unix_ms(now),
    };
    let too_many = {
        let mut failed = inner.queue.failed();
        failed.insert(sequence, place);
        let over = failed.len() > inner.config.failed_max;
        over.then(|| failed.first()).flatten()
    };
    if let Some(oldest) = too_many {
        tracing::warn!(
            failed_max = inner.config.failed_max,
            "too many failed events; the oldest is discarded"
        );
        discard(&inner.queue, oldest).await;
    }
    Next::Done
}

/// Forgets a failed event.
pub(crate) async fn discard(queue: &Queue, sequence: u64) -> bool {
    if queue.failed().remove(sequence).is_none() {
        return false;
    }
    let batch = Batch::durable().delete(EVENTS, record::failed_key(sequence));
    if let Err(error) = queue.store.commit(batch).await {
        tracing::error!(sequence, %error, "could not discard a failed event; it is back after a restart");
    }
    true
}

/// Discards failed events, results and idempotency keys when they have been kept long enough, until it is dropped.
pub(crate) async fn expire(inner: &Arc<Inner>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        ticks.tick().await;
        let now = SystemTime::now();
        expire_failed(inner, now).await;
        let swept = (inner.results.sweep(now).await, inner.once.sweep(now).await);
        if let (Err(error), _) | (_, Err(error)) = swept {
            tracing::error!(%error, "could not remove old results");
        }
    }
}

async fn expire_failed(inner: &Inner, now: SystemTime) {
    let kept_since = now.checked_sub(inner.config.failed_retention);
    let old = inner.queue.failed().before(kept_since.map_or(0, unix_ms));
    if !old.is_empty() {
        tracing::info!(
            events = old.len(),
            "discarding failed events that were kept long enough"
        );
    }
    for sequence in old {
        discard(&inner.queue, sequence).await;
    }
}
