//! A network of the function's own: its loopback, and on it what the server serves there.
//!
//! [`enter`] runs in the new process, in its new network namespace: it binds sockets there and passes them out to the
//! server, which accepts on them. So the platform is reached without any way to the host's network. Where the function
//! may reach more, every IPv4 address is made one of the namespace's own: what is sent anywhere arrives at one of these
//! sockets, and the server decides whether to take it on (`egress`).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_short};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use squall_runtime::network::EgressList;

use super::child::{Failure, Step, check};

/// The platform's API, the Runtime API, the names, and the ports to the outside.
pub(super) const SOCKETS_MAX: usize = 3 + EgressList::PORTS_MAX;
/// Connections that wait to be accepted.
const BACKLOG: c_int = 128;
/// The first interface of a network namespace is its loopback, and has this number.
const LOOPBACK: u32 = 1;
/// Of a request for a route; and where an answer says what went wrong, after its header.
const ROUTE_BYTES: usize = 36;
const ERROR_AT: usize = size_of::<libc::nlmsghdr>();

/// What [`enter`] needs.
#[derive(Debug)]
pub(super) struct Own {
    /// At most [`SOCKETS_MAX`].
    pub(super) sockets: Vec<Socket>,
    /// Whether every address is to be the namespace's own.
    pub(super) takes_all: bool,
    /// The socket that takes the others out.
    pub(super) out: RawFd,
}

/// One to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    /// `SOCK_STREAM`, which listens, or `SOCK_DGRAM`.
    pub(super) kind: c_int,
    pub(super) address: [u8; 4],
    pub(super) port: u16,
}

/// Runs in the new process, which may still configure its network.
pub(super) fn enter(own: &Own) -> Result<(), Failure> {
    raise_loopback()?;
    if own.takes_all {
        take_all_addresses()?;
    }
    let mut bound = [-1; SOCKETS_MAX];
    let mut count = 0;
    for (place, socket) in bound.iter_mut().zip(&own.sockets) {
        // A listed port may also be one of the loopback's own: there the socket bound to the address comes first.
        let alike = own.sockets.iter().filter(|other| other.port == socket.port);
        *place = bind(*socket, alike.count() > 1)?;
        count += 1;
    }
    pass(own.out, &bound[..count])?;
    for &socket in &bound[..count] {
        // SAFETY: a descriptor that was made here.
        unsafe { libc::close(socket) };
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

/// As `ip route add local 0.0.0.0/0 dev lo`. The namespace has no other interface, so nothing else is reached anyway.
fn take_all_addresses() -> Result<(), Failure> {
    let request = route_request();
    let mut answer = [0_u8; ROUTE_BYTES + ERROR_AT];
    // SAFETY: the kernel reads and writes as many bytes as is said; the descriptor is closed here.
    let (sent, read) = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let socket = check(
            Step::Network,
            libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE).into(),
        )? as c_int;
        let sent = libc::send(socket, request.as_ptr().cast(), request.len(), 0);
        let sent = check(Step::Network, sent as i64);
        let read = libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0);
        let read = check(Step::Network, read as i64);
        libc::close(socket);
        (sent, read)
    };
    sent?;
    read?;
    let [a, b, c, d] = [0, 1, 2, 3].map(|byte| answer[ERROR_AT + byte]);
    match c_int::from_ne_bytes([a, b, c, d]) {
        0 => Ok(()),
        error => Err(Failure(Step::Network, -error, 0)),
    }
}

/// The request as the kernel reads it: `struct nlmsghdr`, `struct rtmsg`, and one attribute.
fn route_request() -> [u8; ROUTE_BYTES] {
    let mut request = [0; ROUTE_BYTES];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        request[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    put(&(ROUTE_BYTES as u32).to_ne_bytes());
    put(&libc::RTM_NEWROUTE.to_ne_bytes());
    put(&(flags as u16).to_ne_bytes());
    // Numbers for telling answers apart.
    put(&[0; 8]);
    // To every address, from every address: no bits of either.
    put(&[libc::AF_INET as u8, 0, 0, 0]);
    put(&[
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
    ]);
    put(&[0; 4]);
    put(&8_u16.to_ne_bytes());
    put(&libc::RTA_OIF.to_ne_bytes());
    put(&LOOPBACK.to_ne_bytes());
    request
}

/// Its descriptor, which does not block.
fn bind(wanted: Socket, is_shared: bool) -> Result<RawFd, Failure> {
    // SAFETY: all zeros is a valid address; the values are of the sizes that are given.
    unsafe {
        let kind = wanted.kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = check(Step::Network, libc::socket(libc::AF_INET, kind, 0).into())? as c_int;
        let is_shared = c_int::from(is_shared);
        let shared = libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_REUSEPORT,
            (&raw const is_shared).cast(),
            size_of::<c_int>() as libc::socklen_t,
        );
        check(Step::Network, shared.into())?;
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = wanted.port.to_be();
        address.sin_addr.s_addr = u32::from_be_bytes(wanted.address).to_be();
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let bound = libc::bind(socket, (&raw const address).cast(), length);
        check(Step::Network, bound.into())?;
        if wanted.kind == libc::SOCK_STREAM {
            check(Step::Network, libc::listen(socket, BACKLOG).into())?;
        }
        Ok(socket)
    }
}

/// One byte with descriptors beside it.
fn pass(out: RawFd, descriptors: &[RawFd]) -> Result<(), Failure> {
    let mut byte = [0_u8; 1];
    // As numbers of eight bytes, since the kernel's header wants to be so aligned.
    let mut beside = [0_u64; 16];
    let length = size_of_val(descriptors) as u32;
    // SAFETY: the message and what it points to live until the call is over; the room beside it is larger than a
    // header and `SOCKETS_MAX` descriptors, which is what is written there.
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

/// What a process has passed out, in the order in which it was bound. The process runs its program by now.
pub(super) fn receive(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    let rights = ancillary.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(rights.flatten().collect())
}
