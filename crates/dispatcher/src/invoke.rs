//! One call from its arrival to its outcome: resolve, admit, lease or wait, send, report.
//!
//! Called by the handle for callers who wait, and by the queue for accepted events.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use squall_registry::Resolved;
use squall_runtime::{End, Event, Fault, Host};
use squall_types::{
    Encoding, FunctionError, Invocation, InvokeError, Outcome, Revision, ThrottleReason, Usage,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::admit::Admitted;
use crate::dispatcher::Inner;
use crate::lease::{Lease, Worker};
use crate::log::InvocationLog;
use crate::pool::{Grant, Leased, Ticket};
use crate::report::{self, Failure};
use crate::start::{StartCause, StartFailure};
use crate::stream::Stream;
use crate::wait::{self, Ended};

/// What a throttled caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a call resolves again because its function was replaced while it waited.
const RESOLVES_MAX: usize = 100;

/// A call that was let in. Counted out when it is dropped.
struct Permit {
    inner: Arc<Inner>,
    admitted: Admitted,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.inner.state();
            state.admission.leave(&self.admitted);
            state.is_closed && state.admission.total() == 0
        };
        if is_last {
            self.inner.left.notify_waiters();
        }
    }
}

/// What a call that wants an instance gets.
enum Obtained {
    Lease(Lease),
    Failed(StartFailure),
    Stale,
}

/// Runs the event. To be polled to its end: what it holds is given back when it is dropped, but the event is cut off.
pub(crate) async fn call(
    inner: Arc<Inner>,
    invocation: Invocation,
    stream: Option<Stream>,
) -> Result<Outcome, InvokeError> {
    let resolved = resolve(&inner, &invocation)?;
    let counters = inner.metrics.of(&resolved.revision.name);
    let ended = call_resolved(inner, resolved, invocation, stream).await;
    counters.note(&ended);
    ended
}

async fn call_resolved(
    inner: Arc<Inner>,
    mut resolved: Resolved,
    invocation: Invocation,
    stream: Option<Stream>,
) -> Result<Outcome, InvokeError> {
    let permit = admit(&inner, &resolved)?;
    let queue_deadline = Instant::now() + resolved.revision.timeout;
    for _ in 0..RESOLVES_MAX {
        match obtain(&inner, &resolved.revision, queue_deadline).await? {
            Obtained::Lease(lease) => {
                return send(&inner, lease, permit, resolved, invocation, stream).await;
            }
            Obtained::Failed(failure) => {
                return start_failed(&inner, permit, &resolved.revision, &invocation, failure).await;
            }
            Obtained::Stale => resolved = resolve(&inner, &invocation)?,
        }
    }
    Err(InvokeError::Platform(format!(
        "`{}` was replaced too often while a call waited for an instance",
        invocation.target
    )))
}

/// What the call runs now, if it may.
fn resolve(inner: &Inner, invocation: &Invocation) -> Result<Resolved, InvokeError> {
    let resolved = inner.resolver.resolve(&invocation.target)?;
    match invocation.revision {
        Some(only) if only != resolved.revision.id => {
            Err(InvokeError::Changed(invocation.target.to_string()))
        }
        _ => Ok(resolved),
    }
}

fn admit(inner: &Arc<Inner>, resolved: &Resolved) -> Result<Permit, InvokeError> {
    let mut state = inner.state();
    if state.is_closed {
        return Err(InvokeError::ShuttingDown);
    }
    let entered = state
        .admission
        .enter(&resolved.revision.name, resolved.reserved_concurrency);
    drop(state);
    let admitted = entered.map_err(throttled)?;
    Ok(Permit {
        inner: inner.clone(),
        admitted,
    })
}

pub(crate) fn preparing(revision: &Revision, why: &'static str) -> InvokeError {
    InvokeError::Preparing {
        function: format!("{}:{}", revision.name, revision.version),
        why,
    }
}

fn throttled(reason: ThrottleReason) -> InvokeError {
    InvokeError::Throttled {
        reason,
        retry_after: RETRY_AFTER,
    }
}

