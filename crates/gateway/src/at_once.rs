//! A future that is polled again at once when it wakes itself while it is polled.
//!
//! A connection does so for every body, because hyper reads more only after the handler has asked for it. A task that
//! wakes itself goes to the end of its thread's queue, and another thread is woken to steal it: a system call, and on a
//! quiet machine an idle processor's wake-up, for work that is done before that thread has come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// So often before others get their turn.
const POLLS_MAX: usize = 8;

const WAITING: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// What [`at_once`] makes.
pub(crate) struct AtOnce<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What the future wakes.
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

/// `future`, polled as said above.
pub(crate) fn at_once<F: Future>(future: F) -> AtOnce<F> {
    let bell = Arc::new(Bell {
        state: AtomicU8::new(WAITING),
        task: AtomicWaker::new(),
    });
    AtOnce {
        future: Box::pin(future),
        waker: Waker::from(bell.clone()),
        bell,
    }
}

impl<F: Future> Future for AtOnce<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.bell.task.register(context.waker());
        for _ in 0..POLLS_MAX {
            this.bell.state.store(POLLED, Ordering::Release);
            let polled = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
            if polled.is_ready() || this.bell.rests() {
                return polled;
            }
        }
        this.bell.state.store(WAITING, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Bell {
    /// Whether nothing has woken the future while it was polled; from then on the task is woken.
    fn rests(&self) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.state
            .compare_exchange(POLLED, WAITING, success, failure)
            .is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let note = |state| (state != WAITING).then_some(WOKEN);
        if self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, note)
            .is_err()
        {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    //! The wake-ups that the task sees.

    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future>(future: &mut AtOnce<F>, count: &Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(count.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// Pending `times` times, and wakes itself each time.
    fn self_waking(times: usize) -> impl Future<Output = usize> {
        let mut polls = 0;
        poll_fn(move |context| {
            if polls == times {
                return Poll::Ready(polls);
            }
            polls += 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_on_and_the_task_is_not_woken() {
        let count = Arc::default();
        assert_eq!(poll(&mut at_once(self_waking(3)), &count), Poll::Ready(3));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_future_that_wakes_itself_without_end_gives_others_their_turn() {
        let (mut future, count) = (at_once(self_waking(POLLS_MAX + 1)), Arc::default());
        assert_eq!(poll(&mut future, &count), Poll::Pending);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut future, &count), Poll::Ready(POLLS_MAX + 1));
    }

    #[test]
    fn a_wake_up_between_polls_reaches_the_task_that_polled_last() {
        let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
        let own = kept.clone();
        let mut future = at_once(poll_fn(move |context| {
            *own.lock().expect("one thread") = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        let (first, last) = (Arc::default(), Arc::default());
        assert_eq!(poll(&mut future, &first), Poll::Pending);
        assert_eq!(poll(&mut future, &last), Poll::Pending);
        kept.lock().expect("one thread").take().expect("a waker").wake();
        assert_eq!(first.0.load(Ordering::SeqCst), 0);
        assert_eq!(last.0.load(Ordering::SeqCst), 1);
    }
}
