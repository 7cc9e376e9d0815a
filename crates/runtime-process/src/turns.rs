//! Whose turn it is on busy processors: who answers soon is not kept waiting by who does not.
//!
//! Linux lets a thread that wakes run at once if its slice is shorter than that of who runs and its turn would end first
//! (EEVDF); otherwise it waits for the next tick, which is 1 to 10 ms away. So an instance begins a call with a large share,
//! and with short slices where another call lasts (`contention`). When its own lasts it loses both: it computes, and what
//! it has is the share that its memory says, in long turns. What a function forks or starts as a thread has the kernel's
//! usual slices, and the system call that changes them is not among a function's.

use std::fs;
use std::future::Future;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use squall_runtime::Processors;

use crate::cgroup::{Cgroup, Cgroups};
use crate::contention::{self, Lasting};
use crate::sandbox::slice::{self, Slice};

/// How long a call keeps short slices.
const SHORT_MAX: Duration = Duration::from_millis(5);
/// How long after that a call keeps the large share.
const QUICK_MAX: Duration = Duration::from_millis(15);

/// The turns of one process.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Its first.
    thread: Option<Pid>,
    now: Slice,
    group: Option<Arc<Cgroup>>,
}

impl Turns {
    /// Of a process by its number, in its control group; without a number its slices stay as they are.
    pub(crate) fn of(process: Option<Pid>, group: Option<Arc<Cgroup>>) -> Self {
        Self {
            thread: process,
            now: Slice::Usual,
            group,
        }
    }

    /// Waits for a call that the process works on.
    pub(crate) async fn during<T>(&mut self, call: impl Future<Output = T>) -> T {
        self.take(match contention::is_contended() {
            true => Slice::Short,
            false => Slice::Usual,
        });
        let mut call = pin!(call);
        if let Some(result) = within(SHORT_MAX, call.as_mut()).await {
            return result;
        }
        self.take(Slice::Usual);
        if let Some(result) = within(QUICK_MAX, call.as_mut()).await {
            return result;
        }
        let _lasting = Lasting::begin();
        let _long = self.group.as_ref().map(Cgroup::begin_long_call);
        call.await
    }

    fn take(&mut self, slice: Slice) {
        if self.thread.is_none() || self.now == slice {
            return;
        }
        self.now = slice;
        if let Err(error) = slice::give(self.thread, slice) {
            // It has ended, which its watch tells, or this host does not allow it.
            tracing::debug!(%error, ?slice, "could not change a process's slice");
            self.thread = None;
        }
    }
}

async fn within<T>(most: Duration, call: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = call => Some(result),
        () = tokio::time::sleep(most) => None,
    }
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
        contention::serve_on_this_thread();
    }

    fn compute_on_this_thread(&self, computes: bool) {
        contention::compute_on_this_thread(computes);
    }
}

/// The process that a pidfd is for, as this process numbers it; `None` once it has been reaped.
pub(crate) fn number_of(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // -1 of one that has been reaped.
    Pid::from_raw(number.trim().parse().ok().filter(|&number| number > 0)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::PidfdFlags;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_has_short_slices_until_it_lasts() {
        // This process stands for an instance's.
        let _another = Lasting::begin();
        let mut turns = Turns::of(Some(rustix::process::getpid()), None);
        turns.during(async {}).await;
        assert_eq!(turns.now, Slice::Short);
        turns.during(tokio::time::sleep(2 * SHORT_MAX)).await;
        assert_eq!(turns.now, Slice::Usual);
        assert!(turns.thread.is_some(), "the kernel has refused");
        turns.during(async {}).await;
        assert_eq!(turns.now, Slice::Short);
    }

    #[tokio::test]
    async fn where_no_call_lasts_slices_stay_as_they_are() {
        let mut turns = Turns::of(Some(rustix::process::getpid()), None);
        turns.during(async {}).await;
        assert_eq!(turns.now, Slice::Usual);
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_asked_once() {
        let _another = Lasting::begin();
        let mut turns = Turns::of(Pid::from_raw(i32::MAX), None);
        turns.during(async {}).await;
        assert_eq!(turns.thread, None);
    }

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
