//! Moves the new process into its namespaces: users, the file system, a name.
//!
//! [`Inside`] is prepared by `spawn`; [`enter`] runs in the new process and keeps to what `child` may do.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_ulong};

use super::child::{Failure, Step as Stage, check};
use super::mounts::{Plan, Room, Step};
use super::network::{self, Own};
use super::{UID_INSIDE, Walls};

/// What a function's machine is called.
const HOST_NAME: &CStr = c"function";
/// Details of a failure that are no step of the plan.
const ROOT: u32 = 0;
const USERS: u32 = u32::MAX;

/// Everything that [`enter`] needs.
pub(super) struct Inside {
    plan: Plan,
    /// `/proc/self/uid_map` and `gid_map`, in a namespace of users.
    maps: Option<(CString, CString)>,
    /// Whom to become where there is no namespace of users.
    pub(super) uid: Option<u32>,
    /// `None` is the host's.
    network: Option<Own>,
}

impl Inside {
    /// `out` takes the listeners of a network of its own.
    pub(super) fn new(room: &Room, walls: &Walls, out: Option<RawFd>) -> io::Result<Self> {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let map = |id: u32| CString::new(format!("{UID_INSIDE} {id} 1")).map_err(io::Error::other);
        Ok(Self {
            plan: room.plan(&walls.stage)?,
            maps: (!walls.as_root)
                .then(|| Ok::<_, io::Error>((map(uid)?, map(gid)?)))
                .transpose()?,
            uid: walls.as_root.then_some(room.uid),
            network: room.network.as_ref().zip(out).map(|(network, out)| Own {
                sockets: network.sockets(),
                takes_all: network.egress.is_some(),
                out,
            }),
        })
    }

    /// The kinds of namespaces, for `clone3`.
    pub(super) fn flags(&self) -> u64 {
        let user = if self.maps.is_some() {
            libc::CLONE_NEWUSER
        } else {
            0
        };
        let network = if self.network.is_some() {
            libc::CLONE_NEWNET
        } else {
            0
        };
        let all = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let all = all | user | network;
        u64::from(all.cast_unsigned())
    }

    /// What a detail of a failure means.
    pub(super) fn describe(&self, detail: i32) -> String {
        let detail = detail.cast_unsigned();
        match detail
            .checked_sub(1)
            .and_then(|index| self.plan.steps.get(index as usize))
        {
            Some(step) => format!("{step:?}"),
            None if detail == USERS => "mapping users".to_owned(),
            None => "making a root".to_owned(),
        }
    }
}

/// Runs in the new process, which is the first of its namespaces.
pub(super) fn enter(inside: &Inside) -> Result<(), Failure> {
    if let Some((uids, gids)) = &inside.maps {
        write(USERS, c"/proc/self/setgroups", b"deny")?;
        write(USERS, c"/proc/self/uid_map", uids.to_bytes())?;
        write(USERS, c"/proc/self/gid_map", gids.to_bytes())?;
    }
    // SAFETY: numbers and C strings; they touch only the namespaces that this process is alone in.
    unsafe {
        libc::umask(0);
        checked(
            ROOT,
            libc::sethostname(HOST_NAME.as_ptr(), HOST_NAME.count_bytes()).into(),
        )?;
    }
    make_root(&inside.plan)?;
    if let Some(own) = &inside.network {
        network::enter(own)?;
    }
    // SAFETY: a number.
    unsafe { libc::umask(0o022) };
    Ok(())
}

/// Mounts a new root beside the old, fills it, changes places, and lets the old one go.
fn make_root(plan: &Plan) -> Result<(), Failure> {
    mount(ROOT, None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount(
        ROOT,
        Some(c"tmpfs"),
        &plan.stage,
        Some(c"tmpfs"),
        flags,
        Some(&plan.root_options),
    )?;
    change_folder(&plan.stage)?;
    for (step, detail) in plan.steps.iter().zip(1..) {
        take(step, detail)?;
    }
    // SAFETY: C strings. With both names alike the old root is above the new one, and is let go from there.
    unsafe {
        let here = c".".as_ptr();
        checked(ROOT, libc::syscall(libc::SYS_pivot_root, here, here))?;
        checked(ROOT, libc::umount2(here, libc::MNT_DETACH).into())?;
    }
    change_folder(c"/")?;
    let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | flags;
    mount(ROOT, None, c"/", None, read_only, None)
}

fn take(step: &Step, detail: u32) -> Result<(), Failure> {
    match step {
        Step::Folder(path) => {
            // SAFETY: a C string.
            let made = unsafe { libc::mkdir(path.as_ptr(), 0o755) };
            unless_there(detail, made)
        }
        Step::Place(path) => {
            // SAFETY: a C string.
            let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o644, 0) };
            unless_there(detail, made)
        }
        Step::Text(path, text) => write(detail, path, text),
        Step::Link { path, to } => {
            // SAFETY: C strings.
            checked(
                detail,
                unsafe { libc::symlink(to.as_ptr(), path.as_ptr()) }.into(),
            )
        }
        Step::Bind { from, to, attributes } => {
            mount(detail, Some(from), to, None, libc::MS_BIND | libc::MS_REC, None)?;
            set_attributes(detail, to, *attributes)
        }
        Step::Mount {
            kind,
            to,
            flags,
            options,
        } => mount(detail, Some(kind), to, Some(kind), *flags, Some(options)),
    }
}

fn unless_there(detail: u32, made: c_int) -> Result<(), Failure> {
    match checked(detail, made.into()) {
        Err(Failure(_, libc::EEXIST, _)) => Ok(()),
        made => made,
    }
}

fn mount(
    detail: u32,
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    options: Option<&CStr>,
) -> Result<(), Failure> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: C strings or null, which the caller holds.
    let result = unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            pointer(options).cast(),
        )
    };
    checked(detail, result.into())
}

/// Of a mount and all below it.
fn set_attributes(detail: u32, target: &CStr, attributes: u64) -> Result<(), Failure> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: a C string and a value of the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    checked(detail, result)
}

fn change_folder(path: &CStr) -> Result<(), Failure> {
    // SAFETY: a C string.
    checked(ROOT, unsafe { libc::chdir(path.as_ptr()) }.into())
}

/// Writes a small file in one call, making it where it is not there.
fn write(detail: u32, path: &CStr, text: &[u8]) -> Result<(), Failure> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: a C string, and bytes of the length that is given; the descriptor is closed here.
    unsafe {
        let file = libc::open(path.as_ptr(), flags, 0o644);
        checked(detail, file.into())?;
        let written = checked(detail, libc::write(file, text.as_ptr().cast(), text.len()) as i64);
        libc::close(file);
        written
    }
}

/// Becomes a user with a group of the same number, and nobody else's.
pub(super) fn become_user(id: u32) -> Result<(), Failure> {
    // SAFETY: the kernel's calls rather than the C library's, which would tell threads that are not in this process.
    unsafe {
        checked(USERS, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()))?;
        checked(USERS, libc::syscall(libc::SYS_setresgid, id, id, id))?;
        checked(USERS, libc::syscall(libc::SYS_setresuid, id, id, id))
    }
}

fn checked(detail: u32, result: i64) -> Result<(), Failure> {
    match check(Stage::Namespaces, result) {
        Ok(_) => Ok(()),
        Err(Failure(stage, errno, _)) => Err(Failure(stage, errno, detail)),
    }
}
