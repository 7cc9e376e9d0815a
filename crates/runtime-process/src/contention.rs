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

use rustix::process::Pid;
use squall_runtime::Processors;

use crate::cgroup::Cgroups;
use crate::long_calls::LongCalls;
use crate::sandbox::scheduling::{self, Scheduling};

static SERVER: Mutex<Server> = Mutex::new(Server {
    threads: Vec::new(),
    long_calls: LongCalls::NONE,
});
static IS_CONTENDED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static SERVES: RefCell<Option<ServerThread>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Server {
    /// Those that answer.
    threads: Vec<Pid>,
    /// Calls that last now.
    long_calls: LongCalls,
}

/// Whether a call lasts now.
pub(crate) fn is_contended() -> bool {
    IS_CONTENDED.load(Ordering::Relaxed)
}

/// Says of the calling thread that it answers for everybody: it goes first while some call lasts. It may be said again
/// and again, which is cheap, and is forgotten when the thread computes or ends. To be called by who has nothing to do
/// at the moment: what has much to do, such as hashing and unpacking, is not to go first.
///
/// Best effort: where the kernel allows no change, nothing changes.
pub fn serve_on_this_thread() {
    SERVES.with_borrow_mut(|serves| {
        serves.get_or_insert_with(ServerThread::register);
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
        if SERVES.take().is_some() {
            give(None, Scheduling::Usual);
        }
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
        for &thread in &self.threads {
            if is_contended {
                give_first(Some(thread));
            } else {
                give(Some(thread), Scheduling::Usual);
            }
        }
    }
}

/// The calling thread among those that answer.
#[derive(Debug)]
struct ServerThread(Pid);

impl ServerThread {
    fn register() -> Self {
        let thread = scheduling::this_thread();
        let mut server = server();
        server.threads.push(thread);
        if server.long_calls.are_any() {
            give_first(None);
        }
        Self(thread)
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        server().threads.retain(|&thread| thread != self.0);
    }
}

fn give_first(thread: Option<Pid>) {
    match scheduling::give(thread, Scheduling::First) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            give(thread, Scheduling::ShortestSlice);
        }
        _ => {}
    }
}

fn give(thread: Option<Pid>, scheduling: Scheduling) {
    if let Err(error) = scheduling::give(thread, scheduling) {
        // It has ended, or this host does not allow it.
        tracing::debug!(%error, ?scheduling, "could not change how a thread is scheduled");
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
            (contended, usual)
        });
        let (contended, usual) = thread.join().expect("a thread");
        if scheduling::allows_first() {
            assert_eq!(contended.0, libc::SCHED_RR);
        } else {
            // Kernels before 6.12 tell 0, always.
            assert!(contended.1 < usual.1 || usual.1 == 0, "{contended:?} {usual:?}");
        }
        let left = server().threads.len();
        assert_eq!(left, 0, "the thread has ended");
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
