//! One attempt to deliver a parcel, and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use squall_store::{Batch, StoreError};
use squall_types::{Deliver, DeliverError, Delivery};
use tokio::time::Instant;

use super::{GivenUp, Outbox, PARCELS, Parcel};

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A dead-letter queue that does not take a parcel is tried for so long: a day of five-minute pauses.
const DEAD_LETTER_ATTEMPTS_MAX: u32 = 300;

/// What to do with a parcel now.
enum Next {
    Done,
    /// Later, with the parcel as it is to be kept where it changed.
    Later(Duration, Option<Box<Parcel>>),
}

/// Delivers the parcel under `key` once. A panic leaves the parcel in the store, for the next start.
pub(super) async fn attempt(outbox: Outbox, deliver: Arc<dyn Deliver>, key: Bytes) {
    let next = try_once(&outbox, &*deliver, &key).await;
    let written = match &next {
        Next::Done => {
            let batch = Batch::buffered().delete(PARCELS, key.clone());
            outbox.inner.store.commit(batch).await.map(drop)
        }
        Next::Later(_, Some(parcel)) => {
            let batch = Batch::buffered().put(PARCELS, key.clone(), parcel.encode());
            outbox.inner.store.commit(batch).await.map(drop)
        }
        Next::Later(_, None) => Ok(()),
    };
    if let Err(error) = written {
        // The target has it: it may get it once more after a restart.
        tracing::error!(%error, "could not write down what became of a delivery");
    }
    match next {
        Next::Done => outbox.release(1),
        Next::Later(delay, _) => {
            outbox.index().delayed.insert((Instant::now() + delay, key), ());
            outbox.inner.wake.notify_one();
        }
    }
}

async fn try_once(outbox: &Outbox, deliver: &dyn Deliver, key: &Bytes) -> Next {
    let parcel = match read(outbox, key).await {
        Ok(Some(parcel)) => parcel,
        Ok(None) => return Next::Done,
        Err(error) => {
            tracing::error!(%error, "could not read a delivery");
            return Next::Later(BACKOFF_MAX, None);
        }
    };
    if parcel.given_up.is_some() {
        return bury(outbox, deliver, parcel).await;
    }
    let message = Delivery {
        body: parcel.body(),
        attributes: parcel.attributes.clone(),
        id: Some(parcel.id),
    };
    let Err(error) = deliver.deliver(&parcel.target, message).await else {
        tracing::debug!(id = %parcel.id, target = parcel.target, "delivered");
        return Next::Done;
    };
    if outbox.inner.is_draining.load(Ordering::Relaxed) {
        return Next::Later(BACKOFF_MAX, None);
    }
    failed(outbox.inner.clock.now_ms(), parcel, &error)
}

async fn read(outbox: &Outbox, key: &Bytes) -> Result<Option<Parcel>, StoreError> {
    let entry = outbox.inner.store.get(PARCELS, key).await?;
    let parcel = entry.map(|entry| Parcel::decode(&entry.value)).transpose();
    parcel.map_err(StoreError::Corrupt)
}

/// What follows when a target did not take a parcel.
fn failed(now_ms: i64, mut parcel: Parcel, error: &DeliverError) -> Next {
    let condition = if !error.is_retryable() {
        "NotRetryable"
    } else if parcel.failures >= parcel.retries_max {
        "MaximumRetryAttempts"
    } else if now_ms >= parcel.expires_ms {
        "MaximumEventAgeInSeconds"
    } else {
        let delay = backoff(parcel.failures);
        tracing::debug!(id = %parcel.id, target = parcel.target, %error, ?delay, "could not deliver; again later");
        parcel.failures += 1;
        return Next::Later(delay, Some(Box::new(parcel)));
    };
    let (source, target) = (parcel.source.clone(), parcel.target.clone());
    if parcel.dead_letter.is_none() {
        tracing::warn!(
            id = %parcel.id, source, target, condition, %error,
            "an event was dropped: its target did not take it and there is no dead-letter queue"
        );
        return Next::Done;
    }
    parcel.given_up = Some(GivenUp {
        code: code(error).to_owned(),
        message: error.to_string(),
    });
    let beside = [
        ("RETRY_ATTEMPTS", parcel.failures.to_string()),
        ("EXHAUSTED_RETRY_CONDITION", condition.to_owned()),
        ("TARGET_ARN", target),
        ("RULE_ARN", source),
        ("ERROR_CODE", code(error).to_owned()),
        ("ERROR_MESSAGE", error.to_string()),
    ];
    let kept = parcel.attributes.get("MessageGroupId").cloned();
    parcel.attributes = beside
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(kept.map(|group| ("MessageGroupId".to_owned(), group)))
        .collect::<BTreeMap<_, _>>();
    parcel.failures = 0;
    Next::Later(Duration::ZERO, Some(Box::new(parcel)))
}

/// Hands a parcel that was given up to its dead-letter queue.
async fn bury(outbox: &Outbox, deliver: &dyn Deliver, mut parcel: Parcel) -> Next {
    let Some(queue) = parcel.dead_letter.clone() else {
        return Next::Done;
    };
    let message = Delivery {
        body: parcel.body(),
        attributes: parcel.attributes.clone(),
        id: Some(parcel.id),
    };
    let Err(error) = deliver.deliver(&queue, message).await else {
        return Next::Done;
    };
    if outbox.inner.is_draining.load(Ordering::Relaxed) {
        return Next::Later(BACKOFF_MAX, None);
    }
    parcel.failures += 1;
    if !error.is_retryable() || parcel.failures > DEAD_LETTER_ATTEMPTS_MAX {
        tracing::warn!(
            id = %parcel.id, source = parcel.source, target = parcel.target, queue, %error,
            "an event was dropped: neither its target nor its dead-letter queue took it"
        );
        return Next::Done;
    }
    Next::Later(backoff(parcel.failures), Some(Box::new(parcel)))
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST
        .saturating_mul(1 << failures.min(16))
        .min(BACKOFF_MAX)
}

fn code(error: &DeliverError) -> &'static str {
    match error {
        DeliverError::NotFound(_) => "NO_RESOURCE",
        DeliverError::Unsupported(_) => "NOT_SUPPORTED",
        DeliverError::Refused(_) => "INVALID_PARAMETER",
        DeliverError::Unavailable(_) => "SDK_CLIENT_ERROR",
    }
}
