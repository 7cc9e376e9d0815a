//! Whether somebody computes beside those who answer soon, and the server's threads, which go first then.
//!
//! Everybody waits for those threads, and each has little to do at a time. Linux weighs what a thread has had against what
//! others have had (EEVDF): one that answers and is asked again at once has had more, and waits for the next tick, however
//! large its share. So they are in real time, where that is not weighed. It costs a busy server calls: who wakes takes the
//! processor from who would have had its next call by then. Thus it is for the time in which some call lasts. A process has
//! one server, so this is its own.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, getpid, getpriority_process, setpriority_process};
use squall_runtime::Processors;

use crate::cgroup::Cgroups;
use crate::long_calls::LongCalls;
use crate::sandbox::scheduling::{self, Scheduling};

/// How much less nice a thread is while it helps beside calls that last: some 28 times the share.
const HELPS_LESS_NICE: i32 = 15;
const NICE_MIN: i32 = -20;

static SERVER: Mutex<Server> = Mutex::new(Server {
    threads: Vec::new(),
    long_calls: LongCalls::NONE,
});
static IS_CONTENDED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static SERVES: RefCell<Option<Registered>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Server {
    threads: Vec<ServerThread>,
    /// Calls that last now.
    long_calls: LongCalls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ServerThread {
    number: Pid,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Everybody waits for it, and it has little to do at a time.
    Answers,
    /// It may have more to do, such as hashing and unpacking.
    Helps,
    /// It has run a function, so that another has taken its place among those that answer: it helps, until it parks.
    Lent,
    /// It runs a function.
    Computes,
}

impl Role {
    fn helps(self) -> bool {
        matches!(self, Self::Helps | Self::Lent)
    }
}

/// Whether a call lasts now.
pub(crate) fn is_contended() -> bool {
    IS_CONTENDED.load(Ordering::Relaxed)
}

/// Says of the calling thread that it answers for everybody: it goes first while some call lasts. It may be said again
/// and again, which is cheap. Of one that has run a function it is not believed: see [`worker_parks`].
///
/// Best effort: where the kernel allows no change, nothing changes.
pub fn serve_on_this_thread() {
    take_role(|now| match now {
        None | Some(Role::Helps) => Role::Answers,
        Some(role) => role,
    });
}

/// Says of the calling thread that it is one of the async runtime's workers, and has nothing to do: what comes to it
/// next is answering. Threads that have no place among the workers do not park.
pub fn worker_parks() {
    take_role(|_| Role::Answers);
}

/// Says of the calling thread, when it starts, that it helps those that answer with what takes longer: it has a larger
/// share while some call lasts.
pub fn help_on_this_thread() {
    take_role(|now| now.unwrap_or(Role::Helps));
}

/// Gives the calling thread the role that follows from the one that it has.
fn take_role(next: impl FnOnce(Option<Role>) -> Role) {
    SERVES.with_borrow_mut(|serves| {
        let now = serves.as_ref().map(|registered| registered.0.role);
        let role = next(now);
        if now == Some(role) {
            return;
        }
        let thread = ServerThread {
            number: scheduling::this_thread(),
            role,
        };
        match serves {
            Some(registered) => registered.0 = thread,
            None => *serves = Some(Registered(thread)),
        }
        thread.settle();
        if now.is_some_and(Role::helps) && !role.helps() {
            be_nice(thread.number, 0);
        }
    });
}

/// The server's own turns.
#[derive(Debug)]
pub(crate) struct ServerTurns {
    groups: Option<Arc<Cgroups>>,
}

impl ServerTurns {
    pub(crate) fn of(groups: Option<Arc<Cgroups>>) -> Self {
        Self { groups }
    }
}

impl Processors for ServerTurns {
    fn begin_long_call(&self) -> Box<dyn Send + Sync> {
        let group = self.groups.as_ref().map(Cgroups::begin_long_call);
        Box::new((Lasting::begin(), group))
    }

    fn serve_on_this_thread(&self) {
        serve_on_this_thread();
    }

    fn compute_on_this_thread(&self, computes: bool) {
        let role = if computes { Role::Computes } else { Role::Lent };
        take_role(|_| role);
    }
}

/// A call that has lasted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lasting(());

impl Lasting {
    pub(crate) fn begin() -> Self {
        let mut server = server();
        if server.long_calls.begin() {
            IS_CONTENDED.store(true, Ordering::Relaxed);
            server.threads.iter().for_each(|thread| thread.schedule(true));
        }
        Self(())
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let this = SERVES.with_borrow(|serves| serves.as_ref().map(|registered| registered.0));
        {
            let mut server = server();
            if !server.long_calls.end() {
                return;
            }
            IS_CONTENDED.store(false, Ordering::Relaxed);
            let others = server.threads.iter().filter(|thread| Some(**thread) != this);
            others.for_each(|thread| thread.schedule(false));
        }
        if let Some(this) = this {
            // It may lose the processor with this, which is not to happen under the lock.
            this.schedule(false);
            this.settle();
        }
    }
}

impl Server {
    /// Keeps what a thread does, and says whether a call lasts.
    fn note(&mut self, thread: ServerThread) -> bool {
        match self
            .threads
            .iter_mut()
            .find(|known| known.number == thread.number)
        {
            Some(known) => *known = thread,
            None => self.threads.push(thread),
        }
        self.long_calls.are_any()
    }
}

impl ServerThread {
    /// Schedules the calling thread as it is to be now, where it was scheduled as usual or in another role before. Holds
    /// no lock meanwhile, since it may lose the processor: others wait for the lock in real time.
    fn settle(self) {
        let mut was_contended = false;
        loop {
            let is_contended = server().note(self);
            if is_contended == was_contended {
                return;
            }
            self.schedule(is_contended);
            was_contended = is_contended;
        }
    }

    fn schedule(self, is_contended: bool) {
        match (self.role, is_contended) {
            (Role::Answers, true) => give_first(self.number),
            (Role::Helps | Role::Lent, true) => {
                // In this order: what it starts from here on is as nice as usual.
                give(self.number, Scheduling::ShortestSlice);
                be_nice(self.number, HELPS_LESS_NICE);
            }
            (Role::Helps | Role::Lent, false) => {
                give(self.number, Scheduling::Usual);
                be_nice(self.number, 0);
            }
            (Role::Answers, false) | (Role::Computes, _) => give(self.number, Scheduling::Usual),
        }
    }
}

/// The calling thread among the server's, until it ends. Nothing is logged then: what that needs may be gone.
#[derive(Debug)]
struct Registered(ServerThread);

impl Drop for Registered {
    fn drop(&mut self) {
        server().threads.retain(|thread| thread.number != self.0.number);
    }
}

fn give_first(thread: Pid) {
    let given = scheduling::give(Some(thread), Scheduling::First);
    if given.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        give(thread, Scheduling::ShortestSlice);
    }
}

