//! The queues themselves: created, looked at, changed, emptied, deleted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use squall_store::{Batch, Durability};

use super::attributes::{Attributes, Definition, check_name};
use super::record;
use super::shelf::{Counts, State};
use super::{Queue, QueueError, Queues, REMOVED_AT_ONCE};

const PURGE_EVERY_MS: u64 = 60_000;
const TAGS_MAX: usize = 50;

/// What is known of a queue.
#[derive(Debug, Clone)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What can be set on it.
    pub attributes: Attributes,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// How many messages it holds.
    pub counts: Counts,
    /// When the oldest that was not deleted was sent, since the beginning of 1970.
    pub oldest_sent: Option<Duration>,
    /// When it was created, in seconds of the Unix epoch.
    pub created_secs: u64,
    /// When its attributes were last changed.
    pub modified_secs: u64,
}

impl QueueView {
    /// All attributes by SQS's names.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let mut shown = self.attributes.shown();
        let numbers = [
            ("ApproximateNumberOfMessages", self.counts.ready as u64),
            (
                "ApproximateNumberOfMessagesNotVisible",
                self.counts.in_flight as u64,
            ),
            ("ApproximateNumberOfMessagesDelayed", self.counts.delayed as u64),
            ("CreatedTimestamp", self.created_secs),
            ("LastModifiedTimestamp", self.modified_secs),
        ];
        for (name, number) in numbers {
            shown.insert(name.to_owned(), number.to_string());
        }
        shown.insert("QueueArn".to_owned(), self.arn.clone());
        shown
    }
}

impl Queues {
    /// Creates a queue. One that is there already is left as it is, if it has the attributes that are given.
    ///
    /// # Errors
    /// [`QueueError::NameExists`], and what is wrong with the name or an attribute.
    pub async fn create(
        &self,
        name: &str,
        given: &BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let attributes = Attributes::default().with(given)?;
        check_name(name, attributes.fifo)?;
        check_tags(&tags)?;
        let _one_at_a_time = self.0.changing.lock().await;
        if let Ok(existing) = self.find(name) {
            let (is, wanted) = (existing.attributes().shown(), attributes.shown());
            return match given.keys().find(|key| is.get(*key) != wanted.get(*key)) {
                Some(key) => Err(QueueError::NameExists(key.clone())),
                None => Ok(()),
            };
        }
        self.check_redrive(name, &attributes)?;
        if self.0.all().len() >= self.0.config.queues_max {
            return Err(QueueError::OverLimit(format!(
                "There are {} queues, the most that there may be.",
                self.0.config.queues_max
            )));
        }
        let now = self.0.clock.wall_ms();
        let definition = Definition {
            id: self.0.numbers(1),
            attributes,
            tags,
            created_ms: now,
            modified_ms: now,
        };
        self.save(name, &definition).await?;
        let queue = Arc::new(Queue::new(name, definition));
        let mut queues = self.0.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.insert(name.to_owned(), queue);
        drop(queues);
        tracing::info!(queue = name, "created a queue");
        Ok(())
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`].
    pub async fn remove_queue(&self, name: &str) -> Result<(), QueueError> {
        let _one_at_a_time = self.0.changing.lock().await;
        let queue = self.find(name)?;
        let batch = Batch::durable().delete(record::QUEUES, name.to_owned());
        self.0.store.commit(batch).await?;
        self.0.forget(name);
        queue.wake.notify_waiters();
        // What a crash leaves of this is removed when the queues are opened: it belongs to no queue.
        self.0.empty(&queue, Durability::Buffered).await?;
        tracing::info!(queue = name, "deleted a queue");
        Ok(())
    }

    /// Removes all messages that a queue holds.
    ///
    /// # Errors
    /// [`QueueError::PurgeInProgress`] within a minute of the last time.
    pub async fn purge(&self, name: &str) -> Result<(), QueueError> {
        let queue = self.find(name)?;
        let now = self.0.clock.now_ms();
        let last = queue.purged_ms.load(Ordering::Relaxed);
        let is_early = last != 0 && now < last + PURGE_EVERY_MS;
        if is_early
            || queue
                .purged_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return Err(QueueError::PurgeInProgress(name.to_owned()));
        }
        self.0.empty(&queue, Durability::Durable).await
    }

    /// What is known of a queue.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`].
    pub fn view(&self, name: &str) -> Result<QueueView, QueueError> {
        let queue = self.find(name)?;
        let (counts, oldest_sent) = {
            let mut shelf = queue.shelf();
            shelf.advance(self.0.clock.now_ms());
            (shelf.counts(), shelf.oldest_sent_ms().map(Duration::from_millis))
        };
        let definition = queue.definition.read().unwrap_or_else(PoisonError::into_inner);
        Ok(QueueView {
            name: name.to_owned(),
            arn: self.0.arn(name),
            attributes: definition.attributes.clone(),
            tags: definition.tags.clone(),
            counts,
            oldest_sent,
            created_secs: definition.created_ms / 1000,
            modified_secs: definition.modified_ms / 1000,
        })
    }

