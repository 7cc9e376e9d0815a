//! Waits for an instance's answer, at most until the deadline. Hands the log of a long invocation over meanwhile.

use std::time::Duration;

use squall_runtime::{Event, Exchange, Fault, Reply};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dispatcher::Inner;
use crate::lease::Worker;
use crate::log::InvocationLog;

/// How an invocation ended.
pub(crate) enum Ended {
    /// The instance answered and may be used again.
    Reply(Reply),
    /// It cannot go on.
    Fault(Fault),
    /// The deadline passed.
    Overdue,
    /// The server ends, and the time that it gives to running invocations is over.
    Abandoned,
}

/// Sends the event and waits. Says how it ended and how long that took.
///
/// When the deadline passes, the instance's future is dropped: the instance is in no state to be used again.
pub(crate) async fn wait(
    inner: &Inner,
    worker: &mut Worker,
    event: &Event,
    exchange: Option<Exchange>,
    log: &mut InvocationLog<'_>,
    limit: Duration,
) -> (Ended, Duration) {
    let begun = Instant::now();
    let deadline = begun + limit;
    let flush_every = inner.config.log_flush_every;
    let mut capture = log.capture.clone();
    let instance = &mut worker.instance;
    let mut running = match exchange {
        None => instance.invoke(event, &mut capture),
        Some(exchange) => instance.stream(event, exchange, &mut capture),
    };
    let look = sleep_until(deadline.min(begun + flush_every));
    tokio::pin!(look);
    loop {
        tokio::select! {
            biased;
            ended = &mut running => {
                let ended = ended.map_or_else(Ended::Fault, Ended::Reply);
                return (ended, begun.elapsed());
            }
            () = &mut look => {}
        }
        if Instant::now() >= deadline {
            return (Ended::Overdue, limit);
        }
        if inner.is_overdue() {
            return (Ended::Abandoned, begun.elapsed());
        }
        // A log store that makes us wait must not keep the deadline from its work.
        if timeout_at(deadline, log.flush()).await.is_err() {
            tracing::error!(request_id = %event.request_id, "could not hand over log lines before the deadline; they are lost");
        }
        look.as_mut().reset(deadline.min(Instant::now() + flush_every));
    }
}
