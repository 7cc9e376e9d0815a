//! Sending: checked, given a number, written, and only then acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use squall_store::Batch;
use squall_store::once::Taken;
use squall_types::RequestId;
use uuid::Uuid;

use super::message::{AttributeValue, Content, NewMessage};
use super::record::{self, Place, Seen};
use super::shelf::State;
use super::{Attributes, Inner, Queue, QueueError, Queues};

/// For how long a FIFO queue remembers what it was sent.
const SEEN_MS: u64 = 300_000;
const ATTRIBUTES_MAX: usize = 10;
const GROUP_CHARS_MAX: usize = 128;

/// A message that is in its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub id: Uuid,
    /// Its number in a FIFO queue.
    pub sequence: Option<u64>,
}

/// A message on its way into the store.
struct Draft {
    sequence: u64,
    place: Place,
    content: Content,
    seen_as: Option<String>,
}

/// What a FIFO queue knows of a message.
enum Claim {
    New,
    Duplicate(Sent),
    /// The same message is being written.
    Wait,
}

impl Queues {
    /// Sends one message.
    ///
    /// # Errors
    /// [`QueueError`]'s refusals; nothing was sent then, unless it is [`QueueError::Store`].
    pub async fn send(&self, queue: &str, message: NewMessage, sender: &str) -> Result<Sent, QueueError> {
        let mut sent = self.send_all(queue, vec![message], sender).await?;
        sent.pop().expect("one answer per message")
    }

    /// Sends several messages with one commit; an answer for each. When an answer is `Ok`, its message survives power
    /// loss. Dropping the future does not take back what was begun.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`]; refusals of single messages are in the answers.
    pub async fn send_all(
        &self,
        queue: &str,
        messages: Vec<NewMessage>,
        sender: &str,
    ) -> Result<Vec<Result<Sent, QueueError>>, QueueError> {
        self.send_in_a_task(queue, messages, sender, None).await
    }

    /// Sends a message that was delivered. With `once`, the delivery's id, only if it was not before.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn send_once(
        &self,
        queue: &str,
        message: NewMessage,
        sender: &str,
        once: Option<RequestId>,
    ) -> Result<(), QueueError> {
        let mut sent = self.send_in_a_task(queue, vec![message], sender, once).await?;
        sent.pop().expect("one answer per message").map(drop)
    }

    async fn send_in_a_task(
        &self,
        queue: &str,
        messages: Vec<NewMessage>,
        sender: &str,
        once: Option<RequestId>,
    ) -> Result<Vec<Result<Sent, QueueError>>, QueueError> {
        let queue = self.find(queue)?;
        let (queues, sender) = (self.clone(), sender.to_owned());
        let sending = self
            .0
            .tasks
            .spawn(async move { queues.send_now(&queue, messages, &sender, once).await });
        sending.await.unwrap_or_else(|error| {
            Err(QueueError::Store(squall_store::StoreError::Io {
                attempted: "write a message",
                reason: error.to_string(),
            }))
        })
    }

    async fn send_now(
        &self,
        queue: &Arc<Queue>,
        messages: Vec<NewMessage>,
        sender: &str,
        once: Option<RequestId>,
    ) -> Result<Vec<Result<Sent, QueueError>>, QueueError> {
        let attributes = queue.attributes();
        let mut answers = Vec::with_capacity(messages.len());
        let mut drafts = Vec::new();
        for message in messages {
            let answer = match check(&message, &attributes) {
                Err(refused) => Err(refused),
                Ok(()) => self.claim(queue, &attributes, message, sender, &mut drafts).await,
            };
            answers.push(answer);
        }
        if !drafts.is_empty() {
            self.0.write(queue, drafts, once).await?;
        }
        Ok(answers)
    }

    /// Gives a message its number and its place in memory, or finds that it was sent before.
    async fn claim(
        &self,
        queue: &Arc<Queue>,
        attributes: &Attributes,
        message: NewMessage,
        sender: &str,
        drafts: &mut Vec<Draft>,
    ) -> Result<Sent, QueueError> {
        let seen_as = attributes.fifo.then(|| seen_as(&message, attributes));
        if let Some(name) = &seen_as {
            loop {
                let sent = queue.sent.notified();
                tokio::pin!(sent);
                sent.as_mut().enable();
                match queue.claim(name, self.0.clock.wall_ms()) {
                    Claim::New => break,
                    Claim::Duplicate(sent) => return Ok(sent),
                    // Of this very batch: it is written with it, or not at all.
                    Claim::Wait => {
                        if let Some(own) = drafts.iter().find(|draft| draft.seen_as.as_ref() == Some(name)) {
                            return Ok(own.sent(true));
                        }
                        // Who holds what another waits for would wait for ever.
                        if !drafts.is_empty() {
                            self.0.write(queue, std::mem::take(drafts), None).await?;
                        }
                        sent.await;
                    }
                }
            }
        }
        if self.0.messages.load(Ordering::Relaxed) >= self.0.config.messages_max {
            if let Some(name) = &seen_as {
                queue.seen().remove(name);
                queue.sent.notify_waiters();
            }
            let max = self.0.config.messages_max;
            return Err(QueueError::OverLimit(format!(
                "The server holds {max} messages, the most that it may; receive some first."
            )));
        }
        let draft = self.0.draft(queue, attributes, message, sender, seen_as);
        let sent = draft.sent(attributes.fifo);
        drafts.push(draft);
        Ok(sent)
    }
}

