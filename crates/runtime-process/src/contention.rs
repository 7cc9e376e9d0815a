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
}

/// Whether a call lasts now.
pub(crate) fn is_contended() -> bool {
    IS_CONTENDED.load(Ordering::Relaxed)
}

/// Says of the calling thread that it answers for everybody: it goes first while some call lasts. It may be said again
/// and again, which is cheap, and is forgotten when the thread computes or ends.
///
/// Best effort: where the kernel allows no change, nothing changes.
pub fn serve_on_this_thread() {
    register(Role::Answers);
}

/// Says of the calling thread that it helps those that answer, with what takes longer: it has a larger share while some
/// call lasts. Said of one that answers, it changes nothing.
///
/// Best effort, too.
pub fn help_on_this_thread() {
    register(Role::Helps);
}

fn register(role: Role) {
    SERVES.with_borrow_mut(|serves| match serves {
        Some(known) if known.0.role == role || role == Role::Helps => {}
        _ => {
            // It is another from here on, and not two.
            drop(serves.take());
            *serves = Some(Registered::new(role));
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

    fn compute_on_this_thread(&self) {
        drop(SERVES.take());
    }
}

/// A call that has lasted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lasting(());

impl Lasting {
    pub(crate) fn begin() -> Self {
        let mut server = server();
        if server.long_calls.begin() {
            server.contend(true);
        }
        Self(())
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let mut server = server();
        if server.long_calls.end() {
            server.contend(false);
        }
    }
}

impl Server {
    fn contend(&self, is_contended: bool) {
        IS_CONTENDED.store(is_contended, Ordering::Relaxed);
        for thread in &self.threads {
            thread.schedule(is_contended);
        }
    }
}

impl ServerThread {
    fn schedule(self, is_contended: bool) {
        match (self.role, is_contended) {
            (Role::Answers, true) => give_first(self.number),
            (Role::Answers, false) => give(self.number, Scheduling::Usual),
            (Role::Helps, true) => {
                be_nice(self.number, HELPS_LESS_NICE);
                give(self.number, Scheduling::ShortestSlice);
            }
            (Role::Helps, false) => {
                give(self.number, Scheduling::Usual);
                be_nice(self.number, 0);
            }
        }
    }
}

/// The calling thread among the server's, until it is dropped.
#[derive(Debug)]
struct Registered(ServerThread);

impl Registered {
    fn new(role: Role) -> Self {
        let thread = ServerThread {
            number: scheduling::this_thread(),
            role,
        };
        let mut server = server();
        server.threads.push(thread);
        if server.long_calls.are_any() {
            thread.schedule(true);
        }
        Self(thread)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut server = server();
        server.threads.retain(|thread| thread.number != self.0.number);
        if server.long_calls.are_any() {
            self.0.schedule(false);
        }
    }
}

fn give_first(thread: Pid) {
    match scheduling::give(Some(thread), Scheduling::First) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            give(thread, Scheduling::ShortestSlice);
        }
        _ => {}
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
        // The same; the server has a group with a larger share then.
        tracing::debug!(%error, less, "could not change how nice a thread is");
    }
}

fn server() -> MutexGuard<'static, Server> {
    // Nothing panics while it is held.
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_goes_first_while_a_call_lasts() {
        let thread = std::thread::spawn(|| {
            let usual = scheduling::own();
            serve_on_this_thread();
            let quiet = scheduling::own();
            let (one, another) = (Lasting::begin(), Lasting::begin());
            let contended = scheduling::own();
            drop(one);
            let still = scheduling::own();
            drop(another);
            assert_eq!((quiet, scheduling::own()), (usual, usual));
            assert_eq!(contended, still);
            (contended, usual, scheduling::this_thread())
        });
        let (contended, usual, number) = thread.join().expect("a thread");
        if scheduling::allows_first() {
            assert_eq!(contended.0, libc::SCHED_RR);
        } else {
            // Kernels before 6.12 tell 0, always.
            assert!(contended.1 < usual.1 || usual.1 == 0, "{contended:?} {usual:?}");
        }
        let is_left = server().threads.iter().any(|thread| thread.number == number);
        assert!(!is_left, "the thread has ended");
    }

    #[test]
    fn who_helps_is_less_nice_while_a_call_lasts() {
        let thread = std::thread::spawn(|| {
            let this = Some(scheduling::this_thread());
            let nice = || getpriority_process(this).expect("its nice value");
            help_on_this_thread();
            let quiet = nice();
            let lasting = Lasting::begin();
            let (contended, contended_slice) = (nice(), scheduling::own().1);
            serve_on_this_thread();
            let answers = nice();
            drop(lasting);
            assert_eq!((answers, nice()), (quiet, quiet));
            (quiet, contended, contended_slice, scheduling::own().1)
        });
        let (quiet, contended, short, usual) = thread.join().expect("a thread");
        // Without privileges it stays as nice as it was.
        assert!(
            [quiet, (quiet - HELPS_LESS_NICE).max(NICE_MIN)].contains(&contended),
            "{contended}"
        );
        assert!(
            !scheduling::allows_first() || contended < quiet,
            "{contended} {quiet}"
        );
        assert!(short < usual || usual == 0, "{short} {usual}");
    }

    #[test]
    fn where_real_time_is_refused_slices_are_short() {
        let thread = std::thread::spawn(|| {
            let none = rustix::process::Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            rustix::process::setrlimit(rustix::process::Resource::Rtprio, none).expect("a limit");
            let mut capabilities = rustix::thread::capabilities(None).expect("capabilities");
            capabilities.effective &= !rustix::thread::CapabilitySet::SYS_NICE;
            rustix::thread::set_capabilities(None, capabilities).expect("fewer");
            let usual = scheduling::own();
            serve_on_this_thread();
            let lasting = Lasting::begin();
            let contended = scheduling::own();
            drop(lasting);
            assert_eq!(scheduling::own(), usual);
            (contended, usual)
        });
        let ((policy, short), (usual_policy, usual)) = thread.join().expect("a thread");
        assert_eq!(policy, usual_policy);
        assert!(short < usual || usual == 0, "{short} {usual}");
    }

    #[test]
    fn who_computes_does_not_go_first_until_it_serves_again() {
        let thread = std::thread::spawn(|| {
            let _lasting = Lasting::begin();
            let usual = scheduling::own();
            serve_on_this_thread();
            let serves = scheduling::own();
            ServerTurns::of(None).compute_on_this_thread();
            let computes = scheduling::own();
            serve_on_this_thread();
            assert_eq!((computes, scheduling::own()), (usual, serves));
        });
        thread.join().expect("a thread");
    }
}
