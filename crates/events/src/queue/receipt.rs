//! Receipt handles: they name one delivery of one message, are opaque to callers, and are checked when they come back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Queue, sequence, receive count, CRC-32.
const BYTES: usize = 8 + 8 + 4 + 4;

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) queue: u64,
    pub(super) sequence: u64,
    pub(super) receive_count: u32,
}

impl Receipt {
    pub(super) fn handle(self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&self.queue.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.receive_count.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for what was never a handle.
    pub(super) fn parse(handle: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(handle).ok()?.try_into().ok()?;
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (queue, rest) = body.split_first_chunk::<8>()?;
        let (sequence, count) = rest.split_first_chunk::<8>()?;
        Some(Self {
            queue: u64::from_be_bytes(*queue),
            sequence: u64::from_be_bytes(*sequence),
            receive_count: u32::from_be_bytes(count.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_was_changed_anywhere_is_none() {
        let receipt = Receipt {
            queue: 3,
            sequence: 1 << 40,
            receive_count: 7,
        };
        let handle = receipt.handle();
        assert_eq!(Receipt::parse(&handle), Some(receipt));
        for place in 0..handle.len() {
            let mut changed = handle.clone().into_bytes();
            changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(Receipt::parse(&changed), None, "{changed}");
        }
        assert_eq!(Receipt::parse("not a handle"), None);
    }
}
