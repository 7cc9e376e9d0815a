//! Control groups: how much memory, how many processes and which share of the processors a function may have.
//!
//! `runtime` makes one [`Cgroups`] when the server starts, below the group that the server itself is in, and a [`Cgroup`]
//! for every process that it starts. The forks of a zygote stay in its group, whose limits grow with their number.
//! Version 2 is one tree of folders; in version 1 every controller has a tree of its own. Empty groups are made ahead of
//! need, and what is left of ended ones is removed when others are made.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Groups that wait to be used.
const AHEAD: usize = 8;
/// Left groups that are tried again at a time.
const REMOVED_AT_ONCE: usize = 16;
/// Groups that could not be removed yet; past this many the oldest are forgotten until the next start.
const LEFT_MAX: usize = 4096;
/// What our groups are called, before the number of the server's process.
const PREFIX: &str = "squall-";
/// Megabytes that come with one processor on Lambda, and the share that one processor is here.
const MIB_PER_CPU: u64 = 1769;
const SHARE_PER_CPU: u64 = 1024;
const SHARE_MAX: u64 = 262_144;
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Where `cpu` is in that list.
const CPU: usize = 2;
/// How many busy processes for each processor all functions together are worth: the server has a fifth of a processor
/// for each of its threads, whatever functions do.
const WEIGHT_ALL: u64 = 4;
/// Processes and threads of one instance: Lambda's number. Each further one of the same group adds fewer, so that a
/// fork bomb in one of many stays small.
const PROCESSES_MAX: u64 = 1024;
const PROCESSES_MORE: u64 = 64;

/// What the instances of a group may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// For each.
    pub(crate) memory_bytes_max: u64,
    /// Once: what is in the private folder is memory too.
    pub(crate) folder_bytes_max: u64,
    /// Decides the share of the processors when they are contended; nobody waits for a processor that is free.
    pub(crate) memory_mib: u32,
}

/// Makes groups.
#[derive(Debug)]
pub(crate) struct Cgroups {
    tree: Tree,
    number: AtomicU64,
    ready: Mutex<VecDeque<PathsOf>>,
    left: Mutex<VecDeque<PathsOf>>,
    /// Held by who makes ahead and removes: one is enough, and the kernel lets only one do it.
    tidying: Mutex<()>,
}

/// The folders of one group: one in version 2, one for each controller in version 1.
type PathsOf = Vec<PathBuf>;

#[derive(Debug)]
struct Tree {
    version: Version,
    /// The server's own groups, in which ours are.
    parents: PathsOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroups {
    /// Finds where groups can be made, and removes those of servers that have ended.
    ///
    /// # Errors
    /// This host has no control groups, or they are not for this user.
    pub(crate) fn open() -> io::Result<Arc<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let (version, above) = find(&mounts, &own)?;
        if version == Version::Two {
            hand_down(&above[0])?;
        }
        let name = format!("{PREFIX}{}", std::process::id());
        let mut parents = Vec::new();
        for folder in above {
            remove_those_of_the_dead(&folder);
            let parent = folder.join(&name);
            make(&parent)?;
            parents.push(parent);
        }
        if version == Version::Two {
            fs::write(parents[0].join("cgroup.subtree_control"), "+memory +pids +cpu")?;
        }
        weigh_all(version, &parents)?;
        let cgroups = Arc::new(Self::below(Tree { version, parents }));
        let trial = cgroups.make()?;
        lock(&cgroups.ready).push_back(trial);
        Ok(cgroups)
    }

    fn below(tree: Tree) -> Self {
        Self {
            tree,
            number: AtomicU64::new(0),
            ready: Mutex::default(),
            left: Mutex::default(),
            tidying: Mutex::default(),
        }
    }

    /// A group for one instance. Blocks for some system calls.
    ///
    /// # Errors
    /// The folders cannot be made or written.
    pub(crate) fn take(self: &Arc<Self>, allowance: Allowance) -> io::Result<Arc<Cgroup>> {
        let ready = lock(&self.ready).pop_front();
        let paths = ready.map_or_else(|| self.make(), Ok)?;
        let group = Cgroup::at(paths, Arc::clone(self), allowance);
        group.allow(1)?;
        Ok(Arc::new(group))
    }

