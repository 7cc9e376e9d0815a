//! The folders that control groups are: where the server finds its own, and those that it makes beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::lock;
use crate::long_calls::LongCalls;
use crate::sandbox::scheduling;

/// What our groups are called, before the number of the server's process.
const PREFIX: &str = "squall-";
/// The same, of the server's own.
const SERVER_PREFIX: &str = "squall-server-";
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Where `cpu` is in that list.
const CPU: usize = 2;
/// How many busy processes for each processor all functions together are worth beside what else the host runs.
const WEIGHT_ALL: u64 = 4;
/// The same for the server, which everybody waits for, unless it runs calls itself that last.
const WEIGHT_SERVER: u64 = 8 * WEIGHT_ALL;
/// With more than these the server's share would be past the largest.
const PROCESSORS_MAX: u64 = 8;

/// The folders of one group: one in version 2, one for each controller in version 1.
pub(super) type PathsOf = Vec<PathBuf>;

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) version: Version,
    /// In which those of functions are.
    pub(super) parents: PathsOf,
    /// Where the server itself is, if not where it was.
    server: Option<ServerGroup>,
}

/// The group that the server has moved to, for its share of the processors.
#[derive(Debug)]
struct ServerGroup {
    version: Version,
    own: PathBuf,
    /// Where it was before.
    above: PathBuf,
    /// Calls that last and that it runs itself. Held while its share is written.
    long_calls: Mutex<LongCalls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// The file with a group's share of the processors.
    pub(super) fn share_file(self) -> &'static str {
        match self {
            Self::One => "cpu.shares",
            Self::Two => "cpu.weight",
        }
    }

    /// The share of a busy process that nothing was said of, on one processor.
    pub(super) fn share_of_one(self) -> u64 {
        match self {
            Self::One => 1024,
            Self::Two => 100,
        }
    }

    /// The smallest and the largest.
    pub(super) fn shares(self) -> (u64, u64) {
        match self {
            Self::One => (2, 262_144),
            Self::Two => (1, 10_000),
        }
    }
}

impl Tree {
    /// Finds where groups can be made, removes those of servers that have ended, and moves this one where it is to have
    /// a group.
    pub(super) fn open() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let (version, above) = find(&mounts, &own)?;
        above.iter().for_each(|folder| remove_those_of_the_dead(folder));
        let server = match version {
            // In real time its threads go first without a share of their own, and a group is work at each wake of theirs.
            Version::One if scheduling::allows_first() => None,
            _ => Some(ServerGroup::enter(version, &above)?),
        };
        let name = format!("{PREFIX}{}", std::process::id());
        let mut parents = Vec::new();
        for folder in above {
            let parent = folder.join(&name);
            make(&parent)?;
            parents.push(parent);
        }
        if version == Version::Two {
            fs::write(parents[0].join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        }
        weigh(version, of_cpu(version, &parents), WEIGHT_ALL)?;
        Ok(Self {
            version,
            parents,
            server,
        })
    }

    /// The server has the share of all functions while it runs any call itself that lasts.
    pub(super) fn begin_server_call(&self) {
        let Some(server) = &self.server else { return };
        let mut calls = lock(&server.long_calls);
        if calls.begin() {
            server.change_share(WEIGHT_ALL);
        }
    }

    pub(super) fn end_server_call(&self) {
        let Some(server) = &self.server else { return };
        let mut calls = lock(&server.long_calls);
        if calls.end() {
            server.change_share(WEIGHT_SERVER);
        }
    }

    /// Within the tester's own group of version 2, without its controllers.
    #[cfg(test)]
    pub(super) fn of_version_two() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = group_of(&mounts, &fs::read_to_string("/proc/self/cgroup").ok()?, None)?;
        let parent = own.join(format!("{PREFIX}{}", std::process::id()));
        make(&parent).ok()?;
        Some(Self {
            version: Version::Two,
            parents: vec![parent],
            server: None,
        })
    }
}

/// The server's own groups: those of the three controllers in version 1, or one in version 2.
fn find(mounts: &str, own: &str) -> io::Result<(Version, PathsOf)> {
    let one: Option<PathsOf> = CONTROLLERS
        .iter()
        .map(|controller| group_of(mounts, own, Some(controller)))
        .collect();
    if let Some(paths) = one {
        return Ok((Version::One, paths));
    }
    let two = group_of(mounts, own, None).filter(|path| {
        let has = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
        CONTROLLERS
            .iter()
            .all(|&controller| has.split_whitespace().any(|word| word == controller))
    });
    let missing = || io::Error::other("this host offers no control groups with memory, pids and cpu");
    Ok((Version::Two, vec![two.ok_or_else(missing)?]))
}

