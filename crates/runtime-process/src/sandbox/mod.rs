//! What is around a process before it runs code: its walls.
//!
//! `process` calls [`spawn`] for everything that it starts. This module has the crate's only `unsafe` code.
//! Reading order: `spawn` (the server's side), `child` (the new process's side, up to its program),
//! `mounts` (what a function sees), `enter` (how that comes to be) and `network` (a network of its own),
//! `init/main.rs` (the first process, which ends what the program leaves behind), `seccomp` and `syscalls`.
//! `scheduling` is for `turns`, `contention` and `cgroup`.

#![expect(
    unsafe_code,
    reason = "processes are made, and give up what they may do, by system calls that have no safe form"
)]

mod child;
mod enter;
mod mounts;
mod network;
mod probe;
pub(crate) mod scheduling;
mod seccomp;
mod spawn;
mod syscalls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_runtime::network::Network;
use tokio::io::unix::AsyncFd;

use crate::cgroup::{Allowance, Cgroup, Cgroups};

pub(crate) use mounts::{RUNTIME, Room, TASK, TMP};
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
    /// Most processes and threads of its user.
    pub(crate) processes_max: Option<u64>,
}

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
/// DNS.
const NAMES_PORT: u16 = 53;

/// Who a function is for itself where the server's own user runs it.
const UID_INSIDE: u32 = 1000;

/// One of the things that keep a process from what is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Processes, files, shared memory and names of its own, seen by a user who is nobody else; see [`Room`].
    Namespaces,
    /// A network of its own, for functions that are not to have the host's; see [`OwnNetwork`].
    Network,
    /// Bounds of memory, processes and processor time; see `cgroup`.
    Cgroups,
    /// No capabilities, and no way to gain privileges.
    Privileges,
    /// The filter of system calls.
    Seccomp,
}

impl Wall {
    pub(crate) const ALL: [Self; 5] = [
        Self::Cgroups,
        Self::Namespaces,
        Self::Network,
        Self::Privileges,
        Self::Seccomp,
    ];
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroups => "cgroups",
            Self::Namespaces => "namespaces",
            Self::Network => "network",
            Self::Privileges => "privileges",
            Self::Seccomp => "seccomp",
        })
    }
}

/// The walls that this host allows.
#[derive(Debug)]
pub(crate) struct Walls {
    /// A folder to mount new roots on; each process does it where nobody else sees it.
    pub(crate) stage: PathBuf,
    /// Whether the server may make namespaces itself. Otherwise each is made within one of users, as the server's user.
    pub(crate) as_root: bool,
    pub(crate) cgroups: Option<Arc<Cgroups>>,
    pub(crate) built: Vec<Wall>,
    /// What could not be built, and why.
    pub(crate) missing: Vec<(Wall, String)>,
}

impl Walls {
    pub(crate) fn has(&self, wall: Wall) -> bool {
        self.built.contains(&wall)
    }

    /// A control group, where there are any.
    pub(crate) async fn cgroup(&self, allowance: Allowance) -> io::Result<Option<Arc<Cgroup>>> {
        let Some(cgroups) = self.cgroups.clone() else {
            return Ok(None);
        };
        let making = Arc::clone(&cgroups);
        let taken = tokio::task::spawn_blocking(move || making.take(allowance)).await;
        // The next ones, beside what follows.
        tokio::task::spawn_blocking(move || cgroups.tidy());
        taken.map_err(io::Error::other)?.map(Some)
    }

    /// The user that runs a function. Where the server may choose: one for each name, which no host gives to people
    /// or services (systemd leaves this range alone), the same after a restart.
    pub(crate) fn uid(&self, function: &str) -> u32 {
        const FIRST: u32 = 0x7000_0000;
        const MASK: u32 = 0x03ff_ffff;
        if !self.as_root {
            return UID_INSIDE;
        }
        // FNV-1a: two functions with one user are still kept apart by every other wall.
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        FIRST + (function.bytes().fold(0x811c_9dc5, hash) & MASK)
    }
}

/// A network with nothing but a loopback, and what the server serves on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnNetwork {
    /// The port of the platform's API.
    pub(crate) door: Option<u16>,
    /// The port of the Runtime API, for code that brings its own client.
    pub(crate) runtime_api: Option<u16>,
    /// What the server connects to for it; `None` is nothing.
    pub(crate) egress: Option<Egress>,
}

/// The outside, as far as a list goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Egress {
    pub(crate) network: Network,
    /// Of the list.
    pub(crate) ports: Vec<u16>,
}

impl OwnNetwork {
    /// To be bound in the namespace, in this order: the API, the Runtime API, the names, the outside.
    fn sockets(&self) -> Vec<network::Socket> {
        let stream = |address, port| network::Socket {
            kind: libc::SOCK_STREAM,
            address,
            port,
        };
        let names = network::Socket {
            kind: libc::SOCK_DGRAM,
            address: LOCALHOST,
            port: NAMES_PORT,
        };
        let own = [self.door, self.runtime_api].into_iter().flatten();
        let mut sockets: Vec<_> = own.map(|port| stream(LOCALHOST, port)).collect();
        if let Some(egress) = &self.egress {
            sockets.push(names);
            sockets.extend(egress.ports.iter().map(|&port| stream([0; 4], port)));
        }
        sockets
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
    /// What it sees, where the walls have namespaces.
    pub(crate) room: Option<&'a Room>,
    pub(crate) cgroup: Option<&'a Cgroup>,
}

/// Waits on a descriptor that nothing else in the crate closes or replaces.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor, gives out shared references only, and closes it after deregistering.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
