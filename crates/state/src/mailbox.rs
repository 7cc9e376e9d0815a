//! Messages between running functions.
//!
//! A message goes straight to a receiver that waits for one. Otherwise it is in the receiver's inbox before the sender
//! hears of it, and stays there, whoever dies, until it is received. Per receiver, messages of one sender come in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use squall_store::{Batch, Scan, Space, Store};
use tokio::sync::Notify;

use crate::StateError;

/// Messages by receiver, in the order of their arrival.
const INBOX: Space = Space("state_inbox");
const ID_BYTES_MAX: usize = 256;
/// The most ids that are known in memory; others are read from the store when they are asked for.
const BOXES_MAX: usize = 100_000;

/// All inboxes. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    messages_max: usize,
    message_bytes_max: usize,
    boxes: Mutex<HashMap<Bytes, Arc<Inbox>>>,
}

/// One receiver's.
#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    /// One of sending, receiving at a time may touch what is stored.
    ordered: tokio::sync::Mutex<()>,
    arrived: Notify,
}

#[derive(Default)]
struct InboxState {
    registered: bool,
    /// How many messages are stored; `None` until they were counted, and while one is written or removed, since
    /// whoever does that may go in the middle of it.
    stored: Option<usize>,
    /// The last message that was received: what is before it is not looked at again.
    received: Option<Bytes>,
    /// The message that is being removed, for the next receiver where its own goes before it has it.
    leaving: Option<(Bytes, Bytes)>,
}

