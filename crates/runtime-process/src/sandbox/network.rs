//! A network of the function's own: its loopback, and on it what the server serves there.
//!
//! [`enter`] runs in the new process, in its new network namespace: it listens on ports of the loopback and passes the
//! listeners out, where the server accepts. So the platform is reached without any way to the host's network.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_short};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::child::{Failure, Step, check};

/// The platform's API, and the Runtime API.
pub(super) const PORTS_MAX: usize = 2;
/// Connections that wait to be accepted.
const BACKLOG: c_int = 128;

/// What [`enter`] needs.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) ports: Vec<u16>,
    /// The socket that takes the listeners out.
    pub(super) out: RawFd,
}

/// Runs in the new process, which may still configure its network.
pub(super) fn enter(own: &Own) -> Result<(), Failure> {
    raise_loopback()?;
    let mut listeners = [-1; PORTS_MAX];
    let mut count = 0;
    for (place, &port) in listeners.iter_mut().zip(&own.ports) {
        *place = listen(port)?;
        count += 1;
    }
    pass(own.out, &listeners[..count])?;
    for &listener in &listeners[..count] {
        // SAFETY: a descriptor that was made here.
        unsafe { libc::close(listener) };
    }
    Ok(())
}

fn raise_loopback() -> Result<(), Failure> {
    // SAFETY: all zeros is a valid request; the name and the flags are within it. The descriptor is closed here.
    unsafe {
        let socket = check(
            Step::Network,
            libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).into(),
        )? as c_int;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
        let raised = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request);
        let raised = check(Step::Network, raised.into());
        libc::close(socket);
        raised.map(drop)
    }
}

/// On the loopback's IPv4 address: its descriptor, which does not block.
fn listen(port: u16) -> Result<RawFd, Failure> {
    // SAFETY: all zeros is a valid address, of the size that is given.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = check(Step::Network, libc::socket(libc::AF_INET, kind, 0).into())? as c_int;
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = port.to_be();
        address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let bound = libc::bind(socket, (&raw const address).cast(), length);
        check(Step::Network, bound.into())?;
        check(Step::Network, libc::listen(socket, BACKLOG).into())?;
        Ok(socket)
    }
}

/// One byte with descriptors beside it.
fn pass(out: RawFd, descriptors: &[RawFd]) -> Result<(), Failure> {
    let mut byte = [0_u8; 1];
    // As numbers of eight bytes, since the kernel's header wants to be so aligned.
    let mut beside = [0_u64; 8];
    let length = size_of_val(descriptors) as u32;
    // SAFETY: the message and what it points to live until the call is over; the room beside it is larger than a
    // header and `PORTS_MAX` descriptors, which is what is written there.
    let sent = unsafe {
        let mut slice = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: byte.len(),
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = beside.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        ptr::copy_nonoverlapping(
            descriptors.as_ptr().cast::<u8>(),
            libc::CMSG_DATA(header),
            length as usize,
        );
        libc::sendmsg(out, &raw const message, libc::MSG_NOSIGNAL)
    };
    check(Step::Network, sent as i64).map(drop)
}

/// The listeners that a process has passed out, in the order of its ports. The process runs its program by now.
pub(super) fn receive(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PORTS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    let rights = ancillary.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(rights.flatten().collect())
}