/// Leases an instance, or waits for one in the function's queue.
async fn obtain(
    inner: &Arc<Inner>,
    revision: &Arc<Revision>,
    queue_deadline: Instant,
) -> Result<Obtained, InvokeError> {
    let (leased, effects) = inner.state().pools.lease(revision, Instant::now());
    inner.carry_out(effects);
    match leased {
        Leased::Now(worker) => Ok(Obtained::Lease(Lease::new(inner.clone(), worker))),
        Leased::Later(ticket, granted) => {
            wait_in_queue(inner, revision, ticket, granted, queue_deadline).await
        }
        Leased::Stale => Ok(Obtained::Stale),
        Leased::Full => Err(throttled(ThrottleReason::CallerRateLimitExceeded)),
    }
}

/// Waits for capacity, at most until the deadline. A call for which a start is under way waits for that start's end,
/// which is bounded by itself: the time of a cold start is not the function's.
async fn wait_in_queue(
    inner: &Arc<Inner>,
    revision: &Arc<Revision>,
    ticket: Ticket,
    mut granted: oneshot::Receiver<Grant<Box<Worker>>>,
    queue_deadline: Instant,
) -> Result<Obtained, InvokeError> {
    let grant = tokio::select! {
        biased;
        grant = &mut granted => grant,
        () = sleep_until(queue_deadline) => {
            if inner.state().pools.expire(revision.id, ticket, Instant::now()) {
                return Err(throttled(ThrottleReason::ConcurrentInvocationLimitExceeded));
            }
            granted.await
        }
    };
    match grant {
        Ok(Grant::Instance(worker)) => Ok(Obtained::Lease(Lease::new(inner.clone(), worker))),
        Ok(Grant::Failed(failure)) => Ok(Obtained::Failed(failure)),
        Ok(Grant::Stale) => Ok(Obtained::Stale),
        Err(_) => Err(InvokeError::Platform(
            "the queue of waiting calls is gone".to_owned(),
        )),
    }
}

/// Runs the event on a leased instance.
async fn send(
    inner: &Arc<Inner>,
    mut lease: Lease,
    permit: Permit,
    resolved: Resolved,
    invocation: Invocation,
    stream: Option<Stream>,
) -> Result<Outcome, InvokeError> {
    let revision = resolved.revision;
    let worker = lease.worker();
    let mut log = open_log(inner, &revision, &invocation, worker.stream.clone());
    let init = worker.start.take();
    let init_duration = init.as_ref().map(|init| init.duration);
    log.precede(init.map(|init| init.lines).unwrap_or_default());
    log.capture
        .line(report::start(invocation.request_id, revision.version));
    let host = inner
        .hosts
        .as_ref()
        .map(|hosts| hosts.host(&revision, &invocation));
    let event = Event {
        request_id: invocation.request_id,
        payload: invocation.payload,
        encoding: invocation.encoding,
        deadline: SystemTime::now() + revision.timeout,
        invoked_function_arn: resolved.invoked_arn,
        trace_id: invocation.trace_id,
        client_context: invocation.client_context,
        host: host.clone(),
    };
    let exchange = stream.map(|stream| stream.exchange(revision.version));
    let (ended, duration) = wait::wait(inner, worker, &event, exchange, &mut log, revision.timeout).await;
    if let Ended::Reply(reply) = &ended {
        worker.memory_bytes_max = worker.memory_bytes_max.max(reply.memory_bytes_max);
    }
    let memory_bytes_max = worker.memory_bytes_max;
    let is_usable = matches!(ended, Ended::Reply(_));
    // The next call may have the instance while this one's log is written.
    if is_usable {
        lease.give_back();
    } else {
        worker.instance.drain(&mut log.capture);
        drop(lease);
    }
    let mut encoding = Encoding::Json;
    let (result, failure) = match ended {
        Ended::Reply(reply) => {
            encoding = reply.encoding;
            (reply.result, None)
        }
        ended => {
            let failure = failure_of(ended, &event, &revision)?;
            (Err(failure.error.clone()), Some(failure))
        }
    };
    let (result, session) = end_session(host, result).await;
    drop(permit);
    let usage = Usage {
        duration,
        init_duration,
        memory_bytes_max,
    };
    let mut outcome = conclude(log, &event.request_id, &revision, usage, result, failure).await;
    if outcome.result.is_ok() {
        outcome.encoding = encoding;
    }
    outcome.session = session;
    Ok(outcome)
}

