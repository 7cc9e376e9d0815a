//! How a log batch lies in the store: keys, records and the usage row beside them, each with a format byte.
//!
//! A record's key is its function's name, a zero byte (which no name has) and what the append adds: so one
//! function's records are one range, in the order in which they were appended.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_types::{FunctionName, RequestId};

use super::{LogBatch, LogEvent};
use crate::{Space, StoreError};

/// The records.
pub(super) const LOGS: Space = Space("logs");
/// How much each function has, by its name.
pub(super) const USAGE: Space = Space("log_usage");

const FORMAT: u8 = 1;
/// A batch is cut into records of about this many bytes, so that a page of them is bounded.
const RECORD_BYTES: usize = 256 * 1024;
/// The most bytes of one line; Lambda cuts longer ones as well.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// What an append adds to a key.
pub(super) const APPEND_BYTES: usize = 12;
/// About what an event costs beside its message.
const EVENT_OVERHEAD_BYTES: usize = 12;
/// About what a header takes beside its stream's name.
const HEADER_OVERHEAD_BYTES: usize = 40;

/// What stands before a record's events, so that a query can pass over them unread.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) request_id: Option<RequestId>,
    pub(super) stream: Arc<str>,
    /// The time of the newest line, or of the append when there are none.
    pub(super) newest_ms: i64,
}

/// What a function's records amount to. Written with every change of them, in the same batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Key and value bytes of all records.
    pub(super) bytes: u64,
    /// The last key that was removed: reading starts behind it, not among what was deleted.
    pub(super) head: Option<Vec<u8>>,
}

/// What all keys of the function's records start with.
pub(super) fn prefix(function: &FunctionName) -> Bytes {
    let mut prefix = Vec::with_capacity(function.as_str().len() + 1);
    prefix.extend_from_slice(function.as_str().as_bytes());
    prefix.push(0);
    prefix.into()
}

/// The batch's records: one, or several when it is large.
pub(super) fn encode(batch: &LogBatch, now_ms: i64) -> Vec<Bytes> {
    let mut records = Vec::with_capacity(1);
    let mut rest = batch.events.as_slice();
    loop {
        let (events, behind) = rest.split_at(events_of_a_record(rest));
        let header = Header {
            request_id: batch.request_id,
            stream: batch.stream.clone(),
            newest_ms: events.iter().map(|event| event.at_ms).max().unwrap_or(now_ms),
        };
        let mut bytes = Vec::with_capacity(encoded_bytes(&header, events));
        bytes.push(FORMAT);
        let bytes = postcard::to_extend(&header, bytes);
        let bytes = bytes.and_then(|bytes| match cut(events) {
            Some(cut) => postcard::to_extend(&cut, bytes),
            None => postcard::to_extend(events, bytes),
        });
        records.push(bytes.expect("text and numbers always encode").into());
        rest = behind;
        if rest.is_empty() {
            return records;
        }
    }
}

/// About as much room as a record needs, so that it is written without growing.
fn encoded_bytes(header: &Header, events: &[LogEvent]) -> usize {
    let messages: usize = events.iter().map(|event| event.message.len()).sum();
    HEADER_OVERHEAD_BYTES + header.stream.len() + messages + events.len() * EVENT_OVERHEAD_BYTES
}

/// How many of these events go into one record.
fn events_of_a_record(events: &[LogEvent]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&LogEvent| {
        let first = bytes == 0;
        bytes += event.message.len().min(MESSAGE_BYTES_MAX) + EVENT_OVERHEAD_BYTES;
        first || bytes <= RECORD_BYTES
    };
    events.iter().take_while(fits).count()
}

/// The events with their longest messages cut; `None` when none is too long.
fn cut(events: &[LogEvent]) -> Option<Vec<LogEvent>> {
    let too_long = |event: &LogEvent| event.message.len() > MESSAGE_BYTES_MAX;
    if !events.iter().any(too_long) {
        return None;
    }
    let cut_one = |event: &LogEvent| LogEvent {
        at_ms: event.at_ms,
        message: event.message[..event.message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned(),
    };
    Some(events.iter().map(cut_one).collect())
}

/// A record's header, and its events still encoded.
pub(super) fn decode_header<'a>(key: &[u8], record: &'a [u8]) -> Result<(Header, &'a [u8]), StoreError> {
    let body = body(key, record)?;
    postcard::take_from_bytes(body).map_err(|_| damaged(key))
}

/// The events behind a header.
pub(super) fn decode_events(key: &[u8], events: &[u8]) -> Result<Vec<LogEvent>, StoreError> {
    decode(key, events)
}

/// A usage row's bytes.
pub(super) fn encode_usage(usage: &Usage) -> Bytes {
    let bytes = postcard::to_extend(usage, vec![FORMAT]);
    bytes.expect("bytes and numbers always encode").into()
}

/// A usage row, with the function that its key names.
pub(super) fn decode_usage(key: &[u8], row: &[u8]) -> Result<(FunctionName, Usage), StoreError> {
    let name = std::str::from_utf8(key).ok().and_then(|name| name.parse().ok());
    Ok((name.ok_or_else(|| damaged(key))?, decode(key, body(key, row)?)?))
}

fn body<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match record.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        _ => Err(damaged(key)),
    }
}

fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| damaged(key))
}

fn damaged(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("the log record `{}` cannot be read", key.escape_ascii()))
}
