//! A function's log: a page of what is kept, or a stream of what comes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use squall_store::logs::{LogBatch, LogEvent, LogQuery};
use squall_types::{FunctionName, FunctionRef, RequestId};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

const BATCHES_DEFAULT: usize = 1000;
const BATCHES_MAX: usize = 10_000;

#[derive(Serialize)]
struct BatchShape<'a> {
    stream: &'a str,
    request_id: Option<RequestId>,
    events: &'a [LogEvent],
}

impl<'a> BatchShape<'a> {
    fn of(batch: &'a LogBatch) -> Self {
        Self {
            stream: &batch.stream,
            request_id: batch.request_id,
            events: &batch.events,
        }
    }
}

#[derive(Serialize)]
struct PageShape<'a> {
    batches: Vec<BatchShape<'a>>,
    cursor: Option<String>,
}

/// Answers `GET /squall/v1/functions/NAME/logs`.
pub(super) async fn serve(
    gateway: &Gateway,
    name: &str,
    query: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let target: FunctionRef = name.parse()?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let query: HashMap<String, String> = query
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let request_id = parameter(&query, "request_id")?;
    if query.get("follow").is_some_and(|follow| follow == "true") {
        // A function that is not there will never write; one that was deleted may still have lines to page through.
        gateway.registry.function(&target)?;
        return Ok(follow(gateway, target.name, request_id));
    }
    let query = LogQuery {
        function: target.name,
        request_id,
        after: query.get("after").map(|cursor| read_cursor(cursor)).transpose()?,
        since_ms: parameter(&query, "since_ms")?,
        limit: parameter(&query, "limit")?
            .unwrap_or(BATCHES_DEFAULT)
            .clamp(1, BATCHES_MAX),
    };
    let function = FunctionRef::unqualified(query.function.clone());
    let page = gateway.logs.read(query).await.map_err(ApiError::platform)?;
    if page.batches.is_empty() {
        gateway.registry.function(&function)?;
    }
    let batches = page.batches.iter().map(BatchShape::of).collect();
    let cursor = page.cursor.map(|cursor| crate::sigv4::hex(&cursor));
    Ok(reply::json(StatusCode::OK, &PageShape { batches, cursor }))
}

fn parameter<T: std::str::FromStr>(
    query: &HashMap<String, String>,
    name: &str,
) -> Result<Option<T>, ApiError> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let refuse = |_| ApiError::validation(format!("`{text}` is not a value for `{name}`"));
    text.parse().map(Some).map_err(refuse)
}

fn read_cursor(text: &str) -> Result<Bytes, ApiError> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes
        .map(Bytes::from)
        .ok_or_else(|| ApiError::validation("`after` is not a cursor that a page gave"))
}

/// Batches as they are written, one JSON document a line. A reader that is too slow is told how many it missed.
fn follow(gateway: &Gateway, function: FunctionName, request_id: Option<RequestId>) -> Response<Body> {
    let receiver = gateway.logs.follow();
    let state = (receiver, function, request_id, gateway.stop.clone());
    let lines = stream::unfold(state, |(mut receiver, function, request_id, stop)| async move {
        let line = tokio::select! {
            line = next_line(&mut receiver, &function, request_id) => line?,
            () = stop.cancelled() => return None,
        };
        Some((Ok(Frame::data(line)), (receiver, function, request_id, stop)))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    response
}

async fn next_line(
    receiver: &mut broadcast::Receiver<Arc<LogBatch>>,
    function: &FunctionName,
    request_id: Option<RequestId>,
) -> Option<Bytes> {
    loop {
        let line = match receiver.recv().await {
            Ok(batch) => {
                let wanted =
                    batch.function == *function && (request_id.is_none() || batch.request_id == request_id);
                if !wanted {
                    continue;
                }
                serde_json::to_string(&BatchShape::of(&batch))
            }
            Err(RecvError::Lagged(missed)) => {
                let message = format!(
                    "squall: {missed} batches of lines came too fast to follow; read the log for them"
                );
                let events = [LogEvent { at_ms: 0, message }];
                serde_json::to_string(&BatchShape {
                    stream: "",
                    request_id: None,
                    events: &events,
                })
            }
            Err(RecvError::Closed) => return None,
        };
        let line = line.expect("our own answers have string keys and serialise");
        return Some(Bytes::from(line + "\n"));
    }
}
