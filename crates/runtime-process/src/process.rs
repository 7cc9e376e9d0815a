//! One process: how it is started, how its end is noticed, how it is killed.
//!
//! Instances and zygotes call this. A process leads a session of its own; whatever it has started and left
//! is killed when it ends. Dropping a [`Process`] kills it; a task that outlives the drop reaps it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use squall_runtime::{Exit, ExitWatch};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::cgroup::{Cgroup, Member};
use crate::contention;
use crate::egress;
use crate::network::{self, Doors};
use crate::sandbox::{self, Limits, OwnNetwork, Program, Room, SpawnError, Spawned, Walls};
use crate::turns::Turns;

/// Starts waiting for the one thread that starts processes; reaching it makes callers wait.
const STARTS_WAITING_MAX: usize = 1024;

/// Everything that a process is started with.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) dir: PathBuf,
    /// Becomes descriptors 1 and 2; `None` is /dev/null.
    pub(crate) log: Option<OwnedFd>,
    /// Becomes descriptor 3.
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) limits: Limits,
    pub(crate) walls: Arc<Walls>,
    /// What it sees, where the walls have namespaces; `program` and `dir` are within.
    pub(crate) room: Option<Arc<Room>>,
    /// Bounds what it may use; goes when it has ended.
    pub(crate) cgroup: Option<Arc<Cgroup>>,
}

/// The thread that starts processes. They die with the thread that started them,
/// and the threads of an async runtime come and go.
#[derive(Debug)]
pub(crate) struct Starter {
    requests: mpsc::SyncSender<Request>,
    doors: Option<Doors>,
}

#[derive(Debug)]
struct Request {
    launch: Launch,
    answer: oneshot::Sender<io::Result<Unwatched>>,
}

impl Starter {
    pub(crate) fn new(doors: Option<Doors>) -> io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel::<Request>(STARTS_WAITING_MAX);
        std::thread::Builder::new()
            .name("squall-start".to_owned())
            .spawn(move || {
                contention::serve_on_this_thread();
                for request in inbox {
                    // A caller that has gone drops the answer, which kills the process.
                    let _ = request.answer.send(Unwatched::start(request.launch));
                }
                // The thread's end would kill what still runs; those processes belong to owners that drop them.
            })?;
        Ok(Self { requests, doors })
    }

    /// Starts a process. Dropping the future leaves none behind.
    pub(crate) async fn start(&self, launch: Launch) -> io::Result<Process> {
        let (answer, started) = oneshot::channel();
        let room = launch.room.clone();
        self.requests
            .try_send(Request { launch, answer })
            .map_err(|_| io::Error::other("too many processes are being started"))?;
        let child = started
            .await
            .map_err(|_| io::Error::other("the thread that starts processes is gone"))??;
        Process::watch_child(child, room.as_deref(), self.doors.as_ref())
    }
}

/// A process that nobody waits for yet. Dropping it kills and reaps it.
#[derive(Debug)]
struct Unwatched {
    spawned: Spawned,
    reaped: bool,
    cgroup: Option<Arc<Cgroup>>,
}

impl Unwatched {
    fn start(launch: Launch) -> io::Result<Self> {
        let program = Program {
            path: Some(&launch.program),
            args: &launch.args,
            environment: &launch.environment,
            dir: &launch.dir,
            log: launch.log.as_ref().map(AsFd::as_fd),
            socket: launch.socket.as_ref().map(AsFd::as_fd),
            limits: launch.limits,
            room: launch.room.as_deref(),
            cgroup: launch.cgroup.as_deref(),
        };
        let spawned = sandbox::spawn(&program, &launch.walls).map_err(SpawnError::into_io)?;
        Ok(Self {
            spawned,
            reaped: false,
            cgroup: launch.cgroup,
        })
    }

