//! Starts a process within its walls: prepares what `child` needs, makes the process, hears how it went.
//!
//! `process` calls [`spawn`] on the thread that starts processes.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use libc::c_char;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::child::{self, Prepared, Step};
use super::enter::Inside;
use super::mounts::c_bytes as c_string;
use super::{Program, Wall, Walls, network, seccomp};
use crate::cgroup::{Cgroup, Entrance};

/// The static executable that `build.rs` made.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/squall-init"));

/// Descriptors of ours are above those that programs get.
const DESCRIPTOR_MIN: RawFd = 10;
/// One thread starts all processes, so that one whose system calls do not come back must not keep it for ever.
const START_MAX: Duration = Duration::from_secs(20);
/// Signal handlers of the server are not for its children.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The new process begins in a control group of version 2.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A first process and what speaks of its program.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// The first process. It ends when the program has ended, and everything that the program has started.
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// Gives the program's wait status when that has ended.
    pub(crate) status: OwnedFd,
    /// The program itself, where the kernel tells.
    pub(crate) program: Option<Pid>,
    /// What ends the first process, and all with it.
    pub(crate) kill: Signal,
    /// Sockets of its own network, in the order of [`super::OwnNetwork`].
    pub(crate) sockets: Vec<OwnedFd>,
}

/// No process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// One that is to be around it.
    #[error("could not build the wall `{0}`: {1}")]
    Wall(Wall, io::Error),
    /// The program cannot be executed.
    #[error("{0}")]
    Program(io::Error),
    #[error("could not start a process: {0}")]
    Other(#[from] io::Error),
}

