//! InvokeWithResponseStream: the answer as it comes, as messages of AWS's event stream.
//!
//! A message is a length, headers and a payload between two checksums; the stream is chunks of the answer and then a
//! message that says how the function ended.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>, and botocore's model.

use std::convert::Infallible;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Map, Value};
use squall_types::{Begun, Ended, FunctionError, Invocation, InvokeError, Outcome, Streamed, Version};

use super::{Answer, Call, no_content};
use crate::reply::Body;

/// The largest payload of one message, as clients take it.
const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Of a response that is no success, so much is told.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

impl Call<'_> {
    pub(super) async fn invoke_with_response_stream(&self) -> Answer {
        self.refuse_idempotency_key("InvokeWithResponseStream")?;
        let invocation = match self.wanted()? {
            Some(invocation) => invocation,
            None => {
                self.gateway.invoke.dry_run(&self.target()?).await?;
                return Ok(no_content());
            }
        };
        let (version, body) = match self.gateway.invoke.stream(invocation, None).await? {
            Streamed::Whole(outcome) => (outcome.executed_version, whole(outcome)),
            Streamed::Begun(begun) => (begun.executed_version, begun_body(begun)),
        };
        Ok(respond(version, body))
    }

    /// The invocation; `None` where it is to be checked only.
    fn wanted(&self) -> Result<Option<Invocation>, crate::error::ApiError> {
        let kind = self.invocation_type()?;
        match kind {
            "RequestResponse" => self.invocation().map(Some),
            "DryRun" => Ok(None),
            other => Err(super::invoke::not_among(
                "invocationType",
                other,
                "[RequestResponse, DryRun]",
            )),
        }
    }
}

fn respond(version: Version, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/vnd.amazon.eventstream");
    headers.insert(header::CONTENT_TYPE, content_type);
    let version = HeaderValue::from_str(&version.to_string());
    headers.insert(
        "x-amz-executed-version",
        version.expect("`$LATEST` and numbers are header values"),
    );
    response
}

/// An answer that was there at once.
fn whole(outcome: Outcome) -> Body {
    let mut messages = BytesMut::new();
    if let Ok(answer) = &outcome.result {
        chunk(&mut messages, answer);
    }
    complete(&mut messages, &Ok(outcome));
    crate::reply::full(messages)
}

/// An answer that has begun: chunks as they come, and at the end how it ended.
fn begun_body(begun: Begun) -> Body {
    if !begun.response.status().is_success() {
        return boxed(stream::once(refused(begun)));
    }
    let body = begun.response.into_body();
    let state = Some((body, begun.ended));
    boxed(stream::unfold(state, |state| async move {
        let (mut body, ended) = state?;
        let mut messages = BytesMut::new();
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    chunk(&mut messages, &piece);
                    return Some((messages.freeze(), Some((body, ended))));
                }
                // Why a body ends early is in how the invocation ended.
                Some(Err(_)) | None => {
                    let ended = end(body, ended).await;
                    complete(&mut messages, &ended);
                    return Some((messages.freeze(), None));
                }
            }
        }
    }))
}

/// Lets go of the body before waiting: the function may write on.
async fn end(body: Body, ended: Ended) -> Result<Outcome, InvokeError> {
    drop(body);
    ended.await
}

/// A response that is no success is the function's error, as for Invoke.
async fn refused(begun: Begun) -> Bytes {
    let status = begun.response.status();
    let mut body = begun.response.into_body();
    let mut told = BytesMut::new();
    while told.len() < REFUSAL_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        told.extend_from_slice(frame.data_ref().map_or(&[], |piece| piece));
    }
    told.truncate(REFUSAL_BYTES_MAX);
    let ended = end(body, begun.ended).await.map(|mut outcome| {
        let text = String::from_utf8_lossy(&told);
        let message = format!("the component answered {status}: {text}");
        if outcome.result.is_ok() {
            outcome.result = Err(FunctionError::new("Function.HttpError", &message));
        }
        outcome
    });
    let mut messages = BytesMut::new();
    complete(&mut messages, &ended);
    messages.freeze()
}

fn boxed(messages: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures_util::StreamExt;
    let frames = messages.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    StreamBody::new(frames)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn chunk(messages: &mut BytesMut, answer: &[u8]) {
    for piece in answer.chunks(CHUNK_BYTES_MAX) {
        message(messages, "PayloadChunk", "application/octet-stream", piece);
    }
}

fn complete(messages: &mut BytesMut, ended: &Result<Outcome, InvokeError>) {
    let mut members = Map::new();
    let mut fail = |code: &str, details: String| {
        members.insert("ErrorCode".to_owned(), Value::from(code));
        members.insert("ErrorDetails".to_owned(), Value::from(details));
    };
    match ended {
        Ok(outcome) => {
            if let Err(error) = &outcome.result {
                fail("Unhandled", String::from_utf8_lossy(&error.body).into_owned());
            }
            if let Some(tail) = &outcome.log_tail {
                members.insert("LogResult".to_owned(), Value::from(STANDARD.encode(tail)));
            }
        }
        Err(InvokeError::Platform(details)) => {
            tracing::error!(%details, "could not finish an answer that had begun");
            let told = "The server could not do this; its log says why. The call may be tried again.";
            fail("ServiceException", told.to_owned());
        }
        Err(error) => fail("ServiceException", error.to_string()),
    }
    let body = Value::Object(members).to_string();
    message(messages, "InvokeComplete", "application/json", body.as_bytes());
}

/// One message of the event stream.
fn message(messages: &mut BytesMut, event_type: &str, content_type: &str, payload: &[u8]) {
    const STRING: u8 = 7;
    let mut headers = BytesMut::with_capacity(128);
    let named = [
        (":event-type", event_type),
        (":content-type", content_type),
        (":message-type", "event"),
    ];
    for (name, value) in named {
        headers.put_u8(u8::try_from(name.len()).expect("our names are short"));
        headers.put_slice(name.as_bytes());
        headers.put_u8(STRING);
        headers.put_u16(u16::try_from(value.len()).expect("our values are short"));
        headers.put_slice(value.as_bytes());
    }
    let start = messages.len();
    let length = |bytes: usize| u32::try_from(bytes).expect("a chunk is bounded");
    messages.put_u32(length(16 + headers.len() + payload.len()));
    messages.put_u32(length(headers.len()));
    let prelude = crc32fast::hash(&messages[start..]);
    messages.put_u32(prelude);
    messages.put_slice(&headers);
    messages.put_slice(payload);
    let all = crc32fast::hash(&messages[start..]);
    messages.put_u32(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own form: every length and checksum by hand.
    #[test]
    fn a_message_is_framed_between_its_checksums() {
        let mut messages = BytesMut::new();
        message(&mut messages, "PayloadChunk", "application/octet-stream", b"hi");
        let bytes = messages.freeze();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(number(0) as usize, bytes.len());
        let headers = number(4) as usize;
        assert_eq!(bytes.len(), 12 + headers + 2 + 4);
        assert_eq!(number(8), crc32fast::hash(&bytes[..8]));
        assert_eq!(&bytes[12..13 + 11 + 3], b"\x0b:event-type\x07\x00\x0c");
        assert_eq!(&bytes[12 + headers..bytes.len() - 4], b"hi");
        assert_eq!(
            number(bytes.len() - 4),
            crc32fast::hash(&bytes[..bytes.len() - 4])
        );
    }
}
