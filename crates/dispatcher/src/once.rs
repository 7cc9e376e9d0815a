//! Calls with an idempotency key: made once, then answered with what the first came to.
//!
//! Of calls with one key one at a time goes on; the others wait for it and then look again. What a call came to is
//! written before its caller has it; an accepted event and its key are written in one batch. Refusals and faults of the
//! platform are not kept: nothing ran to its end, and the call may be made again.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use squall_store::{Batch, Store, StoreError};
use squall_types::{
    Encoding, First, FunctionError, IdempotencyKey, Invocation, InvokeError, InvokeOnce, OnceError, Outcome,
    RequestId, Usage, Version,
};
use tokio::sync::watch;

use crate::dispatcher::{Dispatcher, Inner};
use crate::invoke;
use crate::kept::{Kept, KeptId, Limits, seal, unseal};
use crate::queue::full;

/// The first byte of their records' keys.
const KIND: u8 = b'k';
/// A change of [`Stored`] is a new format, and still reads the old.
const FORMAT: u8 = 1;

/// What tells a repeat from another call.
type Fingerprint = [u8; 32];

/// The calls with a key: those that go on, and what those before came to.
pub(crate) struct Once {
    kept: Kept,
    flights: Mutex<HashMap<KeptId, Flight>>,
}

/// A call that goes on. Who waits for it sees the sender go.
struct Flight {
    fingerprint: Fingerprint,
    ended: watch::Sender<()>,
}

/// The right to go on with a key, given back when it is dropped.
struct Turn {
    inner: Arc<Inner>,
    id: KeptId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.once.flights().remove(&self.id);
    }
}

/// What the first call came to, as it is kept.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    fingerprint: Fingerprint,
    request_id: RequestId,
    /// `None`: it was accepted.
    #[serde(borrow)]
    answer: Option<Answer<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Answer<'a> {
    executed_version: Option<u64>,
    is_error: bool,
    body: &'a [u8],
    log_tail: Option<&'a [u8]>,
}

impl Once {
    pub(crate) async fn open(store: Arc<dyn Store>, limits: Limits) -> Result<Self, StoreError> {
        Ok(Self {
            kept: Kept::open(store, KIND, limits).await?,
            flights: Mutex::default(),
        })
    }

    pub(crate) async fn sweep(&self, now: SystemTime) -> Result<(), StoreError> {
        self.kept.sweep(now).await
    }