impl SpawnError {
    /// Only where the program is at fault the kind of error says so.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Program(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// Starts a program. It runs when this returns.
pub(crate) fn spawn(program: &Program<'_>, walls: &Walls) -> Result<Spawned, SpawnError> {
    let strings = Strings::of(program)?;
    let has_own_network = program.room.is_some_and(|room| room.network.is_some());
    // A function that is to have less than the host's network never gets that.
    if has_own_network && !(walls.has(Wall::Network) && walls.has(Wall::Namespaces)) {
        let missing = io::Error::other("it is not among the walls of this server");
        return Err(SpawnError::Wall(Wall::Network, missing));
    }
    let (sockets, out) = has_own_network.then(socket_pair).transpose()?.unzip();
    let (failed, failure) = pipe(PipeFlags::CLOEXEC)?;
    let (status, status_far) = pipe(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let log = program.log.unwrap_or(null.as_fd());
    // Held until the process has its own copies.
    let held = Held {
        null: above(null.as_fd())?,
        log: above(log)?,
        socket: program.socket.map(above).transpose()?,
        status: above(status_far.as_fd())?,
        failure: above(failure.as_fd())?,
        out: out.as_ref().map(above).transpose()?,
        init: above(init()?.as_fd())?,
        entrance: program.cgroup.map(Cgroup::entrance).transpose()?,
    };
    drop((null, status_far, failure, out));
    let prepared = prepare(program, walls, &strings, &held)?;
    let (pid, pidfd) = make(&prepared).map_err(|error| not_made(&prepared, error))?;
    drop(held);
    let spawned = Spawned {
        pid,
        pidfd,
        status,
        program: None,
        sockets: Vec::new(),
        // The end of a pid namespace's first process is the end of all in it.
        kill: if prepared.inside.is_some() {
            Signal::KILL
        } else {
            Signal::USR1
        },
    };
    match read_failure(failed, &prepared)? {
        None => Ok(Spawned {
            program: only_child(pid),
            sockets: sockets.map_or_else(|| Ok(Vec::new()), |socket| network::receive(&socket))?,
            ..spawned
        }),
        Some(error) => {
            let _ = rustix::process::pidfd_send_signal(&spawned.pidfd, Signal::KILL);
            // On a thread of its own: the kernel may take its time with one that is in the midst of a system call.
            std::thread::spawn(move || {
                rustix::process::waitid(WaitId::PidFd(spawned.pidfd.as_fd()), WaitIdOptions::EXITED)
            });
            Err(error)
        }
    }
}

/// The program's words, which `Prepared` points to.
struct Strings {
    program: CString,
    dir: CString,
    args: Vec<CString>,
    environment: Vec<CString>,
}

impl Strings {
    fn of(program: &Program<'_>) -> io::Result<Self> {
        let path = c_string(program.path.map_or(OsStr::new(""), |path| path.as_os_str()))?;
        let mut args = vec![path.clone()];
        for arg in program.args {
            args.push(c_string(arg)?);
        }
        let pairs = program.environment.iter();
        let environment = pairs.map(|(name, value)| c_string(OsStr::new(&format!("{name}={value}"))));
        Ok(Self {
            program: path,
            dir: c_string(program.dir.as_os_str())?,
            args,
            environment: environment.collect::<io::Result<_>>()?,
        })
    }
}

struct Held {
    null: OwnedFd,
    log: OwnedFd,
    socket: Option<OwnedFd>,
    status: OwnedFd,
    failure: OwnedFd,
    out: Option<OwnedFd>,
    init: OwnedFd,
    entrance: Option<Entrance>,
}

fn prepare(program: &Program<'_>, walls: &Walls, strings: &Strings, held: &Held) -> io::Result<Prepared> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        let all = strings.iter().map(|string| string.as_ptr());
        all.chain([std::ptr::null()]).collect()
    };
    let limits = program.limits;
    let room = program.room.filter(|_| walls.has(Wall::Namespaces));
    let inside = room.map(|room| Inside::new(room, walls, held.out.as_ref().map(AsRawFd::as_raw_fd)));
    let inside = inside.transpose()?;
    Ok(Prepared {
        program: strings.program.clone(),
        dir: strings.dir.clone(),
        args: pointers(&strings.args),
        environment: pointers(&strings.environment),
        null: held.null.as_raw_fd(),
        log: held.log.as_raw_fd(),
        socket: held.socket.as_ref().map(AsRawFd::as_raw_fd),
        status: held.status.as_raw_fd(),
        failure: held.failure.as_raw_fd(),
        init: held.init.as_raw_fd(),
        tasks: match &held.entrance {
            Some(Entrance::Tasks(tasks)) => tasks.iter().map(AsRawFd::as_raw_fd).collect(),
            Some(Entrance::Folder(_)) | None => Vec::new(),
        },
        group: match &held.entrance {
            Some(Entrance::Folder(folder)) => Some(folder.as_raw_fd()),
            Some(Entrance::Tasks(_)) | None => None,
        },
        server_died: if inside.is_some() {
            libc::SIGKILL
        } else {
            libc::SIGUSR1
        },
        inside,
        limits: [
            (libc::RLIMIT_CORE, Some(0)),
            (libc::RLIMIT_NOFILE, Some(limits.open_files_max)),
            (libc::RLIMIT_DATA, limits.data_bytes_max),
            (libc::RLIMIT_FSIZE, limits.file_bytes_max),
            (libc::RLIMIT_NPROC, limits.processes_max),
        ],
        unprivileged: walls.has(Wall::Privileges),
        filter: walls.has(Wall::Seccomp).then(seccomp::filter),
    })
}

/// Makes the process; it runs `child` and never returns here.
fn make(prepared: &Prepared) -> io::Result<(Pid, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeros is a valid value of these numbers and null pointers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_CLEAR_SIGHAND | libc::CLONE_PIDFD as u64;
    args.flags |= prepared.inside.as_ref().map_or(0, Inside::flags);
    if let Some(group) = prepared.group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(group.cast_unsigned());
    }
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is a fork: the new process has a copy of this thread's stack and of all memory.
    // It only runs `child::run`, which keeps to system calls. `args` and `pidfd` live until the call is over.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => child::run(prepared),
        1.. => {
            // SAFETY: the kernel has just made this descriptor, for nobody else.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok((pid.expect("the kernel gives a process a number"), pidfd))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Which wall the kernel refused with the process. What it says of control groups it says of no namespace.
fn not_made(prepared: &Prepared, error: io::Error) -> SpawnError {
    let of_group = [libc::EACCES, libc::EBUSY, libc::ENODEV, libc::EOPNOTSUPP];
    let is_of_group = error
        .raw_os_error()
        .is_some_and(|errno| of_group.contains(&errno));
    match (prepared.group, &prepared.inside) {
        (Some(_), _) if is_of_group => SpawnError::Wall(Wall::Cgroups, error),
        (_, Some(_)) => SpawnError::Wall(Wall::Namespaces, error),
        (_, None) => SpawnError::Other(error),
    }
}

/// Waits until both processes run what they shall, or one says what failed.
fn read_failure(failed: OwnedFd, prepared: &Prepared) -> io::Result<Option<SpawnError>> {
    let mut poll = [PollFd::new(&failed, PollFlags::IN)];
    let limit = Timespec::try_from(START_MAX).map_err(io::Error::other)?;
    if rustix::event::poll(&mut poll, Some(&limit))? == 0 {
        let what = format!("its walls were not built within {START_MAX:?}");
        return Ok(Some(SpawnError::Other(io::Error::other(what))));
    }
    let mut message = [0_u8; 12];
    match File::from(failed).read_exact(&mut message) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [step, errno, detail] = [0, 4, 8].map(|at| {
        let bytes = [message[at], message[at + 1], message[at + 2], message[at + 3]];
        i32::from_ne_bytes(bytes)
    });
    let error = io::Error::from_raw_os_error(errno);
    let step = Step::ALL.into_iter().find(|&known| known as i32 == step);
    Ok(Some(match step {
        Some(Step::Program) => SpawnError::Program(error),
        Some(Step::Capabilities) => SpawnError::Wall(Wall::Privileges, error),
        Some(Step::Cgroups) => SpawnError::Wall(Wall::Cgroups, error),
        Some(Step::Network) => SpawnError::Wall(Wall::Network, error),
        Some(Step::Seccomp) => SpawnError::Wall(Wall::Seccomp, error),
        Some(Step::Namespaces) => {
            let inside = prepared.inside.as_ref();
            let what = inside.map_or_else(String::new, |inside| inside.describe(detail));
            SpawnError::Wall(
                Wall::Namespaces,
                io::Error::new(error.kind(), format!("{what}: {error}")),
            )
        }
        step => SpawnError::Other(io::Error::other(format!("{step:?}: {error}"))),
    }))
}

/// The program: the one child that a first process has.
fn only_child(first: Pid) -> Option<Pid> {
    let number = first.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// `squall-init` as a file in memory that cannot be changed.
fn init() -> io::Result<&'static OwnedFd> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file);
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("squall-init", flags)?);
    file.write_all(INIT)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // To run it while it is open for writing is refused.
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(FILE.get_or_init(|| file.into()))
}

fn pipe(flags: PipeFlags) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(flags)?)
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn above(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, DESCRIPTOR_MIN)?)
}