impl Inner {
    fn draft(
        &self,
        queue: &Queue,
        attributes: &Attributes,
        message: NewMessage,
        sender: &str,
        seen_as: Option<String>,
    ) -> Draft {
        let sent_ms = self.clock.wall_ms();
        let delay_secs = message.delay_secs.unwrap_or(attributes.delay_secs);
        let place = Place {
            sent_ms,
            visible_ms: match delay_secs {
                0 => 0,
                secs => self.clock.now_ms() + u64::from(secs) * 1000,
            },
            receive_count: 0,
            first_received_ms: 0,
            bytes: u32::try_from(message.bytes()).expect("it was checked"),
            group: message.group.clone(),
        };
        let deduplication_id = match (&message.deduplication_id, attributes.content_deduplication) {
            (Some(id), _) => Some(id.clone()),
            (None, true) => Some(content_sum(&message.body)),
            (None, false) => None,
        };
        let content = Content {
            id: Uuid::new_v4(),
            body: message.body,
            attributes: message.attributes,
            trace_header: message.trace_header,
            sender: sender.to_owned(),
            sent_ms,
            group: message.group,
            deduplication_id,
            dead_letter_source: None,
        };
        self.messages.fetch_add(1, Ordering::Relaxed);
        // Under the shelf's lock, so that numbers and places in groups have one order.
        let mut shelf = queue.shelf();
        let sequence = self.numbers(1);
        shelf.insert(sequence, &place, State::Pending);
        drop(shelf);
        Draft {
            sequence,
            place,
            content,
            seen_as,
        }
    }