    /// Makes groups ahead of need and removes what was left. Blocks for some system calls.
    pub(crate) fn tidy(&self) {
        let Ok(_only) = self.tidying.try_lock() else {
            return;
        };
        for _ in 0..REMOVED_AT_ONCE {
            let Some(paths) = lock(&self.left).pop_front() else {
                break;
            };
            if !remove(&paths) {
                self.leave(paths);
            }
        }
        while lock(&self.ready).len() < AHEAD {
            match self.make() {
                Ok(paths) => lock(&self.ready).push_back(paths),
                Err(error) => {
                    tracing::debug!(%error, "could not make a control group ahead of need");
                    return;
                }
            }
        }
    }

    /// To be removed later.
    fn leave(&self, paths: PathsOf) {
        let mut left = lock(&self.left);
        left.push_back(paths);
        left.truncate(LEFT_MAX);
    }

    fn make(&self) -> io::Result<PathsOf> {
        let name = self.number.fetch_add(1, Ordering::Relaxed).to_string();
        let paths: PathsOf = self
            .tree
            .parents
            .iter()
            .map(|parent| parent.join(&name))
            .collect();
        for path in &paths {
            make(path)?;
        }
        Ok(paths)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let (left, ready) = (lock(&self.left), lock(&self.ready));
        for paths in left.iter().chain(ready.iter()) {
            remove(paths);
        }
        remove(&self.tree.parents);
    }
}

/// A group. Dropping it removes it, once its processes have ended.
#[derive(Debug)]
pub(crate) struct Cgroup {
    paths: PathsOf,
    all: Arc<Cgroups>,
    allowance: Allowance,
    /// Those that are in it now, and the most that its limits were made for.
    instances: AtomicU64,
    most: AtomicU64,
    /// Ends by a lack of memory that were told.
    kills_told: AtomicU64,
}

/// How a process is put into a group without the kernel holding up all that fork.
///
/// What `cgroup.procs` moves may have threads: before each move of it the kernel waits until no thread forks or ends
/// (`cgroup_threadgroup_rwsem`), which takes milliseconds, also when nothing else runs.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// Version 1: of each controller, where a process that has one thread writes `0` to move itself.
    Tasks(Vec<fs::File>),
    /// Version 2: what `clone3` makes the process in.
    Folder(fs::File),
}

/// One instance of a group.
#[derive(Debug)]
pub(crate) struct Member(Arc<Cgroup>);

impl Cgroup {
    fn at(paths: PathsOf, all: Arc<Cgroups>, allowance: Allowance) -> Self {
        Self {
            paths,
            all,
            allowance,
            instances: AtomicU64::new(0),
            most: AtomicU64::new(1),
            kills_told: AtomicU64::new(0),
        }
    }

    /// One more instance; a zygote counts as one. The limits grow; they do not shrink, since the kernel would wait for memory to be free.
    pub(crate) fn admit(self: &Arc<Self>) -> io::Result<Member> {
        let instances = self.instances.fetch_add(1, Ordering::Relaxed) + 1;
        let member = Member(Arc::clone(self));
        if instances > self.most.fetch_max(instances, Ordering::Relaxed) {
            self.allow(instances)?;
        }
        Ok(member)
    }

    fn allow(&self, instances: u64) -> io::Result<()> {
        let memory = self.allowance.memory_bytes_max * instances + self.allowance.folder_bytes_max;
        let memory = memory.to_string();
        let processes = (PROCESSES_MAX + PROCESSES_MORE * (instances - 1)).to_string();
        let share = (u64::from(self.allowance.memory_mib) * SHARE_PER_CPU / MIB_PER_CPU).max(2);
        let share = (share * instances).min(SHARE_MAX);
        match self.all.tree.version {
            Version::One => {
                // Where the host counts swap, memory and swap together have the same limit, which is never the lower.
                let _ = self.write("memory.memsw.limit_in_bytes", &memory);
                self.write("memory.limit_in_bytes", &memory)?;
                let _ = self.write("memory.memsw.limit_in_bytes", &memory);
                self.write("pids.max", &processes)?;
                self.write("cpu.shares", &share.to_string())
            }
            Version::Two => {
                self.write("memory.max", &memory)?;
                let _ = self.write("memory.swap.max", "0");
                self.write("pids.max", &processes)?;
                // From 2..=262144 to 1..=10000, as the kernel's own documents have it.
                let weight = 1 + (share - 2) * 9999 / (SHARE_MAX - 2);
                self.write("cpu.weight", &weight.to_string())
            }
        }
    }

