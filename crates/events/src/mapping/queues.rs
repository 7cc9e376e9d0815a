//! Queues as event sources: batches are received, the function is called, and what went well is deleted.
//!
//! What the function fails on stays hidden until its visibility timeout is over, and counts as received. What could
//! not be brought to the function (it is throttled, gone or not ready, or the server is draining) is given back at
//! once, and does not count. Bounded by the batches at once and by the bytes of a batch.

use std::time::Duration;

use async_trait::async_trait;
use squall_types::{Invocation, InvokeError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::batch;
use super::pace::Pace;
use super::source::{Source, Work};
use super::{MappingError, Settings};
use crate::queue::{QueueError, Queues, Receive, Received};

/// How long one look at an empty queue takes.
const POLL: Duration = Duration::from_secs(20);
/// Bytes of a batch's bodies. An event may have 6 MiB, and JSON escapes.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a FIFO queue gives at once.
const FIFO_BATCH_MAX: u32 = 10;
const VISIBILITY_SECS_MAX: u32 = 43_200;
/// Batches at once for each core, where the mapping does not say how many.
const BATCHES_PER_CORE: usize = 16;
/// After the queue itself could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All queues of this server, as sources of mappings.
pub struct QueueSource {
    queues: Queues,
}

impl QueueSource {
    /// The source of these queues' messages.
    pub fn new(queues: Queues) -> Self {
        Self { queues }
    }
}

/// What came of a batch, for the pace.
enum Ended {
    Well,
    /// The function could not be called.
    CouldNot,
}

/// What one batch needs.
#[derive(Clone)]
struct Worker {
    queues: Queues,
    queue: String,
    work: Work,
}

#[async_trait]
impl Source for QueueSource {
    fn service(&self) -> &'static str {
        "sqs"
    }

    fn check(&self, source_arn: &str, settings: &Settings, timeout_secs: u32) -> Result<(), MappingError> {
        let refuse = |text: String| Err(MappingError::InvalidParameter(text));
        let view = self
            .queues
            .name_of_arn(source_arn)
            .map(|name| self.queues.view(name));
        let Some(Ok(view)) = view else {
            return refuse(format!(
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. \
                 SQS Error Message: The specified queue does not exist: {source_arn}."
            ));
        };
        let visibility_secs = view.attributes.visibility_secs;
        if timeout_secs > visibility_secs {
            return refuse(format!(
                "Queue visibility timeout: {visibility_secs} seconds is less than Function timeout: {timeout_secs} \
                 seconds"
            ));
        }
        if view.attributes.fifo && settings.batch_max > FIFO_BATCH_MAX {
            return refuse(format!(
                "BatchSize of a FIFO queue may be at most {FIFO_BATCH_MAX}."
            ));
        }
        if view.attributes.fifo && settings.window_secs > 0 {
            return refuse("MaximumBatchingWindowInSeconds is not supported for FIFO queues.".to_owned());
        }
        if settings.batch_max > 10 && settings.window_secs == 0 {
            return refuse(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
                    .to_owned(),
            );
        }
        if settings.starting_position.is_some() {
            return refuse("StartingPosition is not valid for SQS event sources.".to_owned());
        }
        Ok(())
    }

    async fn run(&self, work: Work, stop: CancellationToken) {
        let Some(queue) = self.queues.name_of_arn(&work.mapping.source_arn) else {
            work.note("PROBLEM: The queue is not one of this server");
            return;
        };
        let worker = Worker {
            queues: self.queues.clone(),
            queue: queue.to_owned(),
            work,
        };
        worker.run(stop).await;
    }
}

