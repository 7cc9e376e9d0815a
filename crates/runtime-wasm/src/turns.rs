//! Guests that compute give the server's threads back.
//!
//! A call runs where its event came in, on one of the threads that serve everybody, which are as many as processors. One
//! that answers soon is nowhere faster. One that has computed up to a tick of the epoch goes on beside them: tokio puts
//! another thread in the place of the one that it holds, until the next tick. As many of such go on at once as there are
//! processors, in the order in which they come. One that waits for something comes back.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use squall_runtime::Processors;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use crate::engine::TICK;

thread_local! {
    /// When this thread went to run a guest, as if it had computed without a pause, and whether that has met the end of
    /// its turn.
    static TURN: Cell<(Option<Instant>, bool)> = const { Cell::new((None, false)) };
}

/// What a tick of the epoch is to who meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    /// It has hardly begun: the epoch moves on while a guest waits, too.
    Early,
    /// It has computed for long enough to give way.
    Over,
}

/// To be called at every tick, on the guest's thread.
pub(crate) fn tick() -> Tick {
    let (began, _) = TURN.get();
    if began.is_some_and(|began| began.elapsed() < TICK / 2) {
        return Tick::Early;
    }
    TURN.set((began, true));
    Tick::Over
}

/// What came of letting a guest run.
struct Turn<T> {
    polled: Poll<T>,
    /// It has met the end of its turn.
    is_over: bool,
    /// What it has had of this turn.
    computed: Duration,
}

/// Lets a guest run on this thread, which has `computed` so much of this turn before.
fn turn<F: Future>(call: Pin<&mut F>, context: &mut Context<'_>, computed: Duration) -> Turn<F::Output> {
    let now = Instant::now();
    let began = now.checked_sub(computed).unwrap_or(now);
    TURN.set((Some(began), false));
    let polled = call.poll(context);
    Turn {
        polled,
        is_over: TURN.get().1,
        computed: began.elapsed(),
    }
}

/// The places for guests that compute, of all functions.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Semaphore,
    processors: Arc<dyn Processors>,
}

impl Turns {
    pub(crate) fn new(processors: Arc<dyn Processors>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Semaphore::new(cores),
            processors,
        }
    }

    /// Waits for a call of a guest. It is pinned already, since it is large and would be moved to get here.
    pub(crate) async fn during<T>(&self, mut call: Pin<&mut impl Future<Output = T>>) -> T {
        self.processors.serve_on_this_thread();
        loop {
            if let Some(result) = until_over(call.as_mut()).await {
                return result;
            }
            let _long = self.processors.begin_long_call();
            loop {
                let place = self.places.acquire().await;
                let turn = poll_fn(|context| Poll::Ready(self.beside(call.as_mut(), context))).await;
                if let Poll::Ready(result) = turn.polled {
                    return result;
                }
                drop(place);
                if !turn.is_over {
                    // It waits, and may answer soon after that.
                    break;
                }
                // It has woken its task. The task must end its turn all the same: around this are deadlines.
                woken().await;
            }
        }
    }

    /// One turn of the guest, up to where it is over or the guest waits.
    fn beside<F: Future>(&self, call: Pin<&mut F>, context: &mut Context<'_>) -> Turn<F::Output> {
        let turn = || {
            let _computes = Computes::begin(&*self.processors);
            turn(call, context, Duration::ZERO)
        };
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(turn),
            // There is no other thread to put in this one's place.
            _ => turn(),
        }
    }
}

/// The thread computes for as long as this lives.
struct Computes<'a>(&'a dyn Processors);

impl<'a> Computes<'a> {
    fn begin(processors: &'a dyn Processors) -> Self {
        processors.compute_on_this_thread(true);
        Self(processors)
    }
}

impl Drop for Computes<'_> {
    fn drop(&mut self) {
        self.0.compute_on_this_thread(false);
    }
}

/// The call's result, or `None` when a turn of it is over: what it computes between waits adds up.
async fn until_over<F: Future>(mut call: Pin<&mut F>) -> Option<F::Output> {
    let mut computed = Duration::ZERO;
    poll_fn(|context| {
        let turn = turn(call.as_mut(), context, computed);
        computed = turn.computed;
        match turn.polled {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if turn.is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until whoever polled in this task before wakes it.
async fn woken() {
    let mut is_asleep = false;
    poll_fn(|_| match std::mem::replace(&mut is_asleep, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use squall_runtime::AllAlike;

    use super::*;

    /// Computes for so many turns, as a guest does: each gives way to others.
    async fn guest(turns: usize) {
        for _ in 0..turns {
            while tick() == Tick::Early {
                std::thread::yield_now();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_computes_does_not_hold_up_who_serves() {
        let turns = Arc::new(Turns::new(Arc::new(AllAlike)));
        let (asked, serves) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(AtomicUsize::new(0)),
        );
        let server = tokio::spawn({
            let (asked, serves) = (asked.clone(), serves.clone());
            async move {
                asked.notified().await;
                serves.store(1, Ordering::Release);
            }
        });
        let computes = tokio::spawn(async move {
            let guest = async {
                guest(1).await;
                asked.notify_one();
                // The only worker is held here until another thread has served.
                while serves.load(Ordering::Acquire) == 0 {
                    std::thread::yield_now();
                }
            };
            turns.during(pin!(guest)).await;
        });
        computes.await.expect("the guest");
        server.await.expect("the server");
    }

    #[tokio::test]
    async fn a_deadline_ends_who_computes_on_the_only_thread() {
        let turns = Turns::new(Arc::new(AllAlike));
        let endless = pin!(guest(usize::MAX));
        let ended = tokio::time::timeout(std::time::Duration::from_millis(1), turns.during(endless)).await;
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn what_a_guest_computes_between_waits_adds_up() {
        let pieces = async {
            for pieces in 1..100 {
                let began = Instant::now();
                while began.elapsed() < TICK / 8 {
                    std::hint::spin_loop();
                }
                if tick() == Tick::Over {
                    return Some(pieces);
                }
                tokio::task::yield_now().await;
            }
            None
        };
        let pieces = until_over(pin!(pieces)).await.flatten();
        assert!(pieces.is_some_and(|pieces| pieces <= 4), "{pieces:?}");
    }

    #[tokio::test]
    async fn a_guest_that_waits_leaves_its_place() {
        let turns = Turns::new(Arc::new(AllAlike));
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = pin!(async {
            guest(1).await;
            let _ = told.await;
        });
        let mut waiting = pin!(turns.during(waiting));
        let first = tokio::time::timeout(std::time::Duration::from_millis(1), waiting.as_mut()).await;
        assert!(first.is_err());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(turns.places.available_permits(), cores);
        assert!(tell.send(()).is_ok());
        waiting.await;
    }
}
