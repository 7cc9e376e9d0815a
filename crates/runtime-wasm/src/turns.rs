//! Guests that compute give the server's threads back.
//!
//! A call runs where its event came in, on one of the threads that serve everybody, which are as many as processors. One
//! that answers soon is nowhere faster. One that has run into a tick of the epoch goes on beside them: tokio puts another
//! thread in the place of the one that it holds, until the next tick. As many of such go on at once as there are
//! processors, in the order in which they come.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use squall_runtime::Processors;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

thread_local! {
    /// Whether the guest that this thread runs has met a tick.
    static TICKED: Cell<bool> = const { Cell::new(false) };
}

/// To be called at every tick, on the guest's thread.
pub(crate) fn tick() {
    TICKED.set(true);
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

    /// Waits for a call of a guest.
    pub(crate) async fn during<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        if let Some(result) = until_tick(call.as_mut()).await {
            return result;
        }
        let _long = self.processors.begin_long_call();
        loop {
            let place = self.places.acquire().await;
            if let Poll::Ready(result) =
                poll_fn(|context| Poll::Ready(self.beside(call.as_mut(), context))).await
            {
                return result;
            }
            drop(place);
            // At a tick it has woken its task. The task must end its turn all the same: around this are deadlines.
            woken().await;
        }
    }

    /// One turn of the guest, up to a tick or to where it waits.
    fn beside<F: Future>(&self, call: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let turn = || {
            let _computes = Computes::begin(&*self.processors);
            call.poll(context)
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
        processors.this_thread(true);
        Self(processors)
    }
}

impl Drop for Computes<'_> {
    fn drop(&mut self) {
        self.0.this_thread(false);
    }
}

/// The call's result, or `None` at its first tick.
async fn until_tick<F: Future>(mut call: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        TICKED.set(false);
        match call.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if TICKED.get() => Poll::Ready(None),
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::ThreadId;

    use squall_runtime::AllAlike;

    use super::*;

    /// Computes for so many ticks, as a guest does: each gives way to others.
    async fn guest(ticks: usize) -> ThreadId {
        for _ in 0..ticks {
            tick();
            tokio::task::yield_now().await;
        }
        std::thread::current().id()
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
            turns.during(guest).await;
        });
        computes.await.expect("the guest");
        server.await.expect("the server");
    }

    #[tokio::test]
    async fn a_deadline_ends_who_computes_on_the_only_thread() {
        let turns = Turns::new(Arc::new(AllAlike));
        let endless = turns.during(guest(usize::MAX));
        let ended = tokio::time::timeout(std::time::Duration::from_millis(1), endless).await;
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn a_guest_that_waits_leaves_its_place() {
        let turns = Turns::new(Arc::new(AllAlike));
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = turns.during(async {
            guest(1).await;
            let _ = told.await;
        });
        let mut waiting = pin!(waiting);
        let first = tokio::time::timeout(std::time::Duration::from_millis(1), waiting.as_mut()).await;
        assert!(first.is_err());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(turns.places.available_permits(), cores);
        assert!(tell.send(()).is_ok());
        waiting.await;
    }
}