    /// How a new process comes to be here.
    pub(crate) fn entrance(&self) -> io::Result<Entrance> {
        Ok(match self.all.tree.version {
            Version::One => {
                let tasks = self.paths.iter().map(|path| path.join("tasks"));
                let tasks = tasks.map(|path| fs::File::options().write(true).open(path));
                Entrance::Tasks(tasks.collect::<io::Result<_>>()?)
            }
            Version::Two => Entrance::Folder(fs::File::open(&self.paths[0])?),
        })
    }

    /// A group of version 2 in the tester's own, which on a host of version 1 has no controllers. `None` where there is
    /// none, or it is not for this user.
    #[cfg(test)]
    pub(crate) fn of_version_two(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = group_of(&mounts, &fs::read_to_string("/proc/self/cgroup").ok()?, None)?;
        let parent = own.join(format!("{PREFIX}{}", std::process::id()));
        make(&parent).ok()?;
        let paths = vec![parent.join(name)];
        make(&paths[0]).ok()?;
        let tree = Tree {
            version: Version::Two,
            parents: vec![parent],
        };
        let nothing = Allowance {
            memory_bytes_max: 0,
            folder_bytes_max: 0,
            memory_mib: 0,
        };
        Some(Self::at(paths, Arc::new(Cgroups::below(tree)), nothing))
    }

    /// Whether the kernel has killed a process here because there was no memory left, and nobody was told yet.
    fn ran_out_of_memory(&self) -> bool {
        let name = match self.all.tree.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.paths[0].join(name)).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let kills: u64 = kills.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        kills > self.kills_told.fetch_max(kills, Ordering::Relaxed)
    }

    /// The controller is the first word of the name; in version 2 all are in one folder.
    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let controller = name.split('.').next().unwrap_or_default();
        let index = CONTROLLERS
            .iter()
            .position(|&known| known == controller)
            .unwrap_or(0);
        let path = self.paths.get(index).unwrap_or(&self.paths[0]);
        fs::write(path.join(name), value)
    }
}

impl Member {
    /// Whether it was killed because there was no memory left. Asked once, when it has been killed.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.0.ran_out_of_memory()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut self.paths);
        if !remove(&paths) {
            self.all.leave(paths);
        }
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

/// All functions together, beside what else the host runs. A group weighs as much as one process unless it is told:
/// on a busy host functions would then hardly run.
fn weigh_all(version: Version, parents: &[PathBuf]) -> io::Result<()> {
    match version {
        Version::One => {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
            let share = (WEIGHT_ALL * SHARE_PER_CPU * cores).min(SHARE_MAX);
            fs::write(parents[CPU].join("cpu.shares"), share.to_string())
        }
        // The server is in a group beside this one, of weight 100.
        Version::Two => fs::write(parents[0].join("cpu.weight"), (WEIGHT_ALL * 100).to_string()),
    }
}

/// Version 2 keeps processes in leaves only: the server moves into one, so that its group may have others.
fn hand_down(own: &Path) -> io::Result<()> {
    let control = own.join("cgroup.subtree_control");
    if fs::write(&control, "+memory +pids +cpu").is_ok() {
        return Ok(());
    }
    let leaf = own.join("squall-server");
    make(&leaf)?;
    fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
    fs::write(&control, "+memory +pids +cpu")
}

fn make(folder: &Path) -> io::Result<()> {
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
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
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
fn remove(paths: &[PathBuf]) -> bool {
    let gone = |path: &Path| match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    // Each is tried, also when one before it is still there.
    paths.iter().filter(|path| !gone(path)).count() == 0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list is whole between any two statements, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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
