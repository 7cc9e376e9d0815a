//! Moving a dead-letter queue's messages back to where they came from: `StartMessageMoveTask`.
//!
//! A task lives as long as the server: after a restart it is unknown, and what it has not moved is still in its queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::shelf::{State, Wish};
use super::{Inner, Queue, QueueError, Queues};

/// So many ended tasks are remembered.
const TASKS_MAX: usize = 100;
const RATE_MAX: u32 = 500;

/// A task that moves messages.
#[derive(Debug, Clone)]
pub struct MoveTask {
    /// Names it.
    pub handle: String,
    /// `RUNNING`, `COMPLETED`, `CANCELLED` or `FAILED`.
    pub status: &'static str,
    /// From where.
    pub source_arn: String,
    /// To where; `None`: to each message's own source.
    pub destination_arn: Option<String>,
    /// How many messages a second.
    pub per_second_max: Option<u32>,
    /// How many were moved.
    pub moved: u64,
    /// How many there were at the start.
    pub to_move: u64,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was started, in milliseconds of the Unix epoch.
    pub started_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct MoveTasks {
    known: Mutex<VecDeque<MoveTask>>,
    cancel: Mutex<HashMap<String, CancellationToken>>,
}

impl MoveTasks {
    fn update(&self, handle: &str, change: impl FnOnce(&mut MoveTask)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = known.iter_mut().find(|task| task.handle == handle) {
            change(task);
        }
    }
}

impl Queues {
    /// Starts moving a dead-letter queue's messages.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] for queues that are not there; [`QueueError::Unsupported`] when the source is nobody's
    /// dead-letter queue, or is being moved already.
    pub fn start_move(
        &self,
        source_arn: &str,
        destination_arn: Option<String>,
        per_second_max: Option<u32>,
    ) -> Result<String, QueueError> {
        let absent = || {
            QueueError::NotFound(
                "The resource that you specified for the SourceArn parameter doesn't exist.".to_owned(),
            )
        };
        let source = self.0.name_in(source_arn).ok_or_else(absent)?;
        let source = self.find(source).map_err(|_| absent())?;
        if self.dead_letter_sources(&source.name)?.is_empty() && destination_arn.is_none() {
            return Err(QueueError::InvalidParameter(
                "Source queue must be configured as a Dead Letter Queue.".to_owned(),
            ));
        }
        if per_second_max.is_some_and(|rate| rate == 0 || rate > RATE_MAX) {
            return Err(QueueError::InvalidParameter(format!(
                "MaxNumberOfMessagesPerSecond must be between 1 and {RATE_MAX}."
            )));
        }
        if let Some(arn) = &destination_arn {
            let found = self.0.name_in(arn).is_some_and(|name| self.find(name).is_ok());
            if !found {
                return Err(QueueError::NotFound(
                    "The resource that you specified for the DestinationArn parameter doesn't exist."
                        .to_owned(),
                ));
            }
        }
        let to_move = {
            let mut shelf = source.shelf();
            shelf.advance(self.0.clock.now_ms());
            shelf.counts().ready as u64
        };
        let task = MoveTask {
            handle: Uuid::new_v4().to_string(),
            status: "RUNNING",
            source_arn: source_arn.to_owned(),
            destination_arn,
            per_second_max,
            moved: 0,
            to_move,
            failure: None,
            started_ms: self.0.clock.wall_ms(),
        };
        let handle = task.handle.clone();
        self.register(task.clone())?;
        let cancel = CancellationToken::new();
        let mut tokens = self.0.moves.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(handle.clone(), cancel.clone());
        drop(tokens);
        let inner = self.0.clone();
        self.0
            .tasks
            .spawn(async move { inner.move_all(source, task, cancel).await });
        Ok(handle)
    }

    fn register(&self, task: MoveTask) -> Result<(), QueueError> {
        let mut known = self.0.moves.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_running = |known: &MoveTask| known.source_arn == task.source_arn && known.status == "RUNNING";
        if known.iter().any(is_running) {
            return Err(QueueError::Unsupported(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
                    .to_owned(),
            ));
        }
        known.push_front(task);
        known.truncate(TASKS_MAX);
        Ok(())
    }

    /// Stops a task; answers how many messages it has moved.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] when no such task runs.
    pub fn cancel_move(&self, handle: &str) -> Result<u64, QueueError> {
        let tokens = self.0.moves.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens
            .get(handle)
            .ok_or_else(|| QueueError::NotFound("Task does not exist.".to_owned()))?;
        token.cancel();
        let known = self.0.moves.known.lock().unwrap_or_else(PoisonError::into_inner);
        let task = known.iter().find(|task| task.handle == handle);
        Ok(task.map_or(0, |task| task.moved))
    }

    /// The newest tasks of a source, newest first.
    pub fn moves(&self, source_arn: &str, tasks_max: usize) -> Vec<MoveTask> {
        let known = self.0.moves.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = known.iter().filter(|task| task.source_arn == source_arn);
        of_source.take(tasks_max).cloned().collect()
    }
}

impl Inner {
    async fn move_all(self: Arc<Self>, source: Arc<Queue>, task: MoveTask, cancel: CancellationToken) {
        let pause = task.per_second_max.map(|rate| Duration::from_secs(1) / rate);
        let wish = Wish {
            messages_max: 1,
            bytes_max: usize::MAX,
            visibility_ms: 43_200_000,
            receive_count_max: None,
            one_group: false,
        };
        let mut ended = ("COMPLETED", None);
        for _ in 0..task.to_move {
            if cancel.is_cancelled() || self.stop.is_cancelled() {
                ended = ("CANCELLED", None);
                break;
            }
            let sequence = {
                let mut shelf = source.shelf();
                let taken = shelf.take(self.clock.now_ms(), wish);
                let first = taken.delivered.first().map(|(sequence, _)| *sequence);
                if let Some(sequence) = first {
                    shelf.set(sequence, State::Leaving);
                }
                first
            };
            let Some(sequence) = sequence else { break };
            if let Err(error) = self.move_one(&source, sequence, &task).await {
                source.shelf().set(sequence, State::Ready);
                ended = ("FAILED", Some(error.to_string()));
                break;
            }
            self.moves.update(&task.handle, |task| task.moved += 1);
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        self.moves
            .update(&task.handle, |task| (task.status, task.failure) = ended);
        let mut tokens = self.moves.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.remove(&task.handle);
    }

    async fn move_one(&self, source: &Queue, sequence: u64, task: &MoveTask) -> Result<(), QueueError> {
        let own = match &task.destination_arn {
            Some(_) => None,
            None => self
                .content(source, sequence)
                .await?
                .and_then(|content| content.dead_letter_source),
        };
        let arn = task.destination_arn.as_ref().or(own.as_ref());
        let name = arn.and_then(|arn| self.name_in(arn)).ok_or_else(|| {
            QueueError::NotFound(
                "A message came from no queue of this server; name a DestinationArn.".to_owned(),
            )
        })?;
        let target = self.find(name)?;
        self.carry(source, sequence, &target, false).await
    }
}
