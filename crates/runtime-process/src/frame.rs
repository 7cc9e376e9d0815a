//! The framed protocol with a managed runtime, beside its log pipe.
//!
//! A managed instance owns one [`Channel`]. A frame is a u32 length of what follows, a u8 kind, a u32 header length,
//! the header (JSON) and the body; all little-endian. An answer is bounded by `frame_bytes_max`.
//! While it waits, the channel reads the log; once an answer is there, it takes all that was written before it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use squall_runtime::{Exit, ExitWatch, Fault, Host, LogCapture};

use crate::host_call::{self, Answer, Calls};
use crate::log_pipe::LogPipe;
use crate::process::ended;
use crate::socket::Socket;

pub(crate) const INIT: u8 = 1;
pub(crate) const INVOKE: u8 = 2;
pub(crate) const HOST_REPLY: u8 = 3;
pub(crate) const READY: u8 = 129;
pub(crate) const INIT_ERROR: u8 = 130;
pub(crate) const RESPONSE: u8 = 131;
pub(crate) const ERROR: u8 = 132;
pub(crate) const HOST_CALL: u8 = 133;

const HEAD_BYTES: usize = 9;
const READ_BYTES: usize = 16 * 1024;
/// Frames up to this are copied out of the buffer.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Of a frame whose length is known already.
const LARGE_READ_BYTES: usize = 64 * 1024;
/// Room for a frame's head and header beside the largest body.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// The largest value in a frame, from an instance that cannot send files.
const CALL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Files that came and whose frame has not been read yet.
const FILES_MAX: usize = 16;

/// One frame from the instance.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) header: Bytes,
    pub(crate) body: Bytes,
}

/// The instance's ends of a channel.
#[derive(Debug)]
pub(crate) struct FarEnd {
    pub(crate) socket: OwnedFd,
    pub(crate) log: OwnedFd,
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    pub(crate) log: LogPipe,
    exit: ExitWatch,
    received: BytesMut,
    /// Bytes of the present frame that have not come yet; 0 while its length is not known.
    missing: usize,
    /// Files that came with frames that have not been taken yet, in their order.
    files: VecDeque<OwnedFd>,
    piece: Box<[u8]>,
    body_bytes_max: usize,
}

/// The two halves before a process is there to watch.
#[derive(Debug)]
pub(crate) struct NearEnd {
    socket: Socket,
    log: LogPipe,
}

/// A socket pair and a log pipe.
pub(crate) fn ends() -> io::Result<(NearEnd, FarEnd)> {
    let (socket, far) = Socket::pair()?;
    let (log, log_write) = LogPipe::new()?;
    let far = FarEnd {
        socket: far,
        log: log_write,
    };
    Ok((NearEnd { socket, log }, far))
}

impl Channel {
    pub(crate) fn new(near: NearEnd, exit: ExitWatch, body_bytes_max: usize) -> Self {
        Self {
            socket: near.socket,
            log: near.log,
            exit,
            received: BytesMut::with_capacity(READ_BYTES),
            missing: 0,
            files: VecDeque::new(),
            piece: vec![0; READ_BYTES].into_boxed_slice(),
            body_bytes_max,
        }
    }

    /// Sends a frame and waits for the next one, answering what the instance asks meanwhile.
    /// Not for use again after it was dropped or failed.
    pub(crate) async fn call(
        &mut self,
        kind: u8,
        header: &[u8],
        body: &[u8],
        host: Option<Arc<dyn Host>>,
        log: &mut LogCapture,
    ) -> Result<Frame, Fault> {
        self.send(kind, header, body, log).await?;
        let mut calls = Calls::new(host);
        loop {
            let frame = self.receive(&mut calls, log).await?;
            if frame.kind != HOST_CALL {
                self.log.drain(log);
                return Ok(frame);
            }
            let file = match host_call::brings_file(&frame.header) {
                true => self.files.pop_front(),
                false => None,
            };
            calls.begin(frame, file)?;
            while let Some(answer) = calls.ready() {
                self.reply(&answer, log).await?;
            }
        }
    }

