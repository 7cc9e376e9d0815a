//! The formats in which queues and messages are kept.
//!
//! A value is a format byte, the CRC-32 of the rest (little-endian), and the rest: JSON for a queue, postcard for
//! everything about messages. A message has two records of one key (the queue's number and the message's, 8 bytes each,
//! big-endian): its content, written once, and its place, which every delivery writes anew.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::Space;

use super::attributes::Definition;
use super::message::Content;

/// Queues by name.
pub(super) const QUEUES: Space = Space("queues");
/// What messages hold.
pub(super) const CONTENTS: Space = Space("queue-contents");
/// Where messages stand.
pub(super) const PLACES: Space = Space("queue-places");
/// What FIFO queues have seen in the last minutes.
pub(super) const SEEN: Space = Space("queue-seen");

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// When it was sent, in milliseconds of the Unix epoch.
    pub(super) sent_ms: u64,
    /// Not to be received before.
    pub(super) visible_ms: u64,
    pub(super) receive_count: u32,
    /// 0 before the first.
    pub(super) first_received_ms: u64,
    pub(super) bytes: u32,
    pub(super) group: Option<String>,
}

/// What a FIFO queue answers when the same message is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) id: uuid::Uuid,
    pub(super) sequence: u64,
    pub(super) expires_ms: u64,
}

/// The key of a message.
pub(super) fn key(queue: u64, sequence: u64) -> Bytes {
    let mut key = Vec::with_capacity(16);
    key.extend_from_slice(&queue.to_be_bytes());
    key.extend_from_slice(&sequence.to_be_bytes());
    key.into()
}

/// What a key of [`key`] says.
pub(super) fn numbers(key: &[u8]) -> Option<(u64, u64)> {
    let (queue, sequence) = key.split_first_chunk::<8>()?;
    Some((
        u64::from_be_bytes(*queue),
        u64::from_be_bytes(sequence.try_into().ok()?),
    ))
}

/// The key of what was seen.
pub(super) fn seen_key(queue: u64, name: &str) -> Bytes {
    let mut key = queue.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key.into()
}

pub(super) fn encode_place(place: &Place) -> Bytes {
    seal(postcard_of(place))
}

pub(super) fn decode_place(record: &[u8]) -> Result<Place, String> {
    postcard_from(record)
}

pub(super) fn encode_content(content: &Content) -> Bytes {
    seal(postcard_of(content))
}

pub(super) fn decode_content(record: &[u8]) -> Result<Content, String> {
    postcard_from(record)
}

pub(super) fn encode_seen(seen: &Seen) -> Bytes {
    seal(postcard_of(seen))
}

pub(super) fn decode_seen(record: &[u8]) -> Result<Seen, String> {
    postcard_from(record)
}

pub(super) fn encode_definition(definition: &Definition) -> Bytes {
    let mut record = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut record, definition).expect("strings and numbers always have a form");
    seal(record)
}

pub(super) fn decode_definition(record: &[u8]) -> Result<Definition, String> {
    serde_json::from_slice(unseal(record)?).map_err(|error| error.to_string())
}

fn postcard_of(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![0; HEADER_BYTES]).expect("strings, bytes and numbers always have a form")
}

fn postcard_from<T: DeserializeOwned>(record: &[u8]) -> Result<T, String> {
    postcard::from_bytes(unseal(record)?).map_err(|error| error.to_string())
}

fn seal(mut record: Vec<u8>) -> Bytes {
    let sum = crc32fast::hash(&record[HEADER_BYTES..]);
    record[0] = FORMAT;
    record[1..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    record.into()
}

fn unseal(record: &[u8]) -> Result<&[u8], String> {
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
    Ok(body)
}
