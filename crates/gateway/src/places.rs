//! Places for connections, bounded: when all are taken, the connection that has been idle longest gives up its own.
//!
//! So whoever only holds connections open keeps nobody out. One that is being answered never gives up its place, and
//! none does in its first second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An idle connection keeps its place for so long, whoever waits.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// A seat's state; anything else is the millisecond since which it is idle, from 1 on.
const BUSY: u64 = 0;
const GIVEN_UP: u64 = u64::MAX;

/// All places.
#[derive(Clone)]
pub(crate) struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    places_max: usize,
    stop: CancellationToken,
    begun: Instant,
    seats: Mutex<Seats>,
    freed: Notify,
}

#[derive(Default)]
struct Seats {
    last: u64,
    taken: HashMap<u64, Arc<Seat>>,
}

struct Seat {
    state: AtomicU64,
    /// A child of the server's own: whoever holds the place waits for one thing, at every turn of a request.
    leave: CancellationToken,
}

/// Why a connection is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The server ends.
    Stopped,
    /// Somebody else needs the place more.
    GivenUp,
}

/// A connection's place; free again when it is dropped. Idle at first.
pub(crate) struct Place {
    inner: Arc<Inner>,
    number: u64,
    seat: Arc<Seat>,
}

/// A request that is being answered: until it is dropped, its connection keeps its place.
pub(crate) struct Busy {
    inner: Arc<Inner>,
    seat: Arc<Seat>,
}

impl Places {
    /// Places of a server, until it ends.
    pub(crate) fn new(places_max: usize, stop: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                places_max,
                stop,
                begun: Instant::now(),
                seats: Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Waits for a place; asks the longest idle connection to give up its own where there is no free one.
    pub(crate) async fn take(&self) -> Place {
        loop {
            if let Some(place) = self.take_free() {
                return place;
            }
            self.inner.give_up_longest_idle();
            // One may have become idle meanwhile.
            let _ = tokio::time::timeout(IDLE_MIN, self.inner.freed.notified()).await;
        }
    }

    fn take_free(&self) -> Option<Place> {
        let mut seats = self.inner.seats();
        if seats.taken.len() >= self.inner.places_max {
            return None;
        }
        let seat = Arc::new(Seat {
            state: AtomicU64::new(self.inner.now()),
            leave: self.inner.stop.child_token(),
        });
        seats.last += 1;
        let number = seats.last;
        seats.taken.insert(number, seat.clone());
        Some(Place {
            inner: self.inner.clone(),
            number,
            seat,
        })
    }
}

impl Inner {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        1 + u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn give_up_longest_idle(&self) {
        let idle_before = self
            .now()
            .saturating_sub(u64::try_from(IDLE_MIN.as_millis()).unwrap_or(u64::MAX));
        let seats = self.seats();
        let idle = seats.taken.values().filter_map(|seat| {
            let since = seat.state.load(Ordering::Relaxed);
            (since != BUSY && since <= idle_before).then_some((since, seat))
        });
        if let Some((since, seat)) = idle.min_by_key(|(since, _)| *since) {
            let given_up = seat
                .state
                .compare_exchange(since, GIVEN_UP, Ordering::AcqRel, Ordering::Relaxed);
            if given_up.is_ok() {
                seat.leave.cancel();
            }
        }
    }
}

impl Place {
    /// A request begins; `None` where the place was given up a moment ago.
    pub(crate) fn begin(&self) -> Option<Busy> {
        let begun = self
            .seat
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                (state != GIVEN_UP).then_some(BUSY)
            });
        begun.is_ok().then(|| Busy {
            inner: self.inner.clone(),
            seat: self.seat.clone(),
        })
    }

    /// Waits until the connection is to leave.
    pub(crate) async fn leave(&self) -> Leave {
        self.seat.leave.cancelled().await;
        match self.inner.stop.is_cancelled() {
            true => Leave::Stopped,
            false => Leave::GivenUp,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.state.store(self.inner.now(), Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.seats().taken.remove(&self.number);
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    //! Who gives up a place, and who does not.

    use super::*;

    fn places(places_max: usize) -> Places {
        Places::new(places_max, CancellationToken::new())
    }

    async fn is_given_up(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.leave()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_gives_up_and_the_busy_does_not() {
        let places = places(3);
        let busy = places.take().await;
        let request = busy.begin().expect("it has its place");
        let first = places.take().await;
        tokio::time::advance(Duration::from_millis(10)).await;
        let second = places.take().await;
        let waiting = places.clone();
        let waiting = tokio::spawn(async move { waiting.take().await });
        assert_eq!(first.leave().await, Leave::GivenUp);
        assert!(!is_given_up(&busy).await && !is_given_up(&second).await);
        assert!(first.begin().is_none(), "what was given up begins nothing");
        drop(first);
        let _third = waiting.await.expect("it has a place");
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gives_up_while_all_are_busy_and_an_answer_makes_one_idle() {
        let places = places(1);
        let only = places.take().await;
        let request = only.begin().expect("it has its place");
        let waiting = places.clone();
        let waiting = tokio::spawn(async move { waiting.take().await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!is_given_up(&only).await);
        drop(request);
        let answered = Instant::now();
        assert_eq!(only.leave().await, Leave::GivenUp);
        assert!(answered.elapsed() >= IDLE_MIN, "{:?}", answered.elapsed());
        drop(only);
        waiting.await.expect("it has a place");
    }

    #[tokio::test]
    async fn all_leave_when_the_server_ends() {
        let stop = CancellationToken::new();
        let place = Places::new(1, stop.clone()).take().await;
        stop.cancel();
        assert_eq!(place.leave().await, Leave::Stopped);
    }
}