/// The folder of the server's own group: of a controller of version 1, or of version 2.
fn group_of(mounts: &str, own: &str, controller: Option<&str>) -> Option<PathBuf> {
    let kind = if controller.is_some() { "cgroup" } else { "cgroup2" };
    let mount = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_kind = right.next() == Some(kind);
        let options = right.nth(1).unwrap_or_default();
        let has = controller.is_none_or(|wanted| options.split(',').any(|option| option == wanted));
        let mut left = left.split(' ').skip(3);
        (is_kind && has).then(|| Some((left.next()?, left.next()?)))?
    });
    let (root, point) = mount?;
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controller {
            Some(wanted) => controllers.split(',').any(|name| name == wanted).then_some(path),
            None => controllers.is_empty().then_some(path),
        }
    })?;
    // In a container the mount begins at the container's own group.
    let below = if root == "/" {
        path
    } else {
        path.strip_prefix(root).unwrap_or("/")
    };
    Some(Path::new(point).join(below.trim_start_matches('/')))
}

/// What a group has of the processors beside what else the host runs, as so many processes for each. One weighs as much
/// as a single process unless it is told: on a busy host functions would then hardly run. In version 1 that is what it
/// has on all processors together; of more than [`PROCESSORS_MAX`] they would not be told apart. In version 2 all is
/// within the server's old group, whose weight is the host's to say.
fn weigh(version: Version, group: &Path, processes: u64) -> io::Result<()> {
    let processors = match version {
        Version::One => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
        Version::Two => 1,
    };
    let share = processes * version.share_of_one() * processors.min(PROCESSORS_MAX);
    fs::write(group.join(version.share_file()), share.to_string())
}

impl ServerGroup {
    /// Moves this process. Version 2 keeps processes in leaves only, so that the group above may have others now.
    fn enter(version: Version, above: &[PathBuf]) -> io::Result<Self> {
        let above = of_cpu(version, above);
        let own = above.join(format!("{SERVER_PREFIX}{}", std::process::id()));
        make(&own)?;
        let group = Self {
            version,
            own,
            above: above.to_owned(),
            long_calls: Mutex::new(LongCalls::NONE),
        };
        move_to(&group.own)?;
        if version == Version::Two {
            fs::write(above.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        }
        weigh(version, &group.own, WEIGHT_SERVER)?;
        Ok(group)
    }

    fn change_share(&self, processes: u64) {
        if let Err(error) = weigh(self.version, &self.own, processes) {
            tracing::warn!(%error, "could not change the server's share of the processors");
        }
    }
}

impl Drop for ServerGroup {
    fn drop(&mut self) {
        if self.version == Version::Two {
            // It takes no processes while it hands these down, which it goes on to do for other servers' groups.
            let control = self.above.join("cgroup.subtree_control");
            let _ = fs::write(control, "-memory -pids -cpu");
        }
        if move_to(&self.above).is_ok() {
            remove(std::slice::from_ref(&self.own));
        }
    }
}

/// The one of these folders that says the share of the processors.
pub(super) fn of_cpu(version: Version, folders: &[PathBuf]) -> &Path {
    match version {
        Version::One => &folders[CPU],
        Version::Two => &folders[0],
    }
}

/// Moves this process with all its threads.
fn move_to(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}

pub(super) fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let what = format!("could not make the control group `{}`: {error}", folder.display());
            Err(io::Error::new(error.kind(), what))
        }
        _ => Ok(()),
    }
}

/// Groups of a server that was killed: nobody is in them any more.
fn remove_those_of_the_dead(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            let number = name
                .strip_prefix(SERVER_PREFIX)
                .or_else(|| name.strip_prefix(PREFIX))?;
            number.parse::<u32>().ok()
        });
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let inner = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            for group in inner.filter(|inner| inner.path().is_dir()) {
                let _ = fs::remove_dir(group.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether all are gone.
pub(super) fn remove(paths: &[PathBuf]) -> bool {
    let gone = |path: &Path| match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    // Each is tried, also when one before it is still there.
    paths.iter().filter(|path| !gone(path)).count() == 0
}

#[cfg(test)]
mod tests {
    //! What is read of the kernel's files.

    use super::*;

    const ONE: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn finds_the_servers_group_of_each_controller() {
        let own = "8:pids:/\n4:memory:/service/one\n2:cpu,cpuacct:/\n0::/\n";
        let (version, paths) = find(ONE, own).expect("groups");
        let expected = ["memory/service/one", "pids/", "cpu,cpuacct/"]
            .map(|path| Path::new("/sys/fs/cgroup").join(path));
        assert_eq!((version, paths), (Version::One, expected.to_vec()));
    }

    #[test]
    fn finds_the_one_group_of_version_two_in_a_container() {
        let mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw\n";
        let group = group_of(mounts, "0::/docker/abc/inner\n", None);
        assert_eq!(group, Some(PathBuf::from("/sys/fs/cgroup/inner")));
        assert_eq!(group_of(mounts, "0::/\n", Some("memory")), None);
    }

    #[test]
    fn says_when_there_are_none() {
        assert!(find("", "0::/\n").is_err());
    }
}