    /// Takes the status of the first process, and says how the program ended.
    fn reap(&mut self) -> io::Result<Exit> {
        self.reaped = true;
        let id = WaitId::PidFd(self.spawned.pidfd.as_fd());
        let ended = rustix::process::waitid(id, WaitIdOptions::EXITED)?;
        let mut status = [0; 4];
        Ok(match rustix::io::read(&self.spawned.status, &mut status) {
            Ok(4) => exit_of(ExitStatus::from_raw(i32::from_ne_bytes(status))),
            // The first process was killed before its program ended.
            _ => Exit::Signal(
                ended
                    .as_ref()
                    .and_then(WaitIdStatus::terminating_signal)
                    .unwrap_or(9),
            ),
        })
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = rustix::process::pidfd_send_signal(&self.spawned.pidfd, self.spawned.kill);
            let _ = self.reap();
        }
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    /// What runs the function's code, or the first process before it. Not known of what was reaped by then.
    pid: Option<Pid>,
    pidfd: OwnedFd,
    /// What ends it at once.
    kill: Signal,
    exit: ExitWatch,
    pub(crate) turns: Turns,
    cgroup: Option<Arc<Cgroup>>,
    /// On its own network, for whoever serves it.
    runtime_api: Option<OwnedFd>,
    /// A folder that nobody needs once it has ended.
    rubbish: Arc<OnceLock<PathBuf>>,
}

impl Process {
    fn watch_child(mut child: Unwatched, room: Option<&Room>, doors: Option<&Doors>) -> io::Result<Self> {
        let pid = child.spawned.program.unwrap_or(child.spawned.pid);
        let pidfd = child.spawned.pidfd.try_clone()?;
        let kill = child.spawned.kill;
        let ended = sandbox::watch(pidfd.try_clone()?)?;
        let network = room.and_then(|room| room.network.as_ref());
        let mut passed = Passed::of(&mut child.spawned, network)?;
        let cgroup = child.cgroup.clone();
        let member = cgroup.as_ref().map(Cgroup::admit).transpose()?;
        let (tell, exit) = watch::channel(None);
        let rubbish = Arc::new(OnceLock::new());
        let to_discard = Arc::clone(&rubbish);
        let runtime_api = passed.runtime_api.take();
        let serving = passed.serve(room, doors);
        tokio::spawn(async move {
            let _ = ended.readable().await;
            drop(serving);
            let exit = child.reap().unwrap_or(Exit::Unknown);
            let exit = explain(exit, member.as_ref());
            drop((child, member));
            tell.send_replace(Some(exit));
            discard(&to_discard).await;
        });
        Ok(Self {
            pid: Some(pid),
            pidfd,
            kill,
            exit,
            turns: Turns::of(Some(pid), cgroup.clone()),
            cgroup,
            runtime_api,
            rubbish,
        })
    }

    /// Watches a process that a zygote forked. The zygote ends what it has started and reports its status.
    pub(crate) fn watch_fork(
        pidfd: OwnedFd,
        status: oneshot::Receiver<Exit>,
        member: Option<Member>,
    ) -> io::Result<Self> {
        let ended = sandbox::watch(pidfd.try_clone()?)?;
        let group = member.as_ref().map(|member| Arc::clone(member.group()));
        let (tell, exit) = watch::channel(None);
        let rubbish = Arc::new(OnceLock::new());
        let to_discard = Arc::clone(&rubbish);
        tokio::spawn(async move {
            let _ = ended.readable().await;
            let exit = match tokio::time::timeout(STATUS_WAIT_MAX, status).await {
                Ok(Ok(exit)) => exit,
                // The zygote is dead or stuck. With it ends what its forks have started.
                Ok(Err(_)) | Err(_) => Exit::Unknown,
            };
            let exit = explain(exit, member.as_ref());
            drop(member);
            tell.send_replace(Some(exit));
            discard(&to_discard).await;
        });
        let pid = number_of(pidfd.as_fd());
        Ok(Self {
            pid,
            turns: Turns::of(pid, group),
            pidfd,
            kill: Signal::KILL,
            exit,
            cgroup: None,
            runtime_api: None,
            rubbish,
        })
    }