/// Ends the event's state session. An answer whose writes could not be made visible becomes a fault.
async fn end_session(
    host: Option<Arc<dyn Host>>,
    result: Result<Bytes, FunctionError>,
) -> (Result<Bytes, FunctionError>, Option<Bytes>) {
    let Some(host) = host else {
        return (result, None);
    };
    let end = if result.is_ok() {
        End::Answered
    } else {
        End::Failed
    };
    match host.end(end).await {
        Ok(context) => (result, context),
        Err(error) => (
            result.and_then(|_| Err(FunctionError::new(error.kind, &error.to_string()))),
            None,
        ),
    }
}

fn open_log<'a>(
    inner: &'a Inner,
    revision: &Revision,
    invocation: &Invocation,
    stream: Arc<str>,
) -> InvocationLog<'a> {
    InvocationLog::new(
        &inner.logs,
        &revision.name,
        stream,
        invocation.request_id,
        inner.config.log_bytes_max,
        invocation.log_tail,
    )
}

fn failure_of(ended: Ended, event: &Event, revision: &Revision) -> Result<Failure, InvokeError> {
    match ended {
        Ended::Reply(_) => unreachable!("a reply is no failure"),
        Ended::Overdue => Ok(report::timed_out(
            event.request_id,
            revision.timeout,
            SystemTime::now(),
        )),
        Ended::Fault(fault) => {
            warn_of_broken_protocol(&fault, revision);
            Ok(report::failed(event.request_id, fault))
        }
        Ended::Abandoned => Err(InvokeError::ShuttingDown),
    }
}

/// A function can do that by itself, so it is no error of ours; but mostly a runtime's bug is behind it.
fn warn_of_broken_protocol(fault: &Fault, revision: &Revision) {
    if let Fault::Protocol(what) = fault {
        tracing::warn!(function = %revision.name, version = %revision.version, what, "an instance broke the protocol");
    }
}

/// Ends the log, hands it over, and makes the outcome.
async fn conclude(
    mut log: InvocationLog<'_>,
    request_id: &squall_types::RequestId,
    revision: &Revision,
    usage: Usage,
    result: Result<Bytes, FunctionError>,
    failure: Option<Failure>,
) -> Outcome {
    for line in failure.iter().flat_map(|failure| &failure.lines) {
        log.capture.line(line.clone());
    }
    log.capture.line(report::end(*request_id));
    let report = report::report(*request_id, &usage, revision.memory_mib, failure.as_ref());
    log.capture.line(report);
    Outcome {
        executed_version: revision.version,
        result,
        encoding: Encoding::Json,
        session: None,
        log_tail: log.finish().await,
        usage,
    }
}

/// The start that was made for this call failed: the function's fault is an outcome, ours an error.
async fn start_failed(
    inner: &Arc<Inner>,
    permit: Permit,
    revision: &Revision,
    invocation: &Invocation,
    start: StartFailure,
) -> Result<Outcome, InvokeError> {
    drop(permit);
    let request_id = invocation.request_id;
    let failure = match start.cause {
        StartCause::Platform(reason) => {
            // Told to the log by the start.
            let function = format!("{}:{}", revision.name, revision.version);
            return Err(InvokeError::Platform(format!(
                "could not start an instance of `{function}`: {reason}"
            )));
        }
        StartCause::Preparing(why) => return Err(preparing(revision, why)),
        StartCause::InitTimeout(limit) => report::timed_out(request_id, limit, SystemTime::now()),
        StartCause::Init(fault) => {
            warn_of_broken_protocol(&fault, revision);
            report::failed(request_id, fault)
        }
    };
    let mut log = open_log(inner, revision, invocation, start.stream);
    log.precede(start.lines);
    log.capture.line(report::start(request_id, revision.version));
    let usage = Usage {
        duration: Duration::ZERO,
        init_duration: Some(start.duration),
        memory_bytes_max: 0,
    };
    let result = Err(failure.error.clone());
    Ok(conclude(log, &request_id, revision, usage, result, Some(failure)).await)
}
