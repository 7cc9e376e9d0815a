//! Responses on their way out: whole where the guest has ended, else as the guest writes them.
//!
//! A body in pieces holds one piece at most: a guest that writes faster than its client reads waits. A client that
//! leaves does not stop the guest: what it still writes is read and thrown away. A guest that is cut off (a trap, its
//! deadline) leaves a body that ends with an error, so that nobody takes a part for the whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, SizeHint};
use squall_types::{Body, BodyError};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// The response of a guest that has ended: all that it has written is there. Its length is known, which spares client
/// and server the framing of pieces.
pub(crate) fn whole(response: Response<HyperOutgoingBody>) -> Response<Body> {
    let (mut head, mut body) = response.into_parts();
    let mut all = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().now_or_never().flatten() {
        match frame.map(Frame::into_data) {
            Ok(Ok(piece)) if all.is_empty() && more.is_empty() => all = piece,
            Ok(Ok(piece)) => {
                more.extend_from_slice(&std::mem::take(&mut all));
                more.extend_from_slice(&piece);
            }
            // Trailers: with a length there is no place for them.
            Ok(Err(_)) => {}
            Err(error) => return Response::from_parts(head, failed(error.to_string())),
        }
    }
    if !more.is_empty() {
        all = more.freeze();
    }
    // A length that the guest announced and did not keep would break the connection; an answer to HEAD has no body.
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| !all.is_empty() && length != all.len()) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Response::from_parts(
        head,
        Full::new(all).map_err(|never| match never {}).boxed_unsync(),
    )
}

fn failed(why: String) -> Body {
    let failed = futures_util::stream::once(async move { Err::<Frame<Bytes>, BodyError>(why.into()) });
    http_body_util::StreamBody::new(failed).boxed_unsync()
}

/// The guest's side of a response that has begun.
pub(crate) struct Flowing {
    /// Set before the guest's own end of the body goes, where it is cut off.
    is_cut: Arc<AtomicBool>,
    /// What nobody reads any more.
    left: oneshot::Receiver<HyperOutgoingBody>,
}

impl Flowing {
    /// Lets a response go while its guest runs on.
    pub(crate) fn begin(response: Response<HyperOutgoingBody>) -> (Self, Response<Body>) {
        let is_cut = Arc::new(AtomicBool::new(false));
        let (leave, left) = oneshot::channel();
        let flowing = Self {
            is_cut: is_cut.clone(),
            left,
        };
        let response = response.map(|body| {
            let pieces = Pieces {
                body: Some(body),
                is_cut,
                leave: Some(leave),
            };
            pieces.boxed_unsync()
        });
        (flowing, response)
    }

    /// Runs the guest to its end, and reads what its client does not.
    pub(crate) async fn alongside<T>(
        self,
        guest: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let mut cut = CutUnlessDone(Some(self.is_cut));
        let discard = async {
            if let Ok(mut body) = self.left.await {
                while let Some(Ok(_)) = body.frame().await {}
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = guest => ended,
            () = discard => unreachable!("it waits forever"),
        };
        if ended.is_ok() {
            cut.0 = None;
        }
        ended
    }
}

/// Marks the body as cut off when the guest is dropped or failed.
struct CutUnlessDone(Option<Arc<AtomicBool>>);

impl Drop for CutUnlessDone {
    fn drop(&mut self) {
        if let Some(is_cut) = &self.0 {
            is_cut.store(true, Ordering::Release);
        }
    }
}

/// The client's side: what the guest writes, as it is read.
struct Pieces {
    body: Option<HyperOutgoingBody>,
    is_cut: Arc<AtomicBool>,
    leave: Option<oneshot::Sender<HyperOutgoingBody>>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        let ended = |why: &str| Poll::Ready(Some(Err(why.into())));
        match frame {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => {
                self.body = None;
                ended(&error.to_string())
            }
            None => {
                self.body = None;
                if self.is_cut.load(Ordering::Acquire) {
                    return ended("the function was cut off before the end of its response");
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::new, |body| body.size_hint())
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let (Some(body), Some(leave)) = (self.body.take(), self.leave.take()) {
            // The guest may have ended just now.
            let _ = leave.send(body);
        }
    }
}