    /// The names of all queues that start with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let queues = self.0.queues.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = queues
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect();
        names.sort();
        names
    }

    /// The queue that an ARN names; `None` for ARNs that are no queue's of this server.
    pub fn name_of_arn<'a>(&self, arn: &'a str) -> Option<&'a str> {
        self.0.name_in(arn)
    }

    /// The names of the queues whose dead-letter queue this is.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`].
    pub fn dead_letter_sources(&self, name: &str) -> Result<Vec<String>, QueueError> {
        let arn = self.0.arn(&self.find(name)?.name);
        let mut names: Vec<String> = self
            .0
            .all()
            .into_iter()
            .filter(|queue| {
                queue
                    .attributes()
                    .redrive
                    .is_some_and(|policy| policy.target_arn == arn)
            })
            .map(|queue| queue.name.clone())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Sets attributes.
    ///
    /// # Errors
    /// What is wrong with one of them; nothing is set then.
    pub async fn set_attributes(
        &self,
        name: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<(), QueueError> {
        let attributes = self.find(name)?.attributes().with(given)?;
        if given.contains_key("FifoQueue") && attributes.fifo != name.ends_with(".fifo") {
            return Err(QueueError::InvalidAttribute(
                "FifoQueue cannot be changed once a queue exists.".to_owned(),
            ));
        }
        self.check_redrive(name, &attributes)?;
        self.change(name, |definition, now| {
            definition.attributes = attributes;
            definition.modified_ms = now;
            Ok(())
        })
        .await
    }

    /// Adds tags, and removes those of the names in `removed`.
    ///
    /// # Errors
    /// [`QueueError::NoSuchQueue`]; [`QueueError::InvalidParameter`] for too many tags.
    pub async fn tag(
        &self,
        name: &str,
        added: BTreeMap<String, String>,
        removed: &[String],
    ) -> Result<(), QueueError> {
        self.change(name, |definition, _| {
            definition.tags.retain(|key, _| !removed.contains(key));
            definition.tags.extend(added);
            check_tags(&definition.tags)
        })
        .await
    }

    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Definition, u64) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let _one_at_a_time = self.0.changing.lock().await;
        let queue = self.find(name)?;
        let mut definition = queue
            .definition
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        change(&mut definition, self.0.clock.wall_ms())?;
        self.save(name, &definition).await?;
        *queue.definition.write().unwrap_or_else(PoisonError::into_inner) = definition;
        Ok(())
    }

    async fn save(&self, name: &str, definition: &Definition) -> Result<(), QueueError> {
        let record = record::encode_definition(definition);
        let batch = Batch::durable().put(record::QUEUES, name.to_owned(), record);
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// A dead-letter queue must be there, and be of the same kind.
    fn check_redrive(&self, name: &str, attributes: &Attributes) -> Result<(), QueueError> {
        let Some(policy) = &attributes.redrive else {
            return Ok(());
        };
        let wrong = |reason: &str| {
            Err(QueueError::InvalidParameter(format!(
                "Value {} for parameter RedrivePolicy is invalid. Reason: {reason}",
                policy.target_arn
            )))
        };
        let target = self.0.name_in(&policy.target_arn);
        match target.and_then(|target| self.find(target).ok()) {
            None => wrong("Dead letter target does not exist."),
            Some(target) if target.name == name => wrong("A queue cannot be its own dead letter target."),
            Some(target) if target.attributes().fifo != attributes.fifo => {
                wrong("Dead-letter queue must be same type of queue as the source.")
            }
            Some(_) => Ok(()),
        }
    }
}

impl super::Inner {
    fn forget(&self, name: &str) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.remove(name);
    }

    async fn empty(&self, queue: &Queue, durability: Durability) -> Result<(), QueueError> {
        let all = {
            let mut shelf = queue.shelf();
            let all = shelf.removable();
            for sequence in &all {
                shelf.set(*sequence, State::Leaving);
            }
            all
        };
        for part in all.chunks(REMOVED_AT_ONCE) {
            let batch = Batch {
                ops: Vec::new(),
                durability,
            };
            self.remove(queue, part, batch).await?;
        }
        Ok(())
    }
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), QueueError> {
    if tags.len() > TAGS_MAX {
        return Err(QueueError::InvalidParameter(format!(
            "Too many tags added for queue: at most {TAGS_MAX} are allowed."
        )));
    }
    let fits = |key: &str, value: &str| !key.is_empty() && key.len() <= 128 && value.len() <= 256;
    match tags.iter().find(|(key, value)| !fits(key, value)) {
        None => Ok(()),
        Some((key, _)) => Err(QueueError::InvalidParameter(format!(
            "The tag `{key}` is too long or has no key: 1 to 128 characters, and up to 256 for its value."
        ))),
    }
}
