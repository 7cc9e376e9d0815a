//! Invocations whose answer may come in pieces: the caller has it as soon as it begins, the rest runs on by itself.

use std::future::ready;
use std::sync::Arc;

use http::{Request, Response};
use squall_runtime::{Exchange, Responder};
use squall_types::{Begun, Body, FunctionRef, Invocation, InvokeError, Streamed, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::detach::Detached;
use crate::dispatcher::Inner;
use crate::invoke;

/// What a call that streams has beside its invocation.
pub(crate) struct Stream {
    request: Option<Request<Body>>,
    caller: oneshot::Sender<(Version, Response<Body>)>,
}

impl Stream {
    /// As the instance of this version gets it.
    pub(crate) fn exchange(self, version: Version) -> Exchange {
        Exchange {
            request: self.request,
            responder: Responder::new(version, self.caller),
        }
    }
}

/// Runs the event until its answer begins, or until its end where that comes first: a short answer costs no task.
pub(crate) async fn stream(
    inner: &Arc<Inner>,
    invocation: Invocation,
    request: Option<Request<Body>>,
) -> Result<Streamed, InvokeError> {
    let (caller, mut begun) = oneshot::channel();
    let stream = Stream { request, caller };
    let call = invoke::call(inner.clone(), invocation, Some(stream));
    let mut call = Detached::new(call, inner.tasks.clone(), inner.handle.clone());
    let (head, ended) = tokio::select! {
        biased;
        ended = &mut call => {
            let outcome = ended?;
            match begun.try_recv() {
                Ok(head) if outcome.result.is_ok() => (head, Box::pin(ready(Ok(outcome))) as squall_types::Ended),
                // Nothing of a failed answer has left yet.
                _ => return Ok(Streamed::Whole(outcome)),
            }
        }
        Ok(head) = &mut begun => {
            let rest = call.detach();
            let ended = async { rest.await.unwrap_or_else(|error| Err(InvokeError::Platform(error.to_string()))) };
            (head, Box::pin(ended) as squall_types::Ended)
        }
    };
    let (executed_version, response) = head;
    Ok(Streamed::Begun(Begun {
        executed_version,
        response,
        ended,
    }))
}

/// Whether what the target runs now takes HTTP requests as they are. Waits for it as a start would.
pub(crate) async fn takes_http(inner: &Inner, target: &FunctionRef) -> Result<bool, InvokeError> {
    let revision = inner.resolver.resolve(target)?.revision;
    let runtime = inner
        .runtime_of(&revision.runtime)
        .map_err(InvokeError::Platform)?;
    let limit = inner.config.create_timeout;
    match timeout(limit, runtime.takes_http(&revision)).await {
        Ok(takes) => takes.map_err(|error| InvokeError::Platform(error.to_string())),
        Err(_) => Err(match runtime.preparing(revision.id).await {
            Some(why) => invoke::preparing(&revision, why),
            None => InvokeError::Platform(format!("`{target}` was not loaded within {limit:?}")),
        }),
    }
}