    /// Writes all drafts together, and puts them where they can be received. With `once`, only if no drafts were
    /// written by this id before.
    async fn write(
        &self,
        queue: &Queue,
        drafts: Vec<Draft>,
        once: Option<RequestId>,
    ) -> Result<(), QueueError> {
        let mut batch = Batch::durable();
        let expires_ms = self.clock.wall_ms() + SEEN_MS;
        for draft in &drafts {
            let key = record::key(queue.id, draft.sequence);
            batch = batch
                .put(record::PLACES, key.clone(), record::encode_place(&draft.place))
                .put(record::CONTENTS, key, record::encode_content(&draft.content));
            if let Some(name) = &draft.seen_as {
                let seen = record::encode_seen(&draft.seen(expires_ms));
                batch = batch.put(record::SEEN, record::seen_key(queue.id, name), seen);
            }
        }
        let committed = match once {
            None => self.store.commit(batch).await.map(Taken::Now),
            Some(id) => self.delivered.commit(batch, id.0.as_bytes()).await,
        };
        let now = self.clock.now_ms();
        let mut shelf = queue.shelf();
        for draft in &drafts {
            match &committed {
                Ok(Taken::Now(_)) if draft.place.visible_ms > now => {
                    shelf.set(draft.sequence, State::Delayed(draft.place.visible_ms));
                }
                Ok(Taken::Now(_)) => shelf.set(draft.sequence, State::Ready),
                Ok(Taken::Before) | Err(_) => {
                    shelf.remove(draft.sequence);
                    self.messages.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        drop(shelf);
        let mut seen = queue.seen();
        for draft in &drafts {
            if let Some(name) = &draft.seen_as {
                match &committed {
                    Ok(Taken::Now(_)) => seen.insert(name.clone(), Some(draft.seen(expires_ms))),
                    Ok(Taken::Before) | Err(_) => seen.remove(name),
                };
            }
        }
        drop(seen);
        queue.sent.notify_waiters();
        queue.wake.notify_one();
        committed?;
        Ok(())
    }
}

impl Draft {
    fn sent(&self, fifo: bool) -> Sent {
        Sent {
            id: self.content.id,
            sequence: fifo.then_some(self.sequence),
        }
    }

    fn seen(&self, expires_ms: u64) -> Seen {
        Seen {
            id: self.content.id,
            sequence: self.sequence,
            expires_ms,
        }
    }
}

impl Queue {
    fn claim(&self, name: &str, now: u64) -> Claim {
        let mut seen = self.seen();
        match seen.get(name) {
            Some(None) => Claim::Wait,
            Some(Some(before)) if before.expires_ms > now => Claim::Duplicate(Sent {
                id: before.id,
                sequence: Some(before.sequence),
            }),
            _ => {
                seen.insert(name.to_owned(), None);
                Claim::New
            }
        }
    }
}

/// The name under which a FIFO queue remembers a message.
fn seen_as(message: &NewMessage, attributes: &Attributes) -> String {
    let id = match &message.deduplication_id {
        Some(id) => id.clone(),
        None => content_sum(&message.body),
    };
    match &message.group {
        // A group has no line end in it.
        Some(group) if attributes.deduplicates_per_group() => format!("{group}\n{id}"),
        _ => id,
    }
}

fn content_sum(body: &str) -> String {
    let sum = Sha256::digest(body.as_bytes());
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(message: &NewMessage, attributes: &Attributes) -> Result<(), QueueError> {
    if message.body.is_empty() {
        return Err(QueueError::Missing("MessageBody"));
    }
    check_text(&message.body)?;
    if message.bytes() > attributes.bytes_max as usize {
        return Err(QueueError::TooLarge(attributes.bytes_max as usize));
    }
    if message.delay_secs.is_some_and(|secs| secs > 900) {
        return Err(invalid("DelaySeconds", "DelaySeconds must be >= 0 and <= 900."));
    }
    check_attributes(message)?;
    check_order(message, attributes)
}

fn check_attributes(message: &NewMessage) -> Result<(), QueueError> {
    if message.attributes.len() > ATTRIBUTES_MAX {
        return Err(QueueError::InvalidParameter(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{ATTRIBUTES_MAX}].",
            message.attributes.len()
        )));
    }
    for (name, attribute) in &message.attributes {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if name.is_empty() || name.len() > 256 || !name.bytes().all(allowed) {
            return Err(invalid(
                "MessageAttributes",
                "a name may have letters, digits, `_`, `-` and `.`",
            ));
        }
        let kind = attribute.data_type.split('.').next().unwrap_or_default();
        let fits = match (&attribute.value, kind) {
            (AttributeValue::Text(text), "String") => !text.is_empty(),
            (AttributeValue::Text(text), "Number") => text.parse::<f64>().is_ok(),
            (AttributeValue::Binary(bytes), "Binary") => !bytes.is_empty(),
            _ => false,
        };
        if !fits {
            return Err(QueueError::InvalidParameter(format!(
                "The message attribute '{name}' must contain a non-empty value of its type '{}'.",
                attribute.data_type
            )));
        }
        if let AttributeValue::Text(text) = &attribute.value {
            check_text(text)?;
        }
    }
    Ok(())
}

fn check_order(message: &NewMessage, attributes: &Attributes) -> Result<(), QueueError> {
    if let Some(group) = &message.group {
        check_id("MessageGroupId", group)?;
    }
    if !attributes.fifo {
        if message.deduplication_id.is_some() {
            return Err(invalid(
                "MessageDeduplicationId",
                "The request includes a parameter that is not valid for this queue type.",
            ));
        }
        return Ok(());
    }
    if message.group.is_none() {
        return Err(QueueError::Missing("MessageGroupId"));
    }
    if message.delay_secs.is_some_and(|secs| secs > 0) {
        return Err(invalid(
            "DelaySeconds",
            "The request includes a parameter that is not valid for this queue type.",
        ));
    }
    match &message.deduplication_id {
        Some(id) => check_id("MessageDeduplicationId", id),
        None if attributes.content_deduplication => Ok(()),
        None => Err(QueueError::InvalidParameter(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
                .to_owned(),
        )),
    }
}

fn check_id(name: &str, id: &str) -> Result<(), QueueError> {
    if id.is_empty() || id.len() > GROUP_CHARS_MAX || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid(
            name,
            "it can only include alphanumeric and punctuation characters, 1 to 128 in length",
        ));
    }
    Ok(())
}

/// The characters that XML 1.0 allows; SQS takes no others.
fn check_text(text: &str) -> Result<(), QueueError> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    match text.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(QueueError::InvalidContents(format!(
            "Invalid characters found: {}. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | \
             #xE000 to #xFFFD | #x10000 to #x10FFFF",
            c.escape_unicode()
        ))),
    }
}

fn invalid(name: &str, reason: &str) -> QueueError {
    QueueError::InvalidParameter(format!("Value for parameter {name} is invalid. Reason: {reason}"))
}
