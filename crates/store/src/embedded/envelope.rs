//! What surrounds each stored value: a format byte, the revision, and a checksum over key, revision and value.
//!
//! The engine has checksums of its own; this one also covers what happens between it and us, and names the key.

use bytes::Bytes;

use crate::{Entry, StoreError};

const FORMAT: u8 = 1;
/// Format byte, revision, checksum.
const HEADER_BYTES: usize = 1 + 8 + 4;

/// A value as it is stored.
pub(super) fn seal(key: &[u8], revision: u64, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + value.len());
    stored.push(FORMAT);
    stored.extend_from_slice(&revision.to_le_bytes());
    stored.extend_from_slice(&checksum(key, revision, value).to_le_bytes());
    stored.extend_from_slice(value);
    stored
}

/// The entry that was stored at `key`.
pub(super) fn open(key: &[u8], stored: &[u8]) -> Result<Entry, StoreError> {
    let damaged = || {
        StoreError::Corrupt(format!(
            "the entry at `{}` is not what was written",
            key.escape_ascii()
        ))
    };
    let (header, value) = stored.split_first_chunk::<HEADER_BYTES>().ok_or_else(damaged)?;
    let [format, a, b, c, d, e, f, g, h, checksum @ ..] = *header;
    let revision = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    if format != FORMAT || u32::from_le_bytes(checksum) != self::checksum(key, revision, value) {
        return Err(damaged());
    }
    Ok(Entry {
        value: Bytes::copy_from_slice(value),
        revision,
    })
}

fn checksum(key: &[u8], revision: u64, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&revision.to_le_bytes());
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(
            key in proptest::collection::vec(any::<u8>(), 1..20),
            value in proptest::collection::vec(any::<u8>(), 0..40),
            revision: u64,
            bit: prop::sample::Index,
        ) {
            let mut stored = seal(&key, revision, &value);
            let entry = open(&key, &stored).expect("opens");
            prop_assert_eq!((entry.revision, entry.value.as_ref()), (revision, value.as_slice()));
            let bit = bit.index(stored.len() * 8);
            stored[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(open(&key, &stored), Err(StoreError::Corrupt(_))));
        }
    }
}
