//! Where a function of a run should run: beside the cache that holds most of the keys it refers to.
//!
//! After Cloudburst's scheduler: a busy cache is passed over, so that hot keys come to be held by others too, and one
//! request in five goes anywhere, which finds out about caches that nobody would have chosen.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One request in this many goes to a cache chosen by chance.
const RANDOM_ONE_IN: u64 = 5;
/// A cache with so many functions running beside it, and twice as many as the average, is busy.
const BUSY_MIN: usize = 4;

/// Chooses caches, and counts what runs beside each.
#[derive(Debug)]
pub(crate) struct Places {
    running: Vec<AtomicUsize>,
    dice: AtomicU64,
}

/// A function runs beside a cache until this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) cache: u16,
    running: &'a AtomicUsize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    pub(crate) fn new(caches: u16, seed: u64) -> Self {
        Self {
            running: (0..caches.max(1)).map(|_| AtomicUsize::new(0)).collect(),
            dice: AtomicU64::new(seed),
        }
    }

    /// Chooses for a function that refers to keys, of which each cache holds as many as `held` says.
    pub(crate) fn choose(&self, held: &[usize]) -> Place<'_> {
        let cache = self.pick(held);
        let running = &self.running[cache];
        running.fetch_add(1, Ordering::Relaxed);
        Place {
            cache: u16::try_from(cache).unwrap_or(u16::MAX),
            running,
        }
    }

    fn pick(&self, held: &[usize]) -> usize {
        let count = self.running.len();
        if count == 1 {
            return 0;
        }
        let dice = self.roll();
        let by_chance = usize::try_from(dice >> 33).unwrap_or(0) % count;
        if dice.is_multiple_of(RANDOM_ONE_IN) {
            return by_chance;
        }
        let load: Vec<usize> = self
            .running
            .iter()
            .map(|running| running.load(Ordering::Relaxed))
            .collect();
        let total: usize = load.iter().sum();
        let is_busy = |cache: &usize| load[*cache] >= BUSY_MIN && load[*cache] * count >= 2 * total;
        let held = |cache: &usize| held.get(*cache).copied().unwrap_or(0);
        let idle = (0..count).filter(|cache| !is_busy(cache));
        // Of those that hold most, one by chance: else the first would get everything that nobody holds.
        let best = idle.max_by_key(|cache| (held(cache), (cache + count - by_chance) % count));
        best.unwrap_or(by_chance)
    }

    /// SplitMix64: chance enough to spread work.
    fn roll(&self) -> u64 {
        let state = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of four caches is chosen in a thousand, one after the other.
    fn shares(places: &Places, held: &[usize]) -> Vec<usize> {
        let mut shares = vec![0; 4];
        for _ in 0..1000 {
            shares[usize::from(places.choose(held).cache)] += 1;
        }
        shares
    }

    #[test]
    fn the_cache_that_holds_most_gets_most_and_the_others_a_random_share() {
        let shares = shares(&Places::new(4, 1), &[1, 7, 3, 0]);
        assert!(shares[1] > 800, "{shares:?}");
        assert!(shares.iter().all(|share| *share > 20), "{shares:?}");
    }

    #[test]
    fn what_nobody_holds_goes_everywhere() {
        let shares = shares(&Places::new(4, 1), &[0, 0, 0, 0]);
        assert!(shares.iter().all(|share| *share > 150), "{shares:?}");
    }

    #[test]
    fn a_busy_cache_is_passed_over_so_that_a_hot_key_spreads() {
        let places = Places::new(4, 1);
        let running: Vec<Place<'_>> = (0..40).map(|_| places.choose(&[0, 9, 0, 0])).collect();
        let beside = |cache| running.iter().filter(|place| place.cache == cache).count();
        assert!(beside(1) < 30, "{} of 40", beside(1));
        assert!([0, 2, 3].into_iter().all(|cache| beside(cache) > 0));
    }
}
