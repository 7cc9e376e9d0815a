//! Control groups: how much memory, how many processes and which share of the processors a function may have.
//!
//! `runtime` makes one [`Cgroups`] when the server starts, below the group that the server itself is in, and a [`Cgroup`]
//! for every process that it starts. Where the server cannot go first (`contention`), and in version 2, it has a share of
//! the processors in a group beside theirs, so that what functions do does not keep it from answering. The forks of a
//! zygote stay in its group, whose limits grow with their number.
//! Version 2 is one tree of folders; in version 1 every controller has a tree of its own. Empty groups are made ahead of
//! need, and what is left of ended ones is removed when others are made. `tree` has the folders.

mod tree;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tree::{PathsOf, Tree, Version};

use crate::long_calls::LongCalls;

/// Groups that wait to be used.
const AHEAD: usize = 8;
/// Left groups that are tried again at a time.
const REMOVED_AT_ONCE: usize = 16;
/// Groups that could not be removed yet; past this many the oldest are forgotten until the next start.
const LEFT_MAX: usize = 4096;
/// Megabytes that come with one processor on Lambda.
const MIB_PER_CPU: u64 = 1769;
/// How much more of the processors a group has while all of its calls are short: who answers soon is not kept waiting by
/// who does not.
const QUICK: u64 = 16;
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

impl Cgroups {
    /// Finds where groups can be made, and removes those of servers that have ended.
    ///
    /// # Errors
    /// This host has no control groups, or they are not for this user.
    pub(crate) fn open() -> io::Result<Arc<Self>> {
        let cgroups = Arc::new(Self::below(Tree::open()?));
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
        group.allow(&lock(&group.standing))?;
        Ok(Arc::new(group))
    }

    /// Says that a call lasts which the server runs itself. Blocks for a system call if it is the only one.
    pub(crate) fn begin_long_call(self: &Arc<Self>) -> ServerLongCall {
        self.tree.begin_server_call();
        ServerLongCall(Arc::clone(self))
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
            if !tree::remove(&paths) {
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
            tree::make(path)?;
        }
        Ok(paths)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let (left, ready) = (lock(&self.left), lock(&self.ready));
        for paths in left.iter().chain(ready.iter()) {
            tree::remove(paths);
        }
        tree::remove(&self.tree.parents);
    }
}

/// A group. Dropping it removes it, once its processes have ended.
#[derive(Debug)]
pub(crate) struct Cgroup {
    paths: PathsOf,
    all: Arc<Cgroups>,
    allowance: Allowance,
    /// Those that are in it now.
    instances: AtomicU64,
    /// Held while what follows from it is written.
    standing: Mutex<Standing>,
    /// Ends by a lack of memory that were told.
    kills_told: AtomicU64,
}

/// What a group's limits and its share were made for.
#[derive(Debug)]
struct Standing {
    /// The most that there have been at once, and never none.
    instances: u64,
    long_calls: LongCalls,
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

/// A call that has lasted, until it is dropped.
#[derive(Debug)]
pub(crate) struct LongCall(Arc<Cgroup>);

/// The same of one that the server runs itself.
#[derive(Debug)]
pub(crate) struct ServerLongCall(Arc<Cgroups>);

impl Cgroup {
    fn at(paths: PathsOf, all: Arc<Cgroups>, allowance: Allowance) -> Self {
        Self {
            paths,
            all,
            allowance,
            instances: AtomicU64::new(0),
            standing: Mutex::new(Standing {
                instances: 1,
                long_calls: LongCalls::NONE,
            }),
            kills_told: AtomicU64::new(0),
        }
    }

    /// One more instance; a zygote counts as one. The limits grow; they do not shrink, since the kernel would wait for memory to be free.
    pub(crate) fn admit(self: &Arc<Self>) -> io::Result<Member> {
        let instances = self.instances.fetch_add(1, Ordering::Relaxed) + 1;
        let member = Member(Arc::clone(self));
        let mut standing = lock(&self.standing);
        if instances > standing.instances {
            standing.instances = instances;
            self.allow(&standing)?;
        }
        drop(standing);
        Ok(member)
    }

