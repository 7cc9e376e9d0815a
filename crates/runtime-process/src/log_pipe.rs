//! What an instance writes to its output, on its way to the log.
//!
//! Every kind of instance has one [`LogPipe`], which is read while a call is waited for. It is read at some 50 MB/s at
//! most: a function that writes more waits for that.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use squall_runtime::LogCapture;
use tokio::net::unix::pipe;
use tokio::time::Instant;

const READ_BYTES: usize = 16 * 1024;
/// The most that a pipe holds: what was written before an answer is never more.
const PIPE_BYTES_MAX: usize = 1024 * 1024;
/// What is read before a pause. Who writes more waits, and not those whose answers the server is to carry.
const BYTES_AT_ONCE: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(1);

/// The read end of an instance's log pipe.
#[derive(Debug)]
pub(crate) struct LogPipe {
    pipe: pipe::Receiver,
    /// Every writer has closed it.
    ended: bool,
    buffer: Box<[u8]>,
    /// Bytes since the last pause, and when that ends.
    since_pause: usize,
    pause: Option<Instant>,
}

impl LogPipe {
    /// A pipe, and its write end.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        let pipe = Self {
            pipe: pipe::Receiver::from_owned_fd(read)?,
            ended: false,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            since_pause: 0,
            pause: None,
        };
        Ok((pipe, write))
    }

    /// Takes what is there, without waiting, and nothing of what comes meanwhile. Asks the pipe itself: readiness may
    /// not have been noticed yet.
    pub(crate) fn drain(&mut self, log: &mut LogCapture) {
        let there = rustix::io::ioctl_fionread(&self.pipe).map_or(PIPE_BYTES_MAX, |there| there as usize);
        let mut taken = 0;
        while taken < there {
            match rustix::io::read(&self.pipe, &mut self.buffer[..]) {
                Ok(0) => {
                    self.ended = true;
                    return;
                }
                Ok(count) => {
                    log.push(&self.buffer[..count]);
                    taken += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until something was written, and takes it. Never returns once the pipe has ended.
    pub(crate) async fn pump(&mut self, log: &mut LogCapture) {
        if let Some(end) = self.pause {
            tokio::time::sleep_until(end).await;
            self.pause = None;
        }
        if self.ended || self.pipe.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
        match self.pipe.try_read(&mut self.buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                log.push(&self.buffer[..count]);
                self.since_pause += count;
            }
            Err(_) => {}
        }
        if self.since_pause >= BYTES_AT_ONCE {
            self.since_pause = 0;
            self.pause = Some(Instant::now() + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_writes_much_waits() {
        let (mut pipe, far) = LogPipe::new().expect("a pipe");
        let mut log = LogCapture::new(usize::MAX);
        let begin = Instant::now();
        for _ in 0..BYTES_AT_ONCE / READ_BYTES {
            rustix::io::write(&far, &[b'x'; READ_BYTES]).expect("written");
            pipe.pump(&mut log).await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        rustix::io::write(&far, b"end\n").expect("written");
        pipe.pump(&mut log).await;
        assert!(begin.elapsed() >= PAUSE, "{:?}", begin.elapsed());
        assert!(log.take()[0].text.ends_with("xend"));
    }
}