    /// Counts one more instance in its control group.
    pub(crate) fn admit(&self) -> io::Result<Option<Member>> {
        self.cgroup.as_ref().map(Cgroup::admit).transpose()
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// The listener for its Runtime API, where it has a network of its own. Given once.
    pub(crate) fn take_runtime_api(&mut self) -> Option<OwnedFd> {
        self.runtime_api.take()
    }

    /// Names a folder to remove once the process has ended. Where it has ended by now, the folder goes
    /// with its revision's.
    pub(crate) fn discard_at_end(&self, folder: PathBuf) {
        let _ = self.rubbish.set(folder);
    }

    pub(crate) fn exit(&self) -> ExitWatch {
        self.exit.clone()
    }

    /// Asks the kernel: that a process has ended is known before anybody was told how.
    pub(crate) fn has_ended(&self) -> bool {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.exit.borrow().is_some()
            || rustix::event::poll(&mut ended, Some(&at_once)).is_ok_and(|ended| ended > 0)
    }

    /// Kills it, and what it started.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, self.kill);
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::TERM);
    }

    /// Waits at most `grace` for its end, then kills it and waits for that.
    pub(crate) async fn end_within(&mut self, grace: Duration) -> Exit {
        if let Ok(exit) = tokio::time::timeout(grace, ended(&mut self.exit)).await {
            return exit;
        }
        self.kill();
        ended(&mut self.exit).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            self.kill();
        }
    }
}

/// What a process has passed out of its own network.
struct Passed {
    door: Option<OwnedFd>,
    runtime_api: Option<OwnedFd>,
    egress: Option<egress::Sockets>,
}

impl Passed {
    fn of(spawned: &mut Spawned, network: Option<&OwnNetwork>) -> io::Result<Self> {
        let mut sockets = spawned.sockets.drain(..);
        let mut next = || {
            let missing = || io::Error::other("it passed too few sockets out of its network");
            sockets.next().ok_or_else(missing)
        };
        let door = network.and_then(|network| network.door);
        let runtime_api = network.and_then(|network| network.runtime_api);
        let egress = network.and_then(|network| network.egress.as_ref());
        Ok(Self {
            door: door.map(|_| next()).transpose()?,
            runtime_api: runtime_api.map(|_| next()).transpose()?,
            egress: match egress {
                None => None,
                Some(egress) => Some(egress::Sockets {
                    names: next()?,
                    ports: egress.ports.iter().map(|_| next()).collect::<io::Result<_>>()?,
                }),
            },
        })
    }

    /// Serves what the server serves there, until the set is dropped. The Runtime API is its instance's to serve.
    fn serve(self, room: Option<&Room>, doors: Option<&Doors>) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let Some(room) = room else { return serving };
        if let (Some(door), Some(doors)) = (self.door, doors) {
            let (function, visitors) = (room.function.clone(), doors.visitors.clone());
            serving.spawn(network::serve_door(door, function, visitors));
        }
        let egress = room.network.as_ref().and_then(|network| network.egress.as_ref());
        if let (Some(sockets), Some(egress)) = (self.egress, egress) {
            serving.spawn(egress::serve(
                sockets,
                egress.network.clone(),
                room.function.clone(),
            ));
        }
        serving
    }
}

/// The process that a pidfd is for, as this process numbers it; `None` once it has been reaped.
fn number_of(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // -1 of one that has been reaped.
    Pid::from_raw(number.trim().parse().ok().filter(|&number| number > 0)?)
}

/// Waits until a process has ended.
pub(crate) async fn ended(exit: &mut ExitWatch) -> Exit {
    match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.unwrap_or(Exit::Unknown),
        Err(_) => Exit::Unknown,
    }
}

/// How long a fork's status may come after its end.
const STATUS_WAIT_MAX: Duration = Duration::from_secs(1);

async fn discard(folder: &OnceLock<PathBuf>) {
    if let Some(folder) = folder.get() {
        // What is left goes with the revision's folder.
        let _ = tokio::fs::remove_dir_all(folder).await;
    }
}

/// Tells a lack of memory from other ends.
fn explain(exit: Exit, member: Option<&Member>) -> Exit {
    match exit {
        Exit::Signal(9) if member.is_some_and(Member::ran_out_of_memory) => Exit::OutOfMemory,
        exit => exit,
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    //! The number of a process.

    use rustix::process::PidfdFlags;

    use super::*;

    #[test]
    fn a_pidfd_has_the_number_of_its_process() {
        let own = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(own, PidfdFlags::empty()).expect("a pidfd");
        assert_eq!(number_of(pidfd.as_fd()), Some(own));
    }

    #[test]
    fn a_process_that_was_reaped_has_none() {
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd");
        child.wait().expect("its end");
        assert_eq!(number_of(pidfd.as_fd()), None);
    }
}
