//! What is left of a request's body when its answer is there.
//!
//! A refusal may come before the body was read. A client that waits for `100 Continue` then sends none, and the
//! connection ends; any other is sending, and would never see the answer if nobody took what it sends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// So much is read and thrown away.
const DISCARDED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The longest pause between two pieces of it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A request's body, which can be finished by who answers. A cheap handle.
#[derive(Clone)]
pub(super) struct Rest {
    inner: Arc<Mutex<Inner>>,
    /// The client sends nothing before it is told to.
    waits: bool,
}

struct Inner {
    body: Incoming,
    is_begun: bool,
    is_over: bool,
}

impl Rest {
    pub(super) fn of(body: Incoming, headers: &HeaderMap) -> Self {
        let waits = headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let inner = Inner {
            is_over: body.is_end_stream(),
            body,
            is_begun: false,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            waits,
        }
    }

    /// Finishes the body, or sees to it that the connection ends with the answer.
    pub(super) async fn settle<B>(mut self, response: &mut Response<B>) {
        let has_sent = !self.waits || self.inner().is_begun;
        let mut bytes = 0;
        while has_sent && !self.inner().is_over && bytes <= DISCARDED_BYTES_MAX {
            match tokio::time::timeout(PAUSE_MAX, self.frame()).await {
                Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
        if !self.inner().is_over {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Rest {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = self.inner();
        inner.is_begun = true;
        let polled = Pin::new(&mut inner.body).poll_frame(context);
        inner.is_over = matches!(polled, Poll::Ready(None)) || inner.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().body.size_hint()
    }
}
