//! Python: the runtime's source, and how a process of it is started.
//!
//! The source is part of the binary and is written to the run folder when the server starts.

pub(crate) mod forks;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_types::{MIB, Revision};

use crate::cgroup::{Allowance, Cgroup};
use crate::process::Launch;
use crate::sandbox::{Limits, Room, SOCKET_FD, Walls};

macro_rules! sdk {
    ($name:literal) => {
        include_str!(concat!("../../../../sdk/python/squall/", $name))
    };
}

const SOURCES: [(&str, &str); 15] = [
    ("squall_context.py", include_str!("runtime/squall_context.py")),
    ("squall_frames.py", include_str!("runtime/squall_frames.py")),
    ("squall_host.py", include_str!("runtime/squall_host.py")),
    ("squall_main.py", include_str!("runtime/squall_main.py")),
    ("squall_marshal.py", include_str!("runtime/squall_marshal.py")),
    ("squall_preload.py", include_str!("runtime/squall_preload.py")),
    ("squall_serve.py", include_str!("runtime/squall_serve.py")),
    ("squall_zygote.py", include_str!("runtime/squall_zygote.py")),
    // What functions import.
    ("library/squall/__init__.py", sdk!("__init__.py")),
    ("library/squall/buckets.py", sdk!("buckets.py")),
    ("library/squall/errors.py", sdk!("errors.py")),
    ("library/squall/instance.py", sdk!("instance.py")),
    ("library/squall/lattices.py", sdk!("lattices.py")),
    ("library/squall/messages.py", sdk!("messages.py")),
    ("library/squall/values.py", sdk!("values.py")),
];

/// Private memory that the interpreter may have beside what the function's memory size says:
/// the limit counts address space that was asked for, not what is resident.
pub(crate) const MEMORY_SLACK: u64 = 64 * MIB;
/// Lambda's number.
pub(crate) const OPEN_FILES_MAX: u64 = 1024;
/// Of one function, over all its instances, where its user is its own.
pub(crate) const PROCESSES_MAX: u64 = 8192;

/// Writes the runtime's source below the run folder and returns where.
pub(crate) fn write_runtime(run_dir: &Path) -> io::Result<PathBuf> {
    let dir = run_dir.join("python");
    std::fs::create_dir_all(dir.join("library/squall"))?;
    for (name, text) in SOURCES {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(dir)
}

/// How to start `script` of the runtime for a revision.
pub(crate) fn launch(
    interpreter: &Path,
    script: PathBuf,
    revision: &Revision,
    mut environment: BTreeMap<String, String>,
    task: &Path,
    (log, socket): (Option<OwnedFd>, OwnedFd),
    (walls, room, cgroup): (&Arc<Walls>, Option<&Arc<Room>>, Option<Arc<Cgroup>>),
) -> Launch {
    environment.insert("SQUALL_SOCKET_FD".to_owned(), SOCKET_FD.to_string());
    Launch {
        program: interpreter.to_owned(),
        args: vec![OsString::from(script)],
        environment,
        dir: task.to_owned(),
        log,
        socket: Some(socket),
        limits: limits(revision),
        walls: Arc::clone(walls),
        room: room.cloned(),
        cgroup,
    }
}

/// What all processes of one instance may use together.
pub(crate) fn allowance(revision: &Revision) -> Allowance {
    Allowance {
        memory_bytes_max: u64::from(revision.memory_mib) * MIB + MEMORY_SLACK,
        folder_bytes_max: u64::from(revision.ephemeral_storage_mib) * MIB,
        memory_mib: revision.memory_mib,
    }
}

/// What one process of an instance may use.
pub(crate) fn limits(revision: &Revision) -> Limits {
    Limits {
        data_bytes_max: Some(u64::from(revision.memory_mib) * MIB + MEMORY_SLACK),
        open_files_max: OPEN_FILES_MAX,
        file_bytes_max: Some(u64::from(revision.ephemeral_storage_mib) * MIB),
        processes_max: Some(PROCESSES_MAX),
    }
}