#[cfg(test)]
mod tests {
    //! The group that a process begins in.

    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::cgroup::Cgroups;
    use crate::sandbox::Limits;

    const BARE: Walls = Walls {
        stage: std::path::PathBuf::new(),
        as_root: false,
        cgroups: None,
        built: Vec::new(),
        missing: Vec::new(),
    };

    /// Starts `cat /proc/self/cgroup` in a group, and checks that it was there when it began.
    fn check(group: &Cgroup, name: &str) {
        let (output, log) = pipe(PipeFlags::CLOEXEC).expect("a pipe");
        let program = Program {
            path: Some(Path::new("/bin/cat")),
            args: &["/proc/self/cgroup".into()],
            environment: &BTreeMap::new(),
            dir: Path::new("/"),
            log: Some(log.as_fd()),
            socket: None,
            limits: Limits {
                data_bytes_max: None,
                open_files_max: 64,
                file_bytes_max: None,
                processes_max: None,
            },
            room: None,
            cgroup: Some(group),
        };
        let spawned = spawn(&program, &BARE).expect("a process");
        drop(log);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).expect("its groups");
        rustix::process::waitid(WaitId::PidFd(spawned.pidfd.as_fd()), WaitIdOptions::EXITED)
            .expect("its end");
        let is_within = |line: &&str| line.ends_with(&format!("/squall-{}/{name}", std::process::id()));
        let wanted = match group.entrance().expect("an entrance") {
            Entrance::Tasks(tasks) => tasks.len(),
            Entrance::Folder(_) => 1,
        };
        assert_eq!(text.lines().filter(is_within).count(), wanted, "{text}");
    }

    #[test]
    fn a_process_begins_in_its_group_of_every_controller() {
        // Where the tester may make none, `up` says so and there is nothing to begin in.
        let Ok(groups) = Cgroups::open() else { return };
        let allowance = crate::cgroup::Allowance {
            memory_bytes_max: 64 << 20,
            folder_bytes_max: 0,
            memory_mib: 128,
        };
        check(&groups.take(allowance).expect("a group"), "0");
    }

    #[test]
    fn a_process_begins_in_its_group_of_version_two() {
        let Some(group) = Cgroup::of_version_two("begins") else {
            return;
        };
        check(&group, "begins");
    }
}
