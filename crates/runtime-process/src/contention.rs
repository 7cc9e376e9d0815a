//! Whether somebody computes beside those who answer soon, and the server's threads, whose slices go with that.
//!
//! Short slices cost a busy server a fifth of its calls: who wakes takes the processor from who would have had its next
//! call by then. So they are for the time in which some call lasts. A process has one server, so this is its own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;
use squall_runtime::Processors;

use crate::cgroup::Cgroups;
use crate::long_calls::LongCalls;
use crate::sandbox::slice::{self, Slice};

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

/// Says of the calling thread that it answers for everybody: its slices are short while some call lasts. To be called
/// when it starts; it is forgotten when it ends.
///
/// Best effort: where the kernel has no slices or allows no change, nothing changes.
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

    fn compute_on_this_thread(&self, computes: bool) {
        let slice = match (computes, is_contended()) {
            (false, true) => Slice::Shortest,
            _ => Slice::Usual,
        };
        give(None, slice);
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
        let slice = if is_contended {
            Slice::Shortest
        } else {
            Slice::Usual
        };
        for &thread in &self.threads {
            give(Some(thread), slice);
        }
    }
}

/// The calling thread among those that answer.
#[derive(Debug)]
struct ServerThread(Pid);

impl ServerThread {
    fn register() -> Self {
        let thread = slice::this_thread();
        let mut server = server();
        server.threads.push(thread);
        if server.long_calls.are_any() {
            give(None, Slice::Shortest);
        }
        Self(thread)
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        server().threads.retain(|&thread| thread != self.0);
    }
}

fn give(thread: Option<Pid>, slice: Slice) {
    if let Err(error) = slice::give(thread, slice) {
        tracing::debug!(%error, ?slice, "could not change a thread's slice");
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
    fn who_serves_has_short_slices_while_a_call_lasts() {
        let slices = std::thread::spawn(|| {
            let usual = slice::own();
            serve_on_this_thread();
            let quiet = slice::own();
            let (first, second) = (Lasting::begin(), Lasting::begin());
            let contended = slice::own();
            drop(first);
            let still = slice::own();
            drop(second);
            assert_eq!((quiet, slice::own()), (usual, usual));
            (contended, still, usual)
        });
        let (contended, still, usual) = slices.join().expect("a thread");
        assert_eq!(contended, still);
        // Kernels before 6.12 tell 0, always.
        assert!(contended < usual || usual == 0, "{contended} {usual}");
        let left = server().threads.len();
        assert_eq!(left, 0, "the thread has ended");
    }
}