    fn allow(&self, standing: &Standing) -> io::Result<()> {
        let instances = standing.instances;
        let memory = self.allowance.memory_bytes_max * instances + self.allowance.folder_bytes_max;
        let memory = memory.to_string();
        let processes = (PROCESSES_MAX + PROCESSES_MORE * (instances - 1)).to_string();
        match self.all.tree.version {
            Version::One => {
                // Where the host counts swap, memory and swap together have the same limit, which is never the lower.
                let _ = self.write("memory.memsw.limit_in_bytes", &memory);
                self.write("memory.limit_in_bytes", &memory)?;
                let _ = self.write("memory.memsw.limit_in_bytes", &memory);
            }
            Version::Two => {
                self.write("memory.max", &memory)?;
                let _ = self.write("memory.swap.max", "0");
            }
        }
        self.write("pids.max", &processes)?;
        self.give_share(standing)
    }

    /// Its share of the processors: by memory among groups that are alike, up to the largest that the kernel has.
    fn give_share(&self, standing: &Standing) -> io::Result<()> {
        let version = self.all.tree.version;
        let quick = if standing.long_calls.are_any() { 1 } else { QUICK };
        let processors = u64::from(self.allowance.memory_mib) * standing.instances * quick;
        let (least, most) = version.shares();
        let share = (processors * version.share_of_one() / MIB_PER_CPU).clamp(least, most);
        self.write(version.share_file(), &share.to_string())
    }

    /// Says that a call here lasts. Blocks for a system call if it is the only one.
    pub(crate) fn begin_long_call(self: &Arc<Self>) -> LongCall {
        let mut standing = lock(&self.standing);
        if standing.long_calls.begin() {
            self.change_share(&standing);
        }
        drop(standing);
        LongCall(Arc::clone(self))
    }

    fn change_share(&self, standing: &Standing) {
        if let Err(error) = self.give_share(standing) {
            tracing::warn!(%error, "could not change a function's share of the processors");
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
        let tree = Tree::of_version_two()?;
        let paths = vec![tree.parents[0].join(name)];
        tree::make(&paths[0]).ok()?;
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
        let index = tree::CONTROLLERS
            .iter()
            .position(|&known| known == controller)
            .unwrap_or(0);
        let path = self.paths.get(index).unwrap_or(&self.paths[0]);
        fs::write(path.join(name), value)
    }
}

impl Member {
    pub(crate) fn group(&self) -> &Arc<Cgroup> {
        &self.0
    }

    /// Whether it was killed because there was no memory left. Asked once, when it has been killed.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.0.ran_out_of_memory()
    }
}

impl Drop for LongCall {
    fn drop(&mut self) {
        let mut standing = lock(&self.0.standing);
        if standing.long_calls.end() {
            self.0.change_share(&standing);
        }
    }
}

impl Drop for ServerLongCall {
    fn drop(&mut self) {
        self.0.tree.end_server_call();
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
        if !tree::remove(&paths) {
            self.all.leave(paths);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list is whole between any two statements, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_lasts_leaves_a_group_the_share_of_its_memory() {
        // Where the tester may make none, there is nothing to share.
        let Ok(groups) = Cgroups::open() else { return };
        let allowance = Allowance {
            memory_bytes_max: 64 << 20,
            folder_bytes_max: 0,
            memory_mib: 1769,
        };
        let group = groups.take(allowance).expect("a group");
        let share = || {
            let version = groups.tree.version;
            let path = tree::of_cpu(version, &group.paths).join(version.share_file());
            let text = fs::read_to_string(path).expect("its share");
            text.trim().parse::<u64>().expect("a number")
        };
        let quick = share();
        let (first, second) = (group.begin_long_call(), group.begin_long_call());
        let long = share();
        drop(first);
        assert_eq!(share(), long, "another call still lasts");
        drop(second);
        assert_eq!(share(), quick);
        assert_eq!(quick, QUICK * long);
    }
}
