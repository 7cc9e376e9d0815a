//! Frames of an instance are those that a plain reading of the protocol finds, up to the first that breaks a bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squall_fuzz::block_on;
use squall_runtime_process::fuzzing::{BODY_BYTES_MAX, DATA_BYTES_MAX, frames};

const HEADER_BYTES_MAX: usize = 64 * 1024;
/// What an instance asks is answered by the channel itself, and is no answer.
const HOST_CALL: u8 = 133;

fuzz_target!(|data: &[u8]| {
    let got = block_on(frames(data));
    let mut rest = &data[..data.len().min(DATA_BYTES_MAX)];
    let mut expected = Vec::new();
    while let Some((frame, after)) = plainly(rest) {
        if frame.0 == HOST_CALL {
            assert!(got.starts_with(&expected));
            return;
        }
        expected.push(frame);
        rest = after;
    }
    assert_eq!(got, expected);
});

type Frame = (u8, Vec<u8>, Vec<u8>);

fn plainly(data: &[u8]) -> Option<(Frame, &[u8])> {
    let number = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize);
    let (length, kind, header) = (number(0)?, *data.get(4)?, number(5)?);
    let body = length.checked_sub(5)?.checked_sub(header)?;
    if header > HEADER_BYTES_MAX || (kind != HOST_CALL && body > BODY_BYTES_MAX) {
        return None;
    }
    let (header, rest) = data[9..].split_at_checked(header)?;
    let (body, rest) = rest.split_at_checked(body)?;
    Some(((kind, header.to_vec(), body.to_vec()), rest))
}
