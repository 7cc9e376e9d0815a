//! What a process gets before it runs code: its walls.
//!
//! `process` calls [`confine`] for everything that it starts. This is the crate's only `unsafe` code.
//! Today the walls are a session of its own, resource limits, closed descriptors and death with the server;
//! namespaces, seccomp and cgroups join [`Walls`] and are applied in the same place.
//!
//! The number of processes is not limited yet: without a user namespace that limit counts everything
//! that the server's user runs, not what one function runs.

#![expect(
    unsafe_code,
    reason = "code between fork and exec can only be installed through `pre_exec`"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use tokio::io::unix::AsyncFd;

/// The descriptor on which a process finds its socket.
pub(crate) const SOCKET_FD: RawFd = 3;

/// What to apply to a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walls {
    /// Most bytes of private writable memory; `None` leaves it to the runtime (Node reserves far more than it uses).
    pub(crate) data_bytes_max: Option<u64>,
    /// Most open descriptors.
    pub(crate) open_files_max: u64,
}

/// Puts the walls around the process that `command` will start, and gives it `socket` as descriptor 3.
///
/// The process dies with the thread that starts it, so that thread must live as long as the server.
pub(crate) fn confine(command: &mut Command, walls: Walls, socket: Option<&OwnedFd>) {
    let socket = socket.map(AsRawFd::as_raw_fd);
    // SAFETY: getpid has no preconditions.
    let server = unsafe { libc::getpid() };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed.
    // `apply` makes system calls and nothing else: it neither allocates nor takes a lock.
    // `socket` stays open until after the fork, because `Launch` owns it until then.
    unsafe {
        command.pre_exec(move || apply(walls, socket, server));
    }
}

fn apply(walls: Walls, socket: Option<RawFd>, server: libc::pid_t) -> io::Result<()> {
    // SAFETY: system calls on plain numbers; they touch only the calling process, which is about to exec.
    unsafe {
        succeeded(libc::setsid())?;
        succeeded(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != server {
            // The server died before the line above took effect.
            libc::_exit(1);
        }
    }
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, walls.open_files_max)?;
    if let Some(bytes) = walls.data_bytes_max {
        limit(libc::RLIMIT_DATA, bytes)?;
    }
    // SAFETY: as above. Marking descriptors close-on-exec rather than closing them keeps the pipe
    // through which a failing exec is reported.
    unsafe {
        if let Some(socket) = socket {
            if socket == SOCKET_FD {
                succeeded(libc::fcntl(socket, libc::F_SETFD, 0))?;
            } else {
                succeeded(libc::dup2(socket, SOCKET_FD))?;
            }
        }
        let first = if socket.is_some() { 4 } else { 3 };
        let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        // Kernels before 5.11 do not know it; there every descriptor of ours is close-on-exec already.
        libc::close_range(first, libc::c_uint::MAX, flags);
    }
    Ok(())
}

fn limit(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<()> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is a valid place for the answer and a valid argument.
    unsafe {
        succeeded(libc::getrlimit(resource, &raw mut now))?;
        let value = wanted.min(now.rlim_max);
        now = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        succeeded(libc::setrlimit(resource, &raw const now))
    }
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Waits on a descriptor that nothing else in the crate closes or replaces.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor, gives out shared references only, and closes it after deregistering.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
