//! For the fuzz targets: takes any bytes, and panics where a promise is broken. See `fuzz/`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use squall_runtime::{Exit, LogCapture};
use tokio::sync::watch;

use crate::frame::{Channel, Frame, INVOKE, ends};

pub use crate::runtime_api::fuzzing::runtime_api;

/// The largest body of a frame that is taken.
pub const BODY_BYTES_MAX: usize = 4096;
/// What a socket takes without anybody reading.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// Frames that an instance has sent before it ended, up to the first that is none: (kind, header, body).
/// Called within a runtime.
pub async fn frames(data: &[u8]) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let (near, far) = ends().expect("sockets");
    let (_, exit) = watch::channel(Some(Exit::Status(0)));
    let mut channel = Channel::new(near, exit, BODY_BYTES_MAX);
    let mut log = LogCapture::new(1024);
    let mut socket = UnixStream::from(far.socket);
    socket
        .write_all(&data[..data.len().min(DATA_BYTES_MAX)])
        .expect("room in a socket");
    socket.set_nonblocking(true).expect("a socket");
    drop(far.log);
    let mut frames = Vec::new();
    while let Ok(Frame { kind, header, body }) = channel.call(INVOKE, b"{}", b"", None, &mut log).await {
        frames.push((kind, header.to_vec(), body.to_vec()));
        // Whatever it is told must not fill its socket.
        while socket.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
    }
    frames
}

#[cfg(test)]
mod tests {
    //! That the targets take what instances send: what they refuse they cannot test.

    use super::*;

    #[tokio::test]
    async fn frames_are_taken_up_to_the_first_that_is_none() {
        let data = b"\x0a\0\0\0\x83\x02\0\0\0{}abc\x07\0\0\0\x84\x02\0\0\0{}\xff\xff";
        let expected = vec![
            (0x83, b"{}".to_vec(), b"abc".to_vec()),
            (0x84, b"{}".to_vec(), Vec::new()),
        ];
        assert_eq!(frames(data).await, expected);
    }

    #[tokio::test]
    async fn an_instance_may_send_a_thousand() {
        let data = b"\x07\0\0\0\x84\x02\0\0\0{}".repeat(1000);
        assert_eq!(frames(&data).await.len(), 1000);
    }

    #[tokio::test]
    async fn an_answer_to_the_event_is_taken() {
        let next = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
        let answer =
            b"POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\ncontent-length: 2\r\n\r\n42";
        assert!(runtime_api(&[next, answer].concat()).await);
        assert!(!runtime_api(next).await);
        let other = b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\ncontent-length: 2\r\n\r\n42";
        assert!(!runtime_api(&[next, other].concat()).await);
    }
}
