//! The file system within the walls: a read-only root made of the host's programs, and the function's own folders.
//!
//! [`Room`] says what is in it; `spawn` makes the steps of it, which `child` takes one by one in its own mount namespace.
//! What is not named here is not there: no data folder, no home, no password hashes, no sockets of the host's services.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::{MS_NODEV, MS_NOEXEC, MS_NOSUID, c_ulong};
use squall_types::FunctionName;

use super::OwnNetwork;

/// The function's code.
pub(crate) const TASK: &str = "/var/task";
/// The managed runtime's source.
pub(crate) const RUNTIME: &str = "/var/runtime";
/// Where Node looks for packages, after the folder of the code.
const PACKAGES: &str = "/var/node_modules";
/// The only folder that can be written.
pub(crate) const TMP: &str = "/tmp";

/// Programs and libraries. A link is made as it is, a folder is bound.
const PROGRAMS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"];
/// What programs and libraries read, and what says nothing about this host's users.
const SETTINGS: [&str; 19] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/java-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
];
/// Where the server answers what a name leads to: it must be asked for every name.
const NAMES: [(&str, &str); 3] = [
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
];
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];
/// Room for the root's folders and the texts below.
const ROOT_OPTIONS: &str = "mode=0755,size=1m,nr_inodes=2k";

/// What one function sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    /// The code on the host, seen at [`TASK`].
    pub(crate) task: PathBuf,
    /// The runtime's source on the host, seen at [`RUNTIME`]; `None` for code that brings its own.
    pub(crate) runtime: Option<PathBuf>,
    /// Packages for functions on the host, seen at [`PACKAGES`].
    pub(crate) packages: Option<PathBuf>,
    /// Folders of interpreters that are not among the host's programs, seen where they are.
    pub(crate) interpreters: Vec<PathBuf>,
    /// Folders of the host that functions may read and write, seen where they are.
    pub(crate) shared: Vec<PathBuf>,
    /// Folders that are empty, wherever they are.
    pub(crate) hidden: Vec<PathBuf>,
    /// Most bytes in [`TMP`].
    pub(crate) tmp_bytes_max: u64,
    /// Who owns what the function makes.
    pub(crate) uid: u32,
    /// Whose it is.
    pub(crate) function: FunctionName,
    /// `None` is the host's.
    pub(crate) network: Option<OwnNetwork>,
}

/// One thing to do in the new mount namespace. Paths are below the new root, which is the current folder.
#[derive(Debug)]
pub(super) enum Step {
    Folder(CString),
    /// An empty file, to bind another over.
    Place(CString),
    Text(CString, Vec<u8>),
    Link {
        path: CString,
        to: CString,
    },
    Bind {
        from: CString,
        to: CString,
        /// `MOUNT_ATTR_…`, on everything below too.
        attributes: u64,
    },
    Mount {
        kind: &'static std::ffi::CStr,
        to: CString,
        flags: c_ulong,
        options: CString,
    },
}

/// How the new root comes to be.
#[derive(Debug)]
pub(super) struct Plan {
    /// A folder to mount the new root on, in the new namespace only.
    pub(super) stage: CString,
    pub(super) root_options: CString,
    pub(super) steps: Vec<Step>,
}

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const DEVICE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

impl Room {
    /// The steps that make it.
    pub(super) fn plan(&self, stage: &Path) -> io::Result<Plan> {
        let mut steps = Steps::default();
        for program in PROGRAMS.map(Path::new) {
            steps.same(program, READ_ONLY)?;
        }
        for interpreter in &self.interpreters {
            steps.same(interpreter, READ_ONLY)?;
        }
        steps.folder(Path::new("/etc"))?;
        let names = self.network.as_ref().and_then(|network| network.egress.as_ref());
        let names: &[_] = if names.is_some() { &NAMES } else { &[] };
        for setting in SETTINGS {
            if !names.iter().any(|(path, _)| *path == setting) {
                steps.same(Path::new(setting), READ_ONLY)?;
            }
        }
        for (path, text) in names {
            steps.text(path, (*text).to_owned())?;
        }
        self.plan_users(&mut steps)?;
        plan_devices(&mut steps)?;
        self.plan_own(&mut steps)?;
        for shared in &self.shared {
            steps.bind(shared, shared, WRITABLE)?;
        }
        for hidden in &self.hidden {
            if self.shared.iter().any(|shared| hidden.starts_with(shared)) {
                steps.mount(
                    c"tmpfs",
                    hidden,
                    MS_NOSUID | MS_NODEV | MS_NOEXEC,
                    "mode=0000,size=4k",
                )?;
            }
        }
        Ok(Plan {
            stage: c_path(stage)?,
            root_options: c_text(ROOT_OPTIONS)?,
            steps: steps.steps,
        })
    }