    /// Refuses a call whose outcome might find no room; those that go on have theirs, this one included.
    fn find_room(&self) -> Result<(), InvokeError> {
        let others = self.flights().len().saturating_sub(1);
        match self.kept.is_full(others) {
            true => Err(full()),
            false => Ok(()),
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<KeptId, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl InvokeOnce for Dispatcher {
    async fn invoke_once(
        &self,
        key: &IdempotencyKey,
        invocation: Invocation,
    ) -> Result<First<Outcome>, OnceError> {
        self.check_call(&invocation)?;
        let (id, fingerprint) = name(key, &invocation, "call");
        let inner = self.inner().clone();
        // Not to be cut in two: what ran must be kept, also when its caller has left.
        self.detached(async move { invoke_once(&inner, id, fingerprint, invocation).await })
            .await
    }

    async fn accept_once(
        &self,
        key: &IdempotencyKey,
        invocation: Invocation,
    ) -> Result<First<()>, OnceError> {
        let (id, fingerprint) = name(key, &invocation, "event");
        let dispatcher = self.clone();
        self.detached(async move { accept_once(&dispatcher, id, fingerprint, invocation).await })
            .await
    }
}

/// The key's record, and what must be the same in every repeat. A key belongs to one function.
fn name(key: &IdempotencyKey, invocation: &Invocation, kind: &str) -> (KeptId, Fingerprint) {
    let function = invocation.target.name.as_str();
    let hash = hash(&[function.as_bytes(), key.as_str().as_bytes()]);
    let mut id = KeptId::default();
    id.copy_from_slice(&hash[..size_of::<KeptId>()]);
    let context = invocation.client_context.as_deref().unwrap_or_default();
    let target = invocation.target.to_string();
    let fingerprint = self::hash(&[kind.as_bytes(), target.as_bytes(), context, &invocation.payload]);
    (id, fingerprint)
}

/// With lengths, so that no two lists of parts are one text.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}

/// Waits until nobody else goes on with this key.
async fn take_turn(inner: &Arc<Inner>, id: KeptId, fingerprint: Fingerprint) -> Result<Turn, OnceError> {
    loop {
        let mut ended = {
            let mut flights = inner.once.flights();
            match flights.get(&id) {
                Some(flight) if flight.fingerprint != fingerprint => return Err(OnceError::KeyReused),
                Some(flight) => flight.ended.subscribe(),
                None => {
                    let ended = watch::Sender::new(());
                    flights.insert(id, Flight { fingerprint, ended });
                    let inner = inner.clone();
                    return Ok(Turn { inner, id });
                }
            }
        };
        // Nothing is ever sent: this ends when the sender is dropped.
        let _ = ended.changed().await;
    }
}

/// What is kept under the key, where it stands for the same call.
async fn look_up(inner: &Inner, id: KeptId, fingerprint: Fingerprint) -> Result<Option<Bytes>, OnceError> {
    let found = inner.once.kept.get(id, SystemTime::now()).await;
    let record = found.map_err(|error| unreadable(&error))?;
    let Some((record, _)) = record else {
        return Ok(None);
    };
    let stored: Stored<'_> = unseal(FORMAT, &record).map_err(|error| unreadable(&error))?;
    if stored.fingerprint != fingerprint {
        return Err(OnceError::KeyReused);
    }
    Ok(Some(record))
}

fn unreadable(error: &dyn std::fmt::Display) -> OnceError {
    let why = format!("could not read what an idempotency key stands for: {error}");
    InvokeError::Platform(why).into()
}

async fn invoke_once(
    inner: &Arc<Inner>,
    id: KeptId,
    fingerprint: Fingerprint,
    invocation: Invocation,
) -> Result<First<Outcome>, OnceError> {
    let turn = take_turn(inner, id, fingerprint).await?;
    if let Some(record) = look_up(inner, id, fingerprint).await? {
        return read_answer(&record);
    }
    inner.once.find_room()?;
    let request_id = invocation.request_id;
    let outcome = invoke::call(inner.clone(), invocation, None).await?;
    let record = answer_record(fingerprint, request_id, &outcome);
    keep(inner, id, record).await?;
    drop(turn);
    Ok(First {
        request_id,
        is_repeat: false,
        answer: outcome,
    })
}

/// Durable when it returns.
async fn keep(inner: &Inner, id: KeptId, record: Bytes) -> Result<(), OnceError> {
    let put = inner.once.kept.put(id, record, SystemTime::now());
    let mut batch = Batch::durable();
    batch.ops.clone_from(&put.ops);
    if let Err(error) = inner.store.commit(batch).await {
        tracing::error!(%error, "could not keep what a call with an idempotency key came to");
        let why = "the function ran, and what it answered could not be kept under the idempotency key";
        return Err(InvokeError::Platform(why.to_owned()).into());
    }
    inner.once.kept.noted(&put);
    Ok(())
}

async fn accept_once(
    dispatcher: &Dispatcher,
    id: KeptId,
    fingerprint: Fingerprint,
    invocation: Invocation,
) -> Result<First<()>, OnceError> {
    let inner = dispatcher.inner();
    let turn = take_turn(inner, id, fingerprint).await?;
    if let Some(record) = look_up(inner, id, fingerprint).await? {
        let stored: Stored<'_> = unseal(FORMAT, &record).map_err(|error| unreadable(&error))?;
        return Ok(First {
            request_id: stored.request_id,
            is_repeat: true,
            answer: (),
        });
    }
    inner.once.find_room()?;
    let request_id = invocation.request_id;
    let stored = Stored {
        fingerprint,
        request_id,
        answer: None,
    };
    let mut put = inner
        .once
        .kept
        .put(id, seal(FORMAT, &stored, 0), SystemTime::now());
    let beside = std::mem::take(&mut put.ops);
    dispatcher.accept_with(invocation, beside, None).await?;
    inner.once.kept.noted(&put);
    drop(turn);
    Ok(First {
        request_id,
        is_repeat: false,
        answer: (),
    })
}

fn answer_record(fingerprint: Fingerprint, request_id: RequestId, outcome: &Outcome) -> Bytes {
    let body = match &outcome.result {
        Ok(body) => body,
        Err(error) => &error.body,
    };
    let executed_version = match outcome.executed_version {
        Version::Latest => None,
        Version::Published(number) => Some(number),
    };
    let answer = Answer {
        executed_version,
        is_error: outcome.result.is_err(),
        body,
        log_tail: outcome.log_tail.as_deref(),
    };
    let stored = Stored {
        fingerprint,
        request_id,
        answer: Some(answer),
    };
    seal(FORMAT, &stored, body.len())
}

fn read_answer(record: &Bytes) -> Result<First<Outcome>, OnceError> {
    let stored: Stored<'_> = unseal(FORMAT, record).map_err(|error| unreadable(&error))?;
    let Some(answer) = stored.answer else {
        return Err(unreadable(&"it was accepted, not called"));
    };
    let body = record.slice_ref(answer.body);
    Ok(First {
        request_id: stored.request_id,
        is_repeat: true,
        answer: Outcome {
            executed_version: answer
                .executed_version
                .map_or(Version::Latest, Version::Published),
            result: match answer.is_error {
                true => Err(FunctionError { body }),
                false => Ok(body),
            },
            encoding: Encoding::Json,
            session: None,
            log_tail: answer.log_tail.map(|tail| record.slice_ref(tail)),
            usage: Usage::default(),
        },
    })
}
