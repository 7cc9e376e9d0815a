//! How the kernel schedules a thread: before which others it runs, and for how long until it looks again.
//!
//! `turns` calls this for functions, `contention` for the server's threads, and `cgroup` asks what is allowed. Linux has
//! slices of a thread's own since 6.12; before, a shorter one changes nothing.

use std::io;

use rustix::process::Pid;

/// The lowest priority of real time: before all that computes, and behind what the operator gave any.
const FIRST_PRIORITY: u32 = 1;
/// The shortest that the kernel gives.
const SHORTEST_NS: u64 = 100_000;
/// Longer than the server's, and far below the kernel's own of some milliseconds.
const SHORT_NS: u64 = 300_000;
/// The first version of `struct sched_attr`: up to its `sched_period`.
const ATTR_BYTES: u32 = 48;

/// When a thread that wakes runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// At once, and before all that is not in real time, for as long as it has something to do. For threads that answer.
    First,
    /// At once mostly: who wakes does where its slice is shorter than that of who runs. For threads that answer, where
    /// real time is refused.
    ShortestSlice,
    /// The same, of an instance at the beginning of a call.
    ShortSlice,
    /// As the kernel has it, for who has much to do.
    Usual,
}

/// Schedules a thread in a new way; `None` is the calling one. What it starts is scheduled as usual, with a nice value
/// of 0 if it is less nice or in real time then. A thread that somebody else has put in real time, or behind all others,
/// is left alone.
///
/// # Errors
/// The thread has ended or is another user's, or this host has no real time for this process.
pub(crate) fn give(thread: Option<Pid>, scheduling: Scheduling) -> io::Result<()> {
    let number = thread.map_or(0, |thread| thread.as_raw_nonzero().get());
    let mut attr = attributes(number)?;
    // A function may make itself a batch, and itself as most again; what it was given is not to outlast that.
    let of_slices = [libc::SCHED_OTHER, libc::SCHED_BATCH].map(i32::cast_unsigned);
    if !of_slices.contains(&attr.sched_policy) && !is_first(&attr) {
        return Ok(());
    }
    attr.size = ATTR_BYTES;
    // Once it is set, only the privileged may clear it.
    attr.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    if scheduling == Scheduling::First {
        attr.sched_policy = libc::SCHED_RR.cast_unsigned();
        attr.sched_priority = FIRST_PRIORITY;
    } else if is_first(&attr) {
        attr.sched_policy = libc::SCHED_OTHER.cast_unsigned();
        attr.sched_priority = 0;
        // In real time it keeps its nice value, which these attributes do not tell then.
        attr.sched_nice = rustix::process::getpriority_process(thread)?;
    }
    attr.sched_runtime = match scheduling {
        Scheduling::ShortestSlice => SHORTEST_NS,
        Scheduling::ShortSlice => SHORT_NS,
        Scheduling::First | Scheduling::Usual => 0,
    };
    // SAFETY: the kernel reads the structure, which says its own size.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, number, &raw const attr, 0) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether this process may have threads that are [`Scheduling::First`], and others that are less nice. Tries it with one
/// of its own.
pub(crate) fn allows_first() -> bool {
    let tries = || {
        let this = Some(this_thread());
        let nice = rustix::process::getpriority_process(this)?;
        rustix::process::setpriority_process(this, nice - 1)?;
        give(None, Scheduling::First)?;
        give(None, Scheduling::Usual)
    };
    let trial = std::thread::Builder::new().spawn(tries);
    trial.is_ok_and(|trial| matches!(trial.join(), Ok(Ok(()))))
}

/// Whether it is scheduled as [`Scheduling::First`]: an operator's real time is mostly handed down to what a thread
/// starts.
fn is_first(attr: &libc::sched_attr) -> bool {
    attr.sched_policy == libc::SCHED_RR.cast_unsigned()
        && attr.sched_priority == FIRST_PRIORITY
        && attr.sched_flags & libc::SCHED_FLAG_RESET_ON_FORK as u64 != 0
}

/// How a thread is scheduled; 0 is the calling one.
fn attributes(number: i32) -> io::Result<libc::sched_attr> {
    // SAFETY: all zeros is a valid value of these numbers.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes as many bytes as are given, which are no more than the structure has.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, number, &raw mut attr, ATTR_BYTES, 0) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attr)
}

/// The calling thread's number.
pub(crate) fn this_thread() -> Pid {
    // SAFETY: no arguments, and it does not fail.
    let number = unsafe { libc::gettid() };
    Pid::from_raw(number).expect("a thread has a number")
}

/// The calling thread's policy and its slice in nanoseconds, as the kernel tells them.
#[cfg(test)]
pub(crate) fn own() -> (i32, u64) {
    let attr = attributes(0).expect("the calling thread's");
    (attr.sched_policy.cast_signed(), attr.sched_runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is given ends with it.
    fn on_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().expect("a thread");
    }

    #[test]
    fn a_slice_is_the_threads_own_and_is_given_back() {
        on_a_thread(|| {
            let usual = own();
            give(None, Scheduling::ShortSlice).expect("a short slice");
            let short = own();
            let inherited = std::thread::spawn(own).join().expect("a thread");
            give(None, Scheduling::Usual).expect("the usual slice");
            assert_eq!((inherited, own()), (usual, usual));
            // Kernels before 6.12 tell 0, always.
            assert!(
                short.1 == SHORT_NS || (usual.1, short.1) == (0, 0),
                "{usual:?} {short:?}"
            );
        });
    }

    #[test]
    fn a_batch_gives_its_slice_back_too() {
        on_a_thread(|| {
            let (_, usual) = own();
            give(None, Scheduling::ShortSlice).expect("a short slice");
            let parameters = libc::sched_param { sched_priority: 0 };
            let policy = libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK;
            // SAFETY: a policy without parameters, for the calling thread.
            let set = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
            give(None, Scheduling::Usual).expect("the usual slice");
            assert_eq!(own().1, usual);
        });
    }

    #[test]
    fn real_time_is_given_back_and_not_handed_down() {
        // Where this user may have none, there is nothing to give back.
        if !allows_first() {
            return;
        }
        on_a_thread(|| {
            let usual = own();
            give(None, Scheduling::First).expect("real time");
            let first = own().0;
            let inherited = std::thread::spawn(own).join().expect("a thread");
            give(None, Scheduling::Usual).expect("as usual");
            assert_eq!((first, inherited, own()), (libc::SCHED_RR, usual, usual));
        });
    }

    #[test]
    fn a_nice_value_outlasts_real_time() {
        if !allows_first() {
            return;
        }
        on_a_thread(|| {
            let this = Some(this_thread());
            rustix::process::setpriority_process(this, 5).expect("nicer");
            give(None, Scheduling::First).expect("real time");
            give(None, Scheduling::Usual).expect("as usual");
            assert_eq!(rustix::process::getpriority_process(this), Ok(5));
        });
    }

    #[test]
    fn an_operators_real_time_is_left_alone() {
        if !allows_first() {
            return;
        }
        on_a_thread(|| {
            let parameters = libc::sched_param { sched_priority: 2 };
            // SAFETY: a policy with its parameters, for the calling thread.
            let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) };
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
            give(None, Scheduling::Usual).expect("nothing is done");
            assert_eq!(own().0, libc::SCHED_RR);
        });
    }

    #[test]
    fn a_thread_that_is_not_there_is_an_error() {
        let error = give(Pid::from_raw(i32::MAX), Scheduling::ShortSlice).expect_err("no such thread");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