    fn plan_users(&self, steps: &mut Steps) -> io::Result<()> {
        let uid = self.uid;
        let passwd =
            format!("root:x:0:0::/:/usr/sbin/nologin\nfunction:x:{uid}:{uid}::/tmp:/usr/sbin/nologin\n");
        steps.text("/etc/passwd", passwd)?;
        steps.text("/etc/group", format!("root:x:0:\nfunction:x:{uid}:\n"))
    }

    fn plan_own(&self, steps: &mut Steps) -> io::Result<()> {
        steps.bind(&self.task, Path::new(TASK), READ_ONLY)?;
        if let Some(runtime) = &self.runtime {
            steps.bind(runtime, Path::new(RUNTIME), READ_ONLY)?;
        }
        if let Some(packages) = &self.packages {
            steps.bind(packages, Path::new(PACKAGES), READ_ONLY)?;
        }
        steps.folder(Path::new("/opt"))?;
        steps.folder(Path::new("/var/tmp"))?;
        steps.folder(Path::new("/proc"))?;
        steps.mount(c"proc", Path::new("/proc"), MS_NOSUID | MS_NODEV | MS_NOEXEC, "")?;
        let options = format!("mode=1777,size={},nr_inodes=256k", self.tmp_bytes_max);
        steps.mount(c"tmpfs", Path::new(TMP), MS_NOSUID | MS_NODEV, &options)
    }
}

fn plan_devices(steps: &mut Steps) -> io::Result<()> {
    for device in DEVICES.map(Path::new) {
        steps.place(device)?;
        steps.steps.push(Step::Bind {
            from: c_path(device)?,
            to: below(device)?,
            attributes: DEVICE,
        });
    }
    for (path, to) in DEVICE_LINKS {
        steps.link(Path::new(path), Path::new(to))?;
    }
    Ok(())
}

/// Steps, and the folders that they have made.
#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    made: Vec<PathBuf>,
}

impl Steps {
    /// What is there on the host, at the same place: links as they are, folders and files bound. Nothing where there is nothing.
    fn same(&mut self, path: &Path, attributes: u64) -> io::Result<()> {
        let Ok(about) = std::fs::symlink_metadata(path) else {
            return Ok(());
        };
        let is_program = path.parent() == Some(Path::new("/"));
        if about.is_symlink() && is_program {
            return self.link(path, &std::fs::read_link(path)?);
        }
        // A link to what is not there.
        if !path.exists() {
            return Ok(());
        }
        self.bind(path, path, attributes)
    }

    fn bind(&mut self, from: &Path, to: &Path, attributes: u64) -> io::Result<()> {
        if from.is_dir() {
            self.folder(to)?;
        } else {
            self.place(to)?;
        }
        self.steps.push(Step::Bind {
            from: c_path(from)?,
            to: below(to)?,
            attributes,
        });
        Ok(())
    }

    fn mount(
        &mut self,
        kind: &'static std::ffi::CStr,
        to: &Path,
        flags: c_ulong,
        options: &str,
    ) -> io::Result<()> {
        self.folder(to)?;
        self.steps.push(Step::Mount {
            kind,
            to: below(to)?,
            flags,
            options: c_text(options)?,
        });
        Ok(())
    }

    /// A folder and those above it.
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") || self.made.iter().any(|made| made == path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        self.made.push(path.to_owned());
        self.steps.push(Step::Folder(below(path)?));
        Ok(())
    }

    fn place(&mut self, path: &Path) -> io::Result<()> {
        self.folder(path.parent().unwrap_or(Path::new("/")))?;
        self.steps.push(Step::Place(below(path)?));
        Ok(())
    }

    fn text(&mut self, path: &str, text: String) -> io::Result<()> {
        self.steps
            .push(Step::Text(below(Path::new(path))?, text.into_bytes()));
        Ok(())
    }

    fn link(&mut self, path: &Path, to: &Path) -> io::Result<()> {
        self.folder(path.parent().unwrap_or(Path::new("/")))?;
        self.steps.push(Step::Link {
            path: below(path)?,
            to: c_path(to)?,
        });
        Ok(())
    }
}

/// The same path below the current folder.
fn below(path: &Path) -> io::Result<CString> {
    let relative = path.strip_prefix("/").map_err(io::Error::other)?;
    c_path(relative)
}

fn c_path(path: &Path) -> io::Result<CString> {
    c_bytes(path.as_os_str())
}

fn c_text(text: &str) -> io::Result<CString> {
    c_bytes(OsStr::new(text))
}

pub(super) fn c_bytes(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::other("a path, word or variable has a zero byte"))
}