    /// Sends an answer. Goes on reading meanwhile: the instance may be in the middle of asking, and not read.
    async fn reply(&mut self, answer: &Answer, log: &mut LogCapture) -> Result<(), Fault> {
        let head = head(HOST_REPLY, answer.header.len(), answer.body.len())?;
        let mut rest = head.chain(&answer.header[..]).chain(&answer.body[..]);
        let mut files: Vec<BorrowedFd<'_>> = answer.files().collect();
        while rest.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = rest.chunks_vectored(&mut slices);
            match self.socket.write(&slices[..count], &files) {
                Ok(written) => {
                    files.clear();
                    rest.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let may_read = self.received.len() <= CALL_BYTES_MAX;
                    tokio::select! {
                        room = self.socket.writable() => room.map_err(no_room)?,
                        () = self.socket.readable(), if may_read => { let _ = self.read(); }
                        () = self.log.pump(log) => {}
                        exit = ended(&mut self.exit) => return Err(self.gone(exit, log)),
                    }
                }
                // Its end, or whatever it said before, is found when reading.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        kind: u8,
        header: &[u8],
        body: &[u8],
        log: &mut LogCapture,
    ) -> Result<(), Fault> {
        let head = head(kind, header.len(), body.len())?;
        let mut rest = head.chain(header).chain(body);
        while rest.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = rest.chunks_vectored(&mut slices);
            match self.socket.write(&slices[..count], &[]) {
                Ok(written) => rest.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::select! {
                        room = self.socket.writable() => room.map_err(no_room)?,
                        () = self.log.pump(log) => {}
                        exit = ended(&mut self.exit) => return Err(self.gone(exit, log)),
                    }
                }
                // Its end, or whatever it said before, is found when reading.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn receive(&mut self, calls: &mut Calls, log: &mut LogCapture) -> Result<Frame, Fault> {
        let mut exited = None;
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(frame);
            }
            match self.read() {
                Ok(0) => return Err(self.closed(log).await),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(self.closed(log).await),
            }
            if let Some(exit) = exited {
                return self.last_frame(exit, log);
            }
            tokio::select! {
                biased;
                () = self.socket.readable() => {}
                answer = calls.next() => self.reply(&answer, log).await?,
                () = self.log.pump(log) => {}
                exit = ended(&mut self.exit) => exited = Some(exit),
            }
        }
    }

    /// Reads what is there. Files come with the first bytes of a frame, so what is read past those of the present
    /// frame is read with care.
    fn read(&mut self) -> io::Result<usize> {
        if self.missing > 0 {
            let old = self.received.len();
            self.received.resize(old + self.missing.min(LARGE_READ_BYTES), 0);
            let count = self.socket.read(&mut self.received[old..]);
            self.received.truncate(old + *count.as_ref().unwrap_or(&0));
            self.missing -= count.as_ref().unwrap_or(&0);
            return count;
        }
        let count = self.socket.read_with(&mut self.piece, &mut self.files)?;
        self.received.extend_from_slice(&self.piece[..count]);
        Ok(count)
    }

    /// The process has ended, so what it sent is in the socket already: its last frame, or none.
    fn last_frame(&mut self, exit: Exit, log: &mut LogCapture) -> Result<Frame, Fault> {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = self.socket.read_rest(&mut piece) {
            self.received.extend_from_slice(&piece[..count]);
            if let Some(frame) = self.parse()? {
                return Ok(frame);
            }
        }
        Err(self.gone(exit, log))
    }

    /// The socket is closed: the process is ending, or has closed it and lives on, in which case it is killed
    /// when its owner drops it.
    async fn closed(&mut self, log: &mut LogCapture) -> Fault {
        let wait = tokio::time::timeout(CLOSED_WAIT_MAX, async {
            loop {
                tokio::select! {
                    exit = ended(&mut self.exit) => return exit,
                    () = self.log.pump(log) => {}
                }
            }
        });
        let exit = wait.await;
        self.log.drain(log);
        match exit {
            Ok(exit) => Fault::Exited(exit),
            Err(_) => Fault::Protocol("it closed its socket and went on running".to_owned()),
        }
    }

    fn gone(&mut self, exit: Exit, log: &mut LogCapture) -> Fault {
        self.log.drain(log);
        Fault::Exited(exit)
    }

    /// Takes a whole frame out of what was received. A large one stays where it was read to; a small one is copied, so
    /// that an answer of some bytes, kept for long, keeps no buffer, and the buffer is used again.
    fn parse(&mut self) -> Result<Option<Frame>, Fault> {
        if self.received.len() < HEAD_BYTES {
            return Ok(None);
        }
        let mut head = &self.received[..HEAD_BYTES];
        let length = head.get_u32_le() as usize;
        let kind = head.get_u8();
        let header_bytes = head.get_u32_le() as usize;
        if header_bytes > HEADER_BYTES_MAX || header_bytes + 5 > length {
            return Err(Fault::Protocol(format!(
                "a frame of {length} bytes with a header of {header_bytes} bytes"
            )));
        }
        if self.files.len() > FILES_MAX {
            return Err(Fault::Protocol("it sent files that belong to no call".to_owned()));
        }
        let body_bytes = length - 5 - header_bytes;
        let bytes_max = match kind {
            HOST_CALL => CALL_BYTES_MAX,
            _ => self.body_bytes_max,
        };
        if body_bytes > bytes_max {
            return Err(Fault::ResponseTooLarge {
                bytes: body_bytes,
                bytes_max,
            });
        }
        let whole = 4 + length;
        if self.received.len() < whole {
            self.missing = whole - self.received.len();
            self.received.reserve(self.missing);
            return Ok(None);
        }
        self.missing = 0;
        let mut frame = if whole > COPIED_BYTES_MAX {
            self.received.split_to(whole).freeze()
        } else {
            let copy = Bytes::copy_from_slice(&self.received[..whole]);
            self.received.advance(whole);
            copy
        };
        frame.advance(HEAD_BYTES);
        let header = frame.split_to(header_bytes);
        Ok(Some(Frame {
            kind,
            header,
            body: frame,
        }))
    }
}

/// How long a process may live on after its socket was closed.
const CLOSED_WAIT_MAX: Duration = Duration::from_secs(1);

fn no_room(error: io::Error) -> Fault {
    Fault::Protocol(format!("could not wait until it reads: {error}"))
}

fn head(
    kind: u8,
    header_bytes: usize,
    body_bytes: usize,
) -> Result<std::io::Cursor<[u8; HEAD_BYTES]>, Fault> {
    let length = u32::try_from(5 + header_bytes + body_bytes)
        .map_err(|_| Fault::Protocol("an event of more than 4 GiB".to_owned()))?;
    let header_bytes = u32::try_from(header_bytes).unwrap_or(u32::MAX);
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = kind;
    head[5..].copy_from_slice(&header_bytes.to_le_bytes());
    Ok(std::io::Cursor::new(head))
}
