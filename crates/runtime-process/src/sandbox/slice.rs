//! How long a thread runs before the kernel looks for who else should.
//!
//! `turns` calls this for functions, `contention` for the server's threads. Linux has slices of a thread's own since 6.12;
//! before, these calls change nothing.

use std::io;

use rustix::process::Pid;

/// The shortest that the kernel gives.
const SHORTEST_NS: u64 = 100_000;
/// Longer than the server's, and far below the kernel's own of some milliseconds.
const SHORT_NS: u64 = 300_000;
/// The first version of `struct sched_attr`: up to its `sched_period`.
const ATTR_BYTES: u32 = 48;

/// The length of a slice. The share of the processor is the same with each: who wakes runs at once where its slice is
/// shorter than that of who runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slice {
    /// That of the server's threads.
    Shortest,
    /// That of an instance at the beginning of a call.
    Short,
    /// The kernel's own choice, for who has much to do.
    Usual,
}

/// Gives a thread its slice; `None` is the calling one. What it starts gets the usual one. A thread that is scheduled
/// in real time, or only when nobody else runs, is left alone.
///
/// # Errors
/// The thread has ended or is another user's.
pub(crate) fn give(thread: Option<Pid>, slice: Slice) -> io::Result<()> {
    let number = thread.map_or(0, |thread| thread.as_raw_nonzero().get());
    let mut attr = attributes(number)?;
    // A function may make itself a batch, and itself as most again; what it was given is not to outlast that.
    let of_slices = [libc::SCHED_OTHER, libc::SCHED_BATCH].map(i32::cast_unsigned);
    if !of_slices.contains(&attr.sched_policy) {
        return Ok(());
    }
    attr.size = ATTR_BYTES;
    // Once it is set, only the privileged may clear it.
    attr.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attr.sched_runtime = match slice {
        Slice::Shortest => SHORTEST_NS,
        Slice::Short => SHORT_NS,
        Slice::Usual => 0,
    };
    // SAFETY: the kernel reads the structure, which says its own size.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, number, &raw const attr, 0) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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

/// The calling thread's slice in nanoseconds, as the kernel tells it.
#[cfg(test)]
pub(crate) fn own() -> u64 {
    attributes(0).expect("the calling thread's").sched_runtime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_threads_own_and_is_given_back() {
        std::thread::spawn(|| {
            let usual = own();
            give(None, Slice::Short).expect("a short slice");
            let short = own();
            let inherited = std::thread::spawn(own).join().expect("a thread");
            give(None, Slice::Usual).expect("the usual slice");
            assert_eq!((inherited, own()), (usual, usual));
            // Kernels before 6.12 tell 0, always.
            assert!(short == SHORT_NS || (usual, short) == (0, 0), "{usual} {short}");
        })
        .join()
        .expect("a thread");
    }

    #[test]
    fn a_batch_gives_its_slice_back_too() {
        std::thread::spawn(|| {
            let usual = own();
            give(None, Slice::Short).expect("a short slice");
            let parameters = libc::sched_param { sched_priority: 0 };
            let policy = libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK;
            // SAFETY: a policy without parameters, for the calling thread.
            let set = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
            give(None, Slice::Usual).expect("the usual slice");
            assert_eq!(own(), usual);
        })
        .join()
        .expect("a thread");
    }

    #[test]
    fn a_thread_that_is_not_there_is_an_error() {
        let error = give(Pid::from_raw(i32::MAX), Slice::Short).expect_err("no such thread");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
