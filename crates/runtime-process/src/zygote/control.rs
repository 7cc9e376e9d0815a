//! The socket between the supervisor and a zygote: whole messages, with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sandbox;

/// What a zygote says is a few dozen bytes; its longest message is a reason.
const MESSAGE_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Control {
    socket: AsyncFd<OwnedFd>,
}

impl Control {
    /// Our end, and the zygote's.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&near, true)?;
        let socket = sandbox::watch(near)?;
        Ok((Self { socket }, far))
    }

    pub(crate) async fn send(&self, message: &[u8], descriptors: &[&OwnedFd]) -> io::Result<()> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|fd| fd.as_fd()).collect();
        let send = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::Error::other("more descriptors than a message carries"));
            }
            let slices = [IoSlice::new(message)];
            rustix::net::sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// The next message and the descriptor that came with it; `None` when the zygote has gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let receive = |socket: &OwnedFd| {
            let mut message = vec![0; MESSAGE_BYTES_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut message)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = rustix::net::recvmsg(socket, &mut slices, &mut ancillary, flags)?;
            let mut descriptor = None;
            for part in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                    descriptor = descriptors.last();
                }
            }
            message.truncate(received.bytes);
            Ok((!message.is_empty()).then_some((message, descriptor)))
        };
        self.socket.async_io(Interest::READABLE, receive).await
    }
}
