//! The envelope of stored records: a format byte, the CRC-32 of the rest (little-endian), a JSON document.
//!
//! JSON, since records gain members over time, and names and the API's own texts are most of what they hold.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEADER_BYTES: usize = 5;

/// Writes a record. Its maps have strings for keys: JSON has no others.
///
/// # Panics
/// Where they have not.
pub fn write(format: u8, record: &impl Serialize) -> Bytes {
    let mut bytes = vec![format, 0, 0, 0, 0];
    serde_json::to_writer(&mut bytes, record).expect("records have string keys and a vector takes all bytes");
    let sum = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes.into()
}

/// Reads a record of the format that this version writes.
///
/// # Errors
/// What is wrong with it, to follow "the record is damaged:".
pub fn read<T: DeserializeOwned>(format: u8, bytes: &[u8]) -> Result<T, String> {
    let Some((&[found, ref sum @ ..], body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err("it is cut off".to_owned());
    };
    if found != format {
        return Err(format!("its format is {found}; this version reads {format}"));
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
