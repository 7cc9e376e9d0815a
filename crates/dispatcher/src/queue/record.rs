//! The format in which an accepted event is kept, from its acceptance until it is done or discarded.
//!
//! Key: `e` (on its way) or `f` (given up), then 8 bytes of sequence and 4 of place, big-endian, as the store's append
//! makes them. Value: a format byte, the CRC-32 of the rest (little-endian), the event in postcard. A change of
//! [`Stored`] is a new format byte; format 1 had only what is now [`First`].

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::{Encoding, FunctionName, FunctionRef, Invocation, Placement, RequestId, SessionSeed};

use crate::config::OpenError;
use crate::log::unix_ms;

/// What the keys of events on their way start with.
pub(crate) const PREFIX: &[u8] = b"e";
/// What the keys of events that were given up start with.
pub(crate) const FAILED: &[u8] = b"f";
const FORMAT: u8 = 2;
const HEADER_BYTES: usize = 5;
/// The most notes of an event; the oldest go.
const NOTES_MAX: usize = 8;
/// The most bytes of a note's text.
const NOTE_BYTES_MAX: usize = 512;

/// An accepted event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) request_id: RequestId,
    pub(crate) target: FunctionRef,
    pub(crate) payload: Bytes,
    pub(crate) client_context: Option<Bytes>,
    pub(crate) trace_id: Option<String>,
    pub(crate) accepted: SystemTime,
    /// How often the function has failed on it.
    pub(crate) failures: u8,
    /// Not to be run before.
    pub(crate) due: SystemTime,
    pub(crate) notes: Vec<Note>,
    /// What came of it, while somebody has yet to be told.
    pub(crate) ending: Option<Ending>,
}

/// Something that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) at_ms: i64,
    pub(crate) text: String,
}

/// How an event ended. Stored by number: add behind, never between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Condition {
    /// The function answered.
    Success,
    /// The function failed on it as often as it may.
    RetriesExhausted,
    /// It could not be run for the longest time that an event is kept.
    EventAgeExceeded,
    /// The function, version or alias is gone.
    FunctionDeleted,
    /// It can never be run as it is.
    Refused,
}

impl Condition {
    /// Lambda's `condition` of a destination record, where it has one.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::FunctionDeleted => "FunctionDeleted",
            Self::Refused => "Refused",
        }
    }
}

/// What a target is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The record of the invocation.
    Destination,
    /// The event itself.
    DeadLetter,
}

/// A target that has yet to take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) arn: String,
    pub(crate) kind: Kind,
    /// Names the delivery: every try has the same, so that a target can take it once.
    pub(crate) id: RequestId,
    /// Why it has not; empty before the first try.
    pub(crate) error: String,
}

/// What came of an event.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) at: SystemTime,
    pub(crate) condition: Condition,
    /// The version that ran last and what it answered, where one did.
    pub(crate) response: Option<(String, Bytes)>,
    pub(crate) pending: Vec<Pending>,
}

/// What format 1 had.
#[derive(Serialize, Deserialize)]
struct First<'a> {
    request_id: RequestId,
    name: &'a str,
    qualifier: Option<String>,
    payload: &'a [u8],
    client_context: Option<&'a [u8]>,
    trace_id: Option<&'a str>,
    accepted_ms: i64,
    failures: u8,
    due_ms: i64,
}

/// Format 2.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    first: First<'a>,
    notes: Vec<Note>,
    ending: Option<StoredEnding<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredEnding<'a> {
    at_ms: i64,
    condition: Condition,
    #[serde(borrow)]
    response: Option<(String, &'a [u8])>,
    pending: Vec<Pending>,
}

impl Event {
    /// A new event, due at once.
    pub(crate) fn new(invocation: Invocation, now: SystemTime) -> Self {
        Self {
            request_id: invocation.request_id,
            target: invocation.target,
            payload: invocation.payload,
            client_context: invocation.client_context,
            trace_id: invocation.trace_id,
            accepted: now,
            failures: 0,
            due: now,
            notes: Vec::new(),
            ending: None,
        }
    }

    /// The call that runs it.
    pub(crate) fn invocation(&self) -> Invocation {
        Invocation {
            request_id: self.request_id,
            target: self.target.clone(),
            revision: None,
            payload: self.payload.clone(),
            client_context: self.client_context.clone(),
            trace_id: self.trace_id.clone(),
            log_tail: false,
            placement: Placement::Anywhere,
            encoding: Encoding::Json,
            session: SessionSeed::default(),
        }
    }