impl Mailbox {
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        messages_max: usize,
        message_bytes_max: usize,
    ) -> Result<Self, StateError> {
        Ok(Self(Arc::new(Inner {
            store,
            messages_max,
            message_bytes_max,
            boxes: Mutex::default(),
        })))
    }

    /// Says that somebody will receive for this id: messages to it need to survive the process only, since their
    /// receiver does not survive the machine either.
    ///
    /// # Errors
    /// [`StateError::Invalid`] for an id that cannot be, [`StateError::Full`].
    pub fn register(&self, id: &str) -> Result<(), StateError> {
        self.inbox(id)?.state().registered = true;
        Ok(())
    }

    /// Says that nobody receives for this id for now. What is in its inbox stays.
    ///
    /// # Errors
    /// [`StateError::Invalid`] for an id that cannot be.
    pub fn unregister(&self, id: &str) -> Result<(), StateError> {
        self.inbox(id)?.state().registered = false;
        Ok(())
    }

    /// Sends. When it returns, the message will be received by whoever receives for `id`, now or later.
    ///
    /// # Errors
    /// [`StateError::InboxFull`] when too many messages wait, [`StateError::TooLarge`], [`StateError::Store`].
    pub async fn send(&self, id: &str, message: Bytes) -> Result<(), StateError> {
        let max = self.0.message_bytes_max;
        if message.len() > max {
            return Err(StateError::TooLarge {
                what: "a message",
                bytes: message.len(),
                max,
            });
        }
        let inbox = self.inbox(id)?;
        let _ordered = inbox.ordered.lock().await;
        let stored = self.count(id, &inbox).await?;
        if stored >= self.0.messages_max {
            return Err(StateError::InboxFull {
                id: id.to_owned(),
                max: self.0.messages_max,
            });
        }
        let batch = if inbox.state().registered {
            Batch::buffered()
        } else {
            Batch::durable()
        };
        inbox.state().stored = None;
        self.0
            .store
            .commit(batch.append(INBOX, prefix(id), message))
            .await?;
        inbox.state().stored = Some(stored + 1);
        inbox.arrived.notify_one();
        Ok(())
    }

    /// The next message to `id`; `None` when there is none within `timeout`. A message that was returned is gone.
    /// Dropping the future loses none: the one that it was taking goes to the next who asks.
    ///
    /// # Errors
    /// [`StateError::Invalid`], [`StateError::Store`].
    pub async fn recv(&self, id: &str, timeout: Duration) -> Result<Option<Bytes>, StateError> {
        let inbox = self.inbox(id)?;
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let arrived = inbox.arrived.notified();
            if let Some(message) = self.take(id, &inbox).await? {
                return Ok(Some(message));
            }
            if tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return self.take(id, &inbox).await;
            }
        }
    }

    async fn take(&self, id: &str, inbox: &Inbox) -> Result<Option<Bytes>, StateError> {
        let _ordered = inbox.ordered.lock().await;
        let leaving = inbox.state().leaving.clone();
        let (key, message, left) = match leaving {
            // Another receiver went while it was removed, or before.
            Some((key, message)) => (key, message, None),
            None => match self.oldest(id, inbox).await? {
                Some((key, message, left)) => (key, message, Some(left)),
                None => return Ok(None),
            },
        };
        let mut wake = WakeNext {
            inbox,
            is_needed: true,
        };
        {
            let mut state = inbox.state();
            state.stored = None;
            state.leaving = Some((key.clone(), message.clone()));
        }
        self.0
            .store
            .commit(Batch::buffered().delete(INBOX, key.clone()))
            .await?;
        let mut state = inbox.state();
        state.stored = left;
        state.received = Some(key);
        state.leaving = None;
        wake.is_needed = left != Some(0);
        Ok(Some(message))
    }

    /// The key of the message that came first, the message, and how many others there are.
    async fn oldest(&self, id: &str, inbox: &Inbox) -> Result<Option<(Bytes, Bytes, usize)>, StateError> {
        let stored = self.count(id, inbox).await?;
        if stored == 0 {
            return Ok(None);
        }
        let mut scan = Scan::prefix(INBOX, prefix(id)).limit(1);
        scan.after = inbox.state().received.clone();
        match self.0.store.scan(scan).await?.into_iter().next() {
            Some((key, entry)) => Ok(Some((key, entry.value, stored - 1))),
            None => Err(StateError::Corrupt(format!("a message to `{id}` is missing"))),
        }
    }

    async fn count(&self, id: &str, inbox: &Inbox) -> Result<usize, StateError> {
        if let Some(stored) = inbox.state().stored {
            return Ok(stored);
        }
        let scan = Scan::prefix(INBOX, prefix(id)).limit(self.0.messages_max);
        let stored = self.0.store.scan(scan).await?.len();
        inbox.state().stored = Some(stored);
        Ok(stored)
    }

    fn inbox(&self, id: &str) -> Result<Arc<Inbox>, StateError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(StateError::Invalid(format!(
                "the id of a receiver has 1 to {ID_BYTES_MAX} bytes, and this one has {}",
                id.len()
            )));
        }
        let mut boxes = self.0.boxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = boxes.get(id.as_bytes()) {
            return Ok(found.clone());
        }
        if boxes.len() >= BOXES_MAX {
            // What is stored is found again; what somebody uses right now stays.
            boxes.retain(|_, inbox| Arc::strong_count(inbox) > 1 || inbox.state().is_needed());
        }
        if boxes.len() >= BOXES_MAX {
            return Err(StateError::Full {
                what: "the list of receivers".to_owned(),
                max: BOXES_MAX as u64,
            });
        }
        let inbox = Arc::new(Inbox::default());
        boxes.insert(Bytes::copy_from_slice(id.as_bytes()), inbox.clone());
        Ok(inbox)
    }
}

/// Wakes another receiver when it is dropped: where one has gone in the middle, and where there are more messages,
/// since two that come at once may have woken the same one.
struct WakeNext<'a> {
    inbox: &'a Inbox,
    is_needed: bool,
}

impl Drop for WakeNext<'_> {
    fn drop(&mut self) {
        if self.is_needed {
            self.inbox.arrived.notify_one();
        }
    }
}

impl InboxState {
    fn is_needed(&self) -> bool {
        self.registered || self.leaving.is_some()
    }
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No id is the beginning of another's prefix: its length comes first.
fn prefix(id: &str) -> Bytes {
    let mut prefix = Vec::with_capacity(2 + id.len());
    prefix.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes());
    prefix.extend_from_slice(id.as_bytes());
    prefix.into()
}
