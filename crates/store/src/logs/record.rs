//! How a log batch lies in the store: keys, records and the usage row beside them, each with a format byte.
//!
//! A record's key is its function's name, a zero byte (which no name has) and what the append adds: so one
//! function's records are one range, in the order in which they were appended.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::{FunctionName, RequestId};

use super::text::Text;
use super::{LogBatch, LogEvent};
use crate::{Space, StoreError};

/// The records.
pub(super) const LOGS: Space = Space("logs");
/// How much each function has, by its name.
pub(super) const USAGE: Space = Space("log_usage");

/// That of usage rows, and of records until their texts were shortened.
const FORMAT: u8 = 1;
/// That of records now: their events are [`Event`]s.
const SHORT: u8 = 2;
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

/// An event as it lies in a record.
#[derive(Debug, Serialize, Deserialize)]
struct Event<'a> {
    /// How long before the record's newest line, in milliseconds.
    before_ms: i64,
    #[serde(borrow)]
    text: Text<'a>,
}

/// A record whose events are still encoded.
pub(super) struct Record<'a> {
    pub(super) header: Header,
    format: u8,
    events: &'a [u8],
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
    let id = id(batch.request_id);
    let mut rest = batch.events.as_slice();
    loop {
        let (events, behind) = rest.split_at(events_of_a_record(rest));
        let header = Header {
            request_id: batch.request_id,
            stream: batch.stream.clone(),
            newest_ms: events.iter().map(|event| event.at_ms).max().unwrap_or(now_ms),
        };
        let events = short(&header, events, &id);
        let mut bytes = Vec::with_capacity(encoded_bytes(&header, &events));
        bytes.push(SHORT);
        let bytes = postcard::to_extend(&header, bytes);
        let bytes = bytes.and_then(|bytes| postcard::to_extend(&events, bytes));
        records.push(bytes.expect("text and numbers always encode").into());
        rest = behind;
        if rest.is_empty() {
            return records;
        }
    }
}

/// About as much room as a record needs, so that it is written without growing.
fn encoded_bytes(header: &Header, events: &[Event<'_>]) -> usize {
    let messages: usize = events.iter().map(|event| event.text.bytes()).sum();
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

/// The events as they are kept, the longest messages cut.
fn short<'a>(header: &Header, events: &'a [LogEvent], id: &str) -> Vec<Event<'a>> {
    let event = |event: &'a LogEvent| {
        let message = &event.message[..event.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        Event {
            before_ms: header.newest_ms.wrapping_sub(event.at_ms),
            text: Text::of(message, id),
        }
    };
    events.iter().map(event).collect()
}

/// The invocation's id as lines name it; empty where there is none.
fn id(request_id: Option<RequestId>) -> String {
    request_id.map_or_else(String::new, |id| id.to_string())
}

impl<'a> Record<'a> {
    /// Reads what stands before the events.
    pub(super) fn open(key: &[u8], record: &'a [u8]) -> Result<Self, StoreError> {
        let (&format, body) = record.split_first().ok_or_else(|| damaged(key))?;
        if ![FORMAT, SHORT].contains(&format) {
            return Err(damaged(key));
        }
        let (header, events) = postcard::take_from_bytes(body).map_err(|_| damaged(key))?;
        Ok(Self {
            header,
            format,
            events,
        })
    }

    /// The events.
    pub(super) fn events(&self, key: &[u8]) -> Result<Vec<LogEvent>, StoreError> {
        if self.format == FORMAT {
            return decode(key, self.events);
        }
        let events: Vec<Event<'_>> = decode(key, self.events)?;
        let id = id(self.header.request_id);
        let event = |event: Event<'_>| LogEvent {
            at_ms: self.header.newest_ms.wrapping_sub(event.before_ms),
            message: event.text.write(&id),
        };
        Ok(events.into_iter().map(event).collect())
    }
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

fn decode<'a, T: Deserialize<'a>>(key: &[u8], bytes: &'a [u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| damaged(key))
}

fn damaged(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("the log record `{}` cannot be read", key.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"f\0............";

    fn batch(events: &[(i64, &str)]) -> LogBatch {
        let event = |&(at_ms, message): &(i64, &str)| LogEvent {
            at_ms,
            message: message.to_owned(),
        };
        LogBatch {
            function: "f".parse().expect("a name"),
            stream: "2026/11/30/[1]abc".into(),
            request_id: "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().ok(),
            events: events.iter().map(event).collect(),
        }
    }

    #[test]
    fn a_call_that_says_nothing_takes_little() {
        let id = "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11";
        let start = format!("START RequestId: {id} Version: $LATEST");
        let end = format!("END RequestId: {id}");
        let report = format!(
            "REPORT RequestId: {id}\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 40 MB\t"
        );
        let batch = batch(&[(7, &start), (9, &end), (9, &report)]);
        let records = encode(&batch, 0);
        assert_eq!(records.len(), 1);
        assert!(records[0].len() < 90, "{}", records[0].len());
        let record = Record::open(KEY, &records[0]).expect("a record");
        assert_eq!(record.header.newest_ms, 9);
        assert_eq!(record.events(KEY).expect("its events"), batch.events);
    }

    #[test]
    fn records_of_the_first_format_are_read() {
        let batch = batch(&[(7, "a line"), (8, "another")]);
        let header = Header {
            request_id: batch.request_id,
            stream: batch.stream.clone(),
            newest_ms: 8,
        };
        let bytes = postcard::to_extend(&header, vec![FORMAT]).expect("a header");
        let bytes = postcard::to_extend(&batch.events, bytes).expect("events");
        let record = Record::open(KEY, &bytes).expect("a record");
        assert_eq!(record.events(KEY).expect("its events"), batch.events);
    }

    #[test]
    fn a_damaged_record_is_told_by_its_key() {
        for damaged in [&[][..], &[9, 0, 0], &[SHORT], &[SHORT, 0, 1, b'a', 0, 1, 0, 9]] {
            let read = Record::open(KEY, damaged).and_then(|record| record.events(KEY));
            let text = read.expect_err("damaged").to_string();
            assert!(text.contains("cannot be read"), "{text}");
        }
    }
}
