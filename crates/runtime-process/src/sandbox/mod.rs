//! What is around a process before it runs code: its walls.
//!
//! `process` calls [`spawn`] for everything that it starts. This module has the crate's only `unsafe` code.
//! Reading order: `spawn` (the server's side), `child` (the new process's side, up to its program),
//! `init/main.rs` (the first process, which ends what the program leaves behind), `seccomp` and `syscalls`.

#![expect(
    unsafe_code,
    reason = "processes are made, and give up what they may do, by system calls that have no safe form"
)]

mod child;
mod probe;
mod seccomp;
mod spawn;
mod syscalls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use tokio::io::unix::AsyncFd;

pub(crate) use probe::build;
pub(crate) use spawn::{SpawnError, Spawned, spawn};

/// The descriptor on which a process finds its socket.
pub(crate) const SOCKET_FD: RawFd = 3;

/// What a process may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most bytes of private writable memory; `None` leaves it to the runtime (Node reserves far more than it uses).
    pub(crate) data_bytes_max: Option<u64>,
    /// Most open descriptors.
    pub(crate) open_files_max: u64,
    /// Largest file that it can write.
    pub(crate) file_bytes_max: Option<u64>,
}

/// One of the things that keep a process from what is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// No capabilities, and no way to gain privileges.
    Privileges,
    /// The filter of system calls.
    Seccomp,
}

impl Wall {
    pub(crate) const ALL: [Self; 2] = [Self::Privileges, Self::Seccomp];
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileges => "privileges",
            Self::Seccomp => "seccomp",
        })
    }
}

/// The walls that this host allows.
#[derive(Debug, Default)]
pub(crate) struct Walls {
    pub(crate) built: Vec<Wall>,
    /// What could not be built, and why.
    pub(crate) missing: Vec<(Wall, String)>,
}

impl Walls {
    pub(crate) fn has(&self, wall: Wall) -> bool {
        self.built.contains(&wall)
    }
}

/// A program to start.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// `None` starts `squall-init` once more, which ends at once: to see whether the walls can be built.
    pub(crate) path: Option<&'a Path>,
    pub(crate) args: &'a [OsString],
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) dir: &'a Path,
    /// Becomes descriptors 1 and 2; `None` is /dev/null.
    pub(crate) log: Option<BorrowedFd<'a>>,
    /// Becomes [`SOCKET_FD`].
    pub(crate) socket: Option<BorrowedFd<'a>>,
    pub(crate) limits: Limits,
}

/// Waits on a descriptor that nothing else in the crate closes or replaces.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor, gives out shared references only, and closes it after deregistering.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
