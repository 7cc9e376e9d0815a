//! Whose turn it is on busy processors: who answers soon is not kept waiting by who does not.
//!
//! Linux lets a thread that wakes run at once if its slice is shorter than that of who runs and its turn would end first
//! (EEVDF); otherwise it waits for the next tick, which is 1 to 10 ms away. So an instance begins a call with a large share,
//! and with short slices where another call lasts (`contention`). When its own lasts it loses both: it computes, and what
//! it has is the share that its memory says, in long turns. What a function forks or starts as a thread has the kernel's
//! usual slices, and the system call that changes them is not among a function's.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;

use crate::cgroup::Cgroup;
use crate::contention::{self, Lasting};
use crate::sandbox::scheduling::{self, Scheduling};

/// How long a call keeps short slices.
const SHORT_MAX: Duration = Duration::from_millis(5);
/// How long after that a call keeps the large share.
const QUICK_MAX: Duration = Duration::from_millis(15);

/// The turns of one process.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Its first.
    thread: Option<Pid>,
    now: Scheduling,
    group: Option<Arc<Cgroup>>,
}

impl Turns {
    /// Of a process by its number, in its control group; without a number its slices stay as they are.
    pub(crate) fn of(process: Option<Pid>, group: Option<Arc<Cgroup>>) -> Self {
        Self {
            thread: process,
            now: Scheduling::Usual,
            group,
        }
    }

    /// Waits for a call that the process works on.
    pub(crate) async fn during<T>(&mut self, call: impl Future<Output = T>) -> T {
        contention::serve_on_this_thread();
        self.take(match contention::is_contended() {
            true => Scheduling::ShortSlice,
            false => Scheduling::Usual,
        });
        let mut call = pin!(call);
        if let Some(result) = within(SHORT_MAX, call.as_mut()).await {
            return result;
        }
        self.take(Scheduling::Usual);
        if let Some(result) = within(QUICK_MAX, call.as_mut()).await {
            return result;
        }
        let _lasting = Lasting::begin();
        let _long = self.group.as_ref().map(Cgroup::begin_long_call);
        call.await
    }

    fn take(&mut self, scheduling: Scheduling) {
        if self.thread.is_none() || self.now == scheduling {
            return;
        }
        self.now = scheduling;
        if let Err(error) = scheduling::give(self.thread, scheduling) {
            // It has ended, which its watch tells, or this host does not allow it.
            tracing::debug!(%error, ?scheduling, "could not change a process's scheduling");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::ALONE;

    #[tokio::test(start_paused = true)]
    async fn a_call_has_short_slices_until_it_lasts() {
        let _alone = ALONE.lock().await;
        // This process stands for an instance's.
        let _another = Lasting::begin();
        let mut turns = Turns::of(Some(rustix::process::getpid()), None);
        turns.during(async {}).await;
        assert_eq!(turns.now, Scheduling::ShortSlice);
        turns.during(tokio::time::sleep(2 * SHORT_MAX)).await;
        assert_eq!(turns.now, Scheduling::Usual);
        assert!(turns.thread.is_some(), "the kernel has refused");
        turns.during(async {}).await;
        assert_eq!(turns.now, Scheduling::ShortSlice);
    }

    #[tokio::test]
    async fn where_no_call_lasts_slices_stay_as_they_are() {
        let _alone = ALONE.lock().await;
        let mut turns = Turns::of(Some(rustix::process::getpid()), None);
        turns.during(async {}).await;
        assert_eq!(turns.now, Scheduling::Usual);
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_asked_once() {
        let _alone = ALONE.lock().await;
        let _another = Lasting::begin();
        let mut turns = Turns::of(Pid::from_raw(i32::MAX), None);
        turns.during(async {}).await;
        assert_eq!(turns.thread, None);
    }
}
