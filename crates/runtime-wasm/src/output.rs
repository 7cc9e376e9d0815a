//! Where a guest writes: into its answer, or into its log. Both are bounded; what does not fit is counted and dropped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use squall_runtime::LogCapture;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// One of a guest's two outputs. Clones share what was written.
#[derive(Clone)]
pub(crate) enum Output {
    /// Standard output of a command.
    Answer(Answer),
    /// What is written for people. Bounded by the capture itself.
    Log(LogCapture),
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Answer(answer) => answer.push(bytes),
            Self::Log(log) => log.push(bytes),
        }
    }
}

/// The answer of a command, kept up to a bound.
#[derive(Clone)]
pub(crate) struct Answer(Arc<Mutex<Written>>);

struct Written {
    kept: Vec<u8>,
    bytes: usize,
    bytes_max: usize,
}

impl Answer {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Written {
            kept: Vec::new(),
            bytes: 0,
            bytes_max,
        })))
    }

    /// All that was written; or, when it was more than the bound, how many bytes that were.
    pub(crate) fn take(&self) -> Result<Vec<u8>, usize> {
        let mut written = self.written();
        if written.bytes > written.bytes_max {
            return Err(written.bytes);
        }
        Ok(std::mem::take(&mut written.kept))
    }

    fn push(&self, bytes: &[u8]) {
        let mut written = self.written();
        let room = written.bytes_max - written.kept.len();
        let fits = bytes.len().min(room);
        written.kept.extend_from_slice(&bytes[..fits]);
        written.bytes = written.bytes.saturating_add(bytes.len());
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Nothing panics between its changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_past_its_bound_is_counted_and_not_kept() {
        let answer = Answer::new(4);
        answer.push(b"ab");
        answer.push(b"cd");
        assert_eq!(answer.take(), Ok(b"abcd".to_vec()));
        let answer = Answer::new(4);
        for _ in 0..3 {
            answer.push(b"abc");
        }
        assert_eq!(answer.take(), Err(9));
        assert!(answer.written().kept.len() <= 4);
    }
}
