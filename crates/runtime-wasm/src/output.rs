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
    /// The same, of a guest that answers several calls.
    Redirected(Redirected),
}

/// The log of the call that a guest runs now; between calls nothing is kept of what it writes.
#[derive(Clone)]
pub(crate) struct Redirected(Arc<Mutex<Option<LogCapture>>>);

impl Redirected {
    pub(crate) fn new(log: &LogCapture) -> Self {
        Self(Arc::new(Mutex::new(Some(log.clone()))))
    }

    /// From now on it is another call's.
    pub(crate) fn redirect(&self, log: &LogCapture) {
        *self.log() = Some(log.clone());
    }

    /// The call has ended.
    pub(crate) fn silence(&self) {
        *self.log() = None;
    }

    fn log(&self) -> MutexGuard<'_, Option<LogCapture>> {
        // A place for a handle is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Answer(answer) => answer.push(bytes),
            Self::Log(log) => log.push(bytes),
            Self::Redirected(redirected) => {
                if let Some(log) = &mut *redirected.log() {
                    log.push(bytes);
                }
            }
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
    fn what_is_written_goes_to_the_call_that_runs() {
        let (first, second) = (LogCapture::new(100), LogCapture::new(100));
        let redirected = Redirected::new(&first);
        let mut held = Output::Redirected(redirected.clone());
        held.push(b"one\n");
        redirected.silence();
        held.push(b"between\n");
        redirected.redirect(&second);
        held.push(b"two\n");
        let texts =
            |mut log: LogCapture| -> Vec<String> { log.finish().into_iter().map(|line| line.text).collect() };
        assert_eq!(texts(first), ["one"]);
        assert_eq!(texts(second), ["two"]);
    }

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
