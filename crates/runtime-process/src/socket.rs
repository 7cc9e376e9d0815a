//! The supervisor's end of an instance's socket pair.
//!
//! It watches for what can be read, and for room only while a write waits for it: the kernel reports room each time
//! that the other end reads, and a socket that is watched for both wakes the server once more for every frame.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Files that one send may carry.
pub(crate) const FILES_SENT_MAX: usize = crate::host_call::KEYS_MAX;

/// One end, which does not block.
#[derive(Debug)]
pub(crate) struct Socket {
    watched: AsyncFd<OwnedFd>,
}

impl Socket {
    /// A pair: the supervisor's end, and the instance's, which blocks.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let watched = watch(near.into(), Interest::READABLE)?;
        Ok((Self { watched }, far.into()))
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) {
        // Its one error is the end of the async runtime, where nobody waits any more.
        let _ = self.watched.readable().await;
    }

    /// Waits until there may be room to write.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        let descriptor = self.watched.get_ref().try_clone()?;
        let watched = watch(descriptor, Interest::WRITABLE)?;
        watched.writable().await.map(drop)
    }

    /// Reads what is there; `WouldBlock` where nothing is, 0 at the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watched
            .try_io(Interest::READABLE, |socket| Ok(rustix::io::read(socket, buffer)?))
    }

    /// As [`Socket::read`], with the files that come along.
    pub(crate) fn read_with(&self, buffer: &mut [u8], files: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
        self.watched.try_io(Interest::READABLE, |socket| {
            receive(socket.as_fd(), buffer, files)
        })
    }

    /// As [`Socket::read`], for what came before its process ended: readiness may not have been noticed yet.
    pub(crate) fn read_rest(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.watched.get_ref(), buffer)?)
    }

    /// Writes what there is room for, and sends the files along with its first byte.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let socket = self.watched.get_ref();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_SENT_MAX))];
        let mut ancillary = match files {
            [] => SendAncillaryBuffer::default(),
            _ => SendAncillaryBuffer::new(&mut space),
        };
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::Error::other("more files than a frame carries"));
        }
        let flags = SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(socket, slices, &mut ancillary, flags)?)
    }
}

#[expect(unsafe_code, reason = "AsyncFd takes what may not own its descriptor, too")]
fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], files: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            files.extend(descriptors);
        }
    }
    Ok(received.bytes)
}
