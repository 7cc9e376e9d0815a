//! The format in which an accepted event is kept.
//!
//! Key: `e`, then what the store's append adds (8 bytes of sequence, 4 of place, big-endian). Value: a format byte,
//! the CRC-32 of the rest (little-endian), the event in postcard. A change of [`Stored`] is a new format byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::{Encoding, FunctionName, FunctionRef, Invocation, Placement, RequestId, SessionSeed};

use crate::config::OpenError;
use crate::log::unix_ms;

/// What every key starts with.
pub(crate) const PREFIX: &[u8] = b"e";
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;

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
}

/// Format 1.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
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
        }
    }

    /// The call that runs it.
    pub(crate) fn invocation(&self) -> Invocation {
        Invocation {
            request_id: self.request_id,
            target: self.target.clone(),
            payload: self.payload.clone(),
            client_context: self.client_context.clone(),
            trace_id: self.trace_id.clone(),
            log_tail: false,
            placement: Placement::Anywhere,
            encoding: Encoding::Json,
            session: SessionSeed::default(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let stored = Stored {
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
        if format != FORMAT {
            return Err(format!("its format is {format}; this version reads {FORMAT}"));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(sum) {
            return Err("its checksum is wrong".to_owned());
        }
        let stored: Stored<'_> = postcard::from_bytes(body).map_err(|error| error.to_string())?;
        let name: FunctionName = stored.name.parse().map_err(display)?;
        let qualifier = stored.qualifier.map(|text| text.parse()).transpose();
        Ok(Self {
            request_id: stored.request_id,
            target: FunctionRef {
                name,
                qualifier: qualifier.map_err(display)?,
            },
            payload: record.slice_ref(stored.payload),
            client_context: stored.client_context.map(|bytes| record.slice_ref(bytes)),
            trace_id: stored.trace_id.map(str::to_owned),
            accepted: at(stored.accepted_ms),
            failures: stored.failures,
            due: at(stored.due_ms),
        })
    }
}

fn display(error: squall_types::NameError) -> String {
    error.to_string()
}

fn at(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0))
}

/// The key of the event with this sequence number.
pub(crate) fn key(sequence: u64) -> Bytes {
    let mut key = Vec::with_capacity(PREFIX.len() + 12);
    key.extend_from_slice(PREFIX);
    key.extend_from_slice(&sequence.to_be_bytes());
    // An event is appended alone, so its place in its batch is always the first.
    key.extend_from_slice(&0u32.to_be_bytes());
    key.into()
}

/// The sequence number in a key.
pub(crate) fn sequence(key: &[u8]) -> Result<u64, OpenError> {
    let number = key
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_first_chunk::<8>());
    match number {
        Some((sequence, [0, 0, 0, 0])) => Ok(u64::from_be_bytes(*sequence)),
        _ => Err(OpenError::Damaged {
            sequence: 0,
            reason: format!("`{}` is no key of an event", key.escape_ascii()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        Event {
            request_id: "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().expect("a UUID"),
            target: "resize:live".parse().expect("a valid reference"),
            payload: Bytes::from_static(b"{\"a\":1}"),
            client_context: Some(Bytes::from_static(b"{}")),
            trace_id: Some("Root=1-a".to_owned()),
            accepted: at(1_000),
            failures: 1,
            due: at(61_000),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Event::new(Invocation::new("f".parse().expect("a name"), Bytes::new()), at(5));
        for event in [sample(), plain] {
            let read = Event::decode(&event.encode()).expect("a whole record");
            assert_eq!(format!("{read:?}"), format!("{event:?}"));
        }
    }

    /// [`sample`] as the first release wrote it.
    const FORMAT_1: &str = "01adcdd1ab108f5a3c529a3b4c7e9d550d2f7a1b6c1106726573697a6501046c697665077b2261223a31\
                            7d01027b7d0108526f6f743d312d61d00f0190b907";

    #[test]
    fn records_of_format_1_are_read() {
        let digits = FORMAT_1.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let read = Event::decode(&bytes.collect()).expect("a whole record");
        assert_eq!(format!("{read:?}"), format!("{:?}", sample()));
    }

    #[test]
    fn a_record_that_changed_in_any_byte_is_refused() {
        let record = sample().encode();
        for place in 0..record.len() {
            let mut damaged = record.to_vec();
            damaged[place] ^= 0x40;
            assert!(Event::decode(&damaged.into()).is_err(), "byte {place}");
        }
        for length in 0..record.len() {
            assert!(Event::decode(&record.slice(..length)).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_key_names_its_sequence_number() {
        assert_eq!(sequence(&key(7)).ok(), Some(7));
        assert!(sequence(b"e123").is_err());
        assert!(sequence(b"x00000000\0\0\0\0").is_err());
    }
}