impl Worker {
    async fn run(self, stop: CancellationToken) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency_max = self.work.mapping.settings.concurrency_max;
        let mut pace = Pace::new(concurrency_max.map_or(cores * BATCHES_PER_CORE, |max| max as usize));
        let mut batches: JoinSet<Ended> = JoinSet::new();
        while !stop.is_cancelled() {
            while let Some(ended) = batches.try_join_next() {
                learn(&mut pace, ended);
            }
            if batches.len() >= pace.limit() {
                tokio::select! {
                    Some(ended) = batches.join_next() => learn(&mut pace, ended),
                    () = stop.cancelled() => {}
                }
                continue;
            }
            if let Some(until) = pace.until().filter(|until| *until > Instant::now()) {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            let gathered = tokio::select! {
                // What was received must not be dropped for the stop that comes at the same moment.
                biased;
                gathered = self.gather() => gathered,
                () = stop.cancelled() => break,
            };
            match gathered {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => {
                    let worker = self.clone();
                    batches.spawn(async move { worker.batch(messages).await });
                }
                Err(error) => {
                    self.work.note(format!("PROBLEM: {error}"));
                    if matches!(error, QueueError::Store(_)) {
                        tracing::error!(mapping = %self.work.mapping.uuid, %error, "could not receive messages");
                    }
                    tokio::select! {
                        () = sleep(RETRY_AFTER) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        while batches.join_next().await.is_some() {}
    }

    /// The next batch: what is there, or what comes within the window.
    async fn gather(&self) -> Result<Vec<Received>, QueueError> {
        let settings = &self.work.mapping.settings;
        let attributes = self.queues.view(&self.queue)?.attributes;
        let mut how = Receive {
            messages_max: settings.batch_max as usize,
            bytes_max: BATCH_BYTES_MAX,
            wait: Some(POLL),
            // What waits for its batch to fill is hidden for that time too.
            visibility_secs: Some(
                (attributes.visibility_secs + settings.window_secs).min(VISIBILITY_SECS_MAX),
            ),
            one_group: true,
        };
        let mut messages = self.queues.receive(&self.queue, &how).await?;
        if messages.is_empty() || settings.window_secs == 0 {
            return Ok(messages);
        }
        let closes = Instant::now() + Duration::from_secs(settings.window_secs.into());
        loop {
            let bytes: usize = messages.iter().map(|one| one.content.body.len()).sum();
            let left = closes.saturating_duration_since(Instant::now());
            how.messages_max = (settings.batch_max as usize).saturating_sub(messages.len());
            how.bytes_max = BATCH_BYTES_MAX.saturating_sub(bytes);
            if how.messages_max == 0 || how.bytes_max == 0 || left.is_zero() {
                return Ok(messages);
            }
            how.wait = Some(left);
            match self.queues.receive(&self.queue, &how).await {
                Ok(more) if more.is_empty() => return Ok(messages),
                Ok(more) => messages.extend(more),
                // What is there already is worth its call.
                Err(_) => return Ok(messages),
            }
        }
    }

    /// Brings a batch to the function and settles it.
    async fn batch(&self, messages: Vec<Received>) -> Ended {
        let mapping = &self.work.mapping;
        let (mut records, mut wanted, mut unwanted) = (Vec::new(), Vec::new(), Vec::new());
        for message in &messages {
            let record = batch::record(message, &mapping.source_arn);
            if batch::is_wanted(&record, &self.work.patterns) {
                records.push(record);
                wanted.push(message);
            } else {
                unwanted.push(message);
            }
        }
        self.delete(&unwanted).await;
        let is_fifo = self.queue.ends_with(".fifo");
        // Halves of what was too large, last first.
        let mut parts = vec![(0, wanted.len())];
        while let Some((start, end)) = parts.pop() {
            let part = start..end;
            if part.is_empty() {
                continue;
            }
            let event = batch::event(&records[part.clone()]);
            let invocation = Invocation::new(mapping.function.clone(), event);
            match self.work.invoke.invoke(invocation).await {
                Ok(outcome) => {
                    let all_good = self.settle(&wanted[part], outcome.result.ok().as_deref()).await;
                    if is_fifo && !all_good {
                        // What is left must not overtake what failed.
                        return Ended::Well;
                    }
                }
                Err(InvokeError::PayloadTooLarge { .. }) if part.len() > 1 => {
                    let middle = start + part.len() / 2;
                    parts.push((middle, end));
                    parts.push((start, middle));
                }
                // It will never fit: it stays until it is received too often.
                Err(error @ InvokeError::PayloadTooLarge { .. }) => {
                    self.work.note(format!("PROBLEM: {error}"));
                    if is_fifo {
                        return Ended::Well;
                    }
                }
                Err(error) => {
                    self.work.note(format!("PROBLEM: {error}"));
                    let rest = &wanted[start..];
                    let handles: Vec<&str> = rest.iter().map(|one| one.receipt.as_str()).collect();
                    if let Err(error) = self.queues.give_back(&self.queue, &handles) {
                        tracing::debug!(%error, "the queue was deleted meanwhile");
                    }
                    return Ended::CouldNot;
                }
            }
        }
        Ended::Well
    }

    /// Deletes what went well, and says whether that is all. `answer` is `None` when the function failed.
    async fn settle(&self, messages: &[&Received], answer: Option<&[u8]>) -> bool {
        let failed = match answer {
            None => None,
            Some(_) if !self.work.mapping.settings.reports_failures => Some(Vec::new()),
            Some(answer) => {
                let ids: Vec<String> = messages.iter().map(|one| one.content.id.to_string()).collect();
                batch::failures(answer, &ids, self.queue.ends_with(".fifo"))
            }
        };
        let Some(failed) = failed else {
            self.work.note("PROBLEM: Function call failed");
            return false;
        };
        let good: Vec<&Received> = messages
            .iter()
            .enumerate()
            .filter(|(place, _)| !failed.contains(place))
            .map(|(_, message)| *message)
            .collect();
        self.delete(&good).await;
        self.work.note("OK");
        failed.is_empty()
    }

    async fn delete(&self, messages: &[&Received]) {
        if messages.is_empty() {
            return;
        }
        let handles: Vec<&str> = messages.iter().map(|one| one.receipt.as_str()).collect();
        match self.queues.delete_all(&self.queue, &handles).await {
            Ok(answers) => {
                for error in answers.into_iter().filter_map(Result::err) {
                    // The function took longer than the visibility timeout: somebody else has the message.
                    tracing::debug!(mapping = %self.work.mapping.uuid, %error, "could not delete a message");
                }
            }
            Err(QueueError::NoSuchQueue) => {}
            Err(error) => {
                tracing::error!(mapping = %self.work.mapping.uuid, %error, "could not delete messages; they come again");
            }
        }
    }
}

fn learn(pace: &mut Pace, ended: Result<Ended, tokio::task::JoinError>) {
    match ended {
        Ok(Ended::Well) => pace.went_well(),
        Ok(Ended::CouldNot) => pace.could_not(Instant::now()),
        Err(error) => {
            tracing::error!(%error, "a batch panicked; its messages come again");
            pace.could_not(Instant::now());
        }
    }
}