fn give(thread: Pid, scheduling: Scheduling) {
    if let Err(error) = scheduling::give(Some(thread), scheduling) {
        // It has ended, or this host does not allow it.
        tracing::debug!(%error, ?scheduling, "could not change how a thread is scheduled");
    }
}

/// By so much less than the server's first thread, whose nice value nobody here changes.
fn be_nice(thread: Pid, less: i32) {
    let changed = getpriority_process(Some(getpid()))
        .and_then(|nice| setpriority_process(Some(thread), (nice - less).max(NICE_MIN)));
    if let Err(error) = changed {
        // The same; the server's group, if it has one, has a larger share.
        tracing::debug!(%error, less, "could not change how nice a thread is");
    }
}

fn server() -> MutexGuard<'static, Server> {
    // Nothing panics while it is held.
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by tests in which calls last or are not to: their process has one server.
#[cfg(test)]
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own, which is gone from the server's when this returns.
    fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        let _alone = ALONE.blocking_lock();
        let test = move || (scheduling::this_thread(), test());
        let (number, result) = std::thread::spawn(test).join().expect("a thread");
        let is_left = server().threads.iter().any(|thread| thread.number == number);
        assert!(!is_left, "the thread has ended");
        result
    }

    fn own_nice() -> i32 {
        getpriority_process(Some(scheduling::this_thread())).expect("its nice value")
    }

    #[track_caller]
    fn assert_shorter((_, short): (i32, u64), (_, usual): (i32, u64)) {
        // Kernels before 6.12 tell 0, always.
        assert!(short < usual || usual == 0, "{short} {usual}");
    }

    #[test]
    fn who_serves_goes_first_while_a_call_lasts() {
        alone(|| {
            let usual = scheduling::own();
            serve_on_this_thread();
            assert_eq!(scheduling::own(), usual);
            let (one, another) = (Lasting::begin(), Lasting::begin());
            let contended = scheduling::own();
            if scheduling::allows_first() {
                assert_eq!(contended.0, libc::SCHED_RR);
            } else {
                assert_shorter(contended, usual);
            }
            drop(one);
            assert_eq!(scheduling::own(), contended);
            drop(another);
            assert_eq!(scheduling::own(), usual);
        });
    }

    #[test]
    fn who_helps_is_less_nice_while_a_call_lasts() {
        alone(|| {
            let (usual, nice) = (scheduling::own(), own_nice());
            help_on_this_thread();
            let lasting = Lasting::begin();
            assert_shorter(scheduling::own(), usual);
            if scheduling::allows_first() {
                assert_eq!(own_nice(), (nice - HELPS_LESS_NICE).max(NICE_MIN));
            }
            serve_on_this_thread();
            assert_eq!(own_nice(), nice);
            drop(lasting);
            assert_eq!((scheduling::own(), own_nice()), (usual, nice));
        });
    }

    #[test]
    fn where_real_time_is_refused_slices_are_short() {
        alone(|| {
            let mut capabilities = rustix::thread::capabilities(None).expect("capabilities");
            capabilities.effective &= !rustix::thread::CapabilitySet::SYS_NICE;
            rustix::thread::set_capabilities(None, capabilities).expect("fewer");
            let usual = scheduling::own();
            if scheduling::give(None, Scheduling::First).is_ok() {
                // This user has real time by a limit, too.
                return;
            }
            serve_on_this_thread();
            let lasting = Lasting::begin();
            assert_eq!(scheduling::own().0, usual.0);
            assert_shorter(scheduling::own(), usual);
            drop(lasting);
            assert_eq!(scheduling::own(), usual);
        });
    }

    #[test]
    fn who_has_computed_goes_first_again_when_it_parks() {
        alone(|| {
            let _lasting = Lasting::begin();
            let usual = scheduling::own();
            serve_on_this_thread();
            let serves = scheduling::own();
            let turns = ServerTurns::of(None);
            turns.compute_on_this_thread(true);
            assert_eq!(scheduling::own(), usual);
            turns.compute_on_this_thread(false);
            serve_on_this_thread();
            assert_eq!(scheduling::own().0, usual.0);
            worker_parks();
            assert_eq!(scheduling::own(), serves);
        });
    }
}