    /// Adds a note; too long a text is cut, and of too many the oldest goes.
    pub(crate) fn note(&mut self, at: SystemTime, mut text: String) {
        text.truncate(text.floor_char_boundary(NOTE_BYTES_MAX));
        if self.notes.len() >= NOTES_MAX {
            self.notes.remove(0);
        }
        let at_ms = unix_ms(at);
        self.notes.push(Note { at_ms, text });
    }

    /// From when on its age counts: from its acceptance while it waits to run, then from its end.
    pub(crate) fn born(&self) -> SystemTime {
        self.ending.as_ref().map_or(self.accepted, |ending| ending.at)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let first = First {
            request_id: self.request_id,
            name: self.target.name.as_str(),
            qualifier: self.target.qualifier.as_ref().map(ToString::to_string),
            payload: &self.payload,
            client_context: self.client_context.as_deref(),
            trace_id: self.trace_id.as_deref(),
            accepted_ms: unix_ms(self.accepted),
            failures: self.failures,
            due_ms: unix_ms(self.due),
        };
        let ending = self.ending.as_ref().map(|ending| StoredEnding {
            at_ms: unix_ms(ending.at),
            condition: ending.condition,
            response: ending
                .response
                .as_ref()
                .map(|(version, body)| (version.clone(), &body[..])),
            pending: ending.pending.clone(),
        });
        let stored = Stored {
            first,
            notes: self.notes.clone(),
            ending,
        };
        let mut record = Vec::with_capacity(HEADER_BYTES + 128 + self.payload.len());
        record.extend_from_slice(&[FORMAT, 0, 0, 0, 0]);
        let mut record =
            postcard::to_extend(&stored, record).expect("strings, bytes and numbers always have a form");
        let sum = crc32fast::hash(&record[HEADER_BYTES..]);
        record[1..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        record.into()
    }

    /// Reads a record; its payload shares the record's memory.
    pub(crate) fn decode(record: &Bytes) -> Result<Self, String> {
        let Some((header, body)) = record.split_first_chunk::<HEADER_BYTES>() else {
            return Err("it is cut off".to_owned());
        };
        let [format, sum @ ..] = *header;
        if !(1..=FORMAT).contains(&format) {
            return Err(format!(
                "its format is {format}; this version reads 1 to {FORMAT}"
            ));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(sum) {
            return Err("its checksum is wrong".to_owned());
        }
        let broken = |error: postcard::Error| error.to_string();
        let stored: Stored<'_> = if format == 1 {
            Stored {
                first: postcard::from_bytes(body).map_err(broken)?,
                notes: Vec::new(),
                ending: None,
            }
        } else {
            postcard::from_bytes(body).map_err(broken)?
        };
        let ending = stored.ending.map(|ending| Ending {
            at: at(ending.at_ms),
            condition: ending.condition,
            response: ending
                .response
                .map(|(version, body)| (version, record.slice_ref(body))),
            pending: ending.pending,
        });
        let first = stored.first;
        let name: FunctionName = first.name.parse().map_err(display)?;
        let qualifier = first.qualifier.map(|text| text.parse()).transpose();
        Ok(Self {
            request_id: first.request_id,
            target: FunctionRef {
                name,
                qualifier: qualifier.map_err(display)?,
            },
            payload: record.slice_ref(first.payload),
            client_context: first.client_context.map(|bytes| record.slice_ref(bytes)),
            trace_id: first.trace_id.map(str::to_owned),
            accepted: at(first.accepted_ms),
            failures: first.failures,
            due: at(first.due_ms),
            notes: stored.notes,
            ending,
        })
    }
}

fn display(error: squall_types::NameError) -> String {
    error.to_string()
}

fn at(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0))
}

/// The key of the event on its way with this sequence number.
pub(crate) fn key(sequence: u64) -> Bytes {
    key_of(PREFIX, sequence)
}

/// The key of the event with this sequence number, once it was given up.
pub(crate) fn failed_key(sequence: u64) -> Bytes {
    key_of(FAILED, sequence)
}

fn key_of(prefix: &[u8], sequence: u64) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + 12);
    key.extend_from_slice(prefix);
    key.extend_from_slice(&sequence.to_be_bytes());
    // An event is appended alone, so its place in its batch is always the first.
    key.extend_from_slice(&0u32.to_be_bytes());
    key.into()
}

/// The sequence number in a key that starts with `prefix`.
pub(crate) fn sequence(prefix: &[u8], key: &[u8]) -> Result<u64, OpenError> {
    let number = key
        .strip_prefix(prefix)
        .and_then(|rest| rest.split_first_chunk::<8>());
    match number {
        Some((sequence, [0, 0, 0, 0])) => Ok(u64::from_be_bytes(*sequence)),
        _ => Err(OpenError::Damaged {
            sequence: 0,
            reason: format!("`{}` is no key of an event", key.escape_ascii()),
        }),
    }
}
