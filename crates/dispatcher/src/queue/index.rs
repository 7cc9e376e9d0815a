//! Which accepted events there are, and which runs next. In memory only, without payloads; pure.
//!
//! Functions take turns, one event each, so that a function with many events does not hold up the others.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use squall_types::FunctionName;
use tokio::time::Instant;

/// An event that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Names its record.
    pub(crate) sequence: u64,
    /// When it is dropped instead of run.
    pub(crate) expires: Instant,
    /// How long it is kept from its acceptance, or from its end, to `expires`.
    pub(crate) age_max: Duration,
    /// How often in a row it could not be run, through no fault of the function.
    pub(crate) backoffs: u8,
    /// Why the newest attempt did not begin.
    pub(crate) refusal: Option<&'static str>,
}

impl Item {
    /// Changes how long it is kept, counted from when it was before.
    pub(crate) fn live_for(&mut self, age_max: Duration) {
        let longer = age_max.saturating_sub(self.age_max);
        let shorter = self.age_max.saturating_sub(age_max);
        let expires = (self.expires + longer).checked_sub(shorter);
        self.expires = expires.unwrap_or(self.expires);
        self.age_max = age_max;
    }
}

/// The bounds.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) per_function_max: usize,
    pub(crate) total_max: usize,
    pub(crate) running_per_function_max: usize,
    pub(crate) running_max: usize,
}

#[derive(Debug, Default)]
struct Events {
    ready: VecDeque<Item>,
    running: usize,
    /// Accepted and not done: ready, delayed, running, or about to be written.
    total: usize,
    /// Whether it is in the row of those that take turns.
    in_turn: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Index {
    bounds: Bounds,
    functions: HashMap<FunctionName, Events>,
    delayed: BTreeMap<(Instant, u64), (FunctionName, Item)>,
    turn: VecDeque<FunctionName>,
    running: usize,
    total: usize,
}

impl Index {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            functions: HashMap::new(),
            delayed: BTreeMap::new(),
            turn: VecDeque::new(),
            running: 0,
            total: 0,
        }
    }

    /// Keeps a place for an event that is about to be written; `false` when there is none.
    pub(crate) fn reserve(&mut self, name: &FunctionName) -> bool {
        let own = self.functions.get(name).map_or(0, |events| events.total);
        if own >= self.bounds.per_function_max || self.total >= self.bounds.total_max {
            return false;
        }
        self.hold(name);
        true
    }

    /// Counts an event in, whatever the bounds say: it was accepted before.
    pub(crate) fn hold(&mut self, name: &FunctionName) {
        self.functions.entry(name.clone()).or_default().total += 1;
        self.total += 1;
    }

    /// Counts an event out that is in no row.
    pub(crate) fn release(&mut self, name: &FunctionName) {
        self.total -= 1;
        let events = self.events(name);
        events.total -= 1;
        if events.total == 0 && !events.in_turn {
            self.functions.remove(name);
        }
    }

    /// Puts an event that was counted in into the row.
    pub(crate) fn insert(&mut self, name: &FunctionName, item: Item, due: Instant, now: Instant) {
        if due > now {
            let key = (due, item.sequence);
            self.delayed.insert(key, (name.clone(), item));
        } else {
            self.events(name).ready.push_back(item);
            self.take_turn(name);
        }
    }

    /// The event to run next, which counts as running from now on.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(FunctionName, Item)> {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let (name, item) = entry.remove();
            self.events(&name).ready.push_back(item);
            self.take_turn(&name);
        }
        if self.running >= self.bounds.running_max {
            return None;
        }
        while let Some(name) = self.turn.pop_front() {
            let events = self.events(&name);
            events.in_turn = false;
            if let Some(item) = events.ready.pop_front() {
                events.running += 1;
                self.running += 1;
                self.take_turn(&name);
                return Some((name, item));
            }
            if events.total == 0 {
                self.functions.remove(&name);
            }
        }
        None
    }

    /// An event does not run any more. It is still counted in: insert or release it next.
    pub(crate) fn ended(&mut self, name: &FunctionName) {
        self.running -= 1;
        self.events(name).running -= 1;
        self.take_turn(name);
    }

    /// When the next delayed event is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes all events of a function out that do not run. They are still counted in.
    pub(crate) fn take_all(&mut self, name: &FunctionName) -> Vec<Item> {
        let ready = self
            .functions
            .get_mut(name)
            .map(|events| std::mem::take(&mut events.ready));
        let mut items: Vec<Item> = ready.into_iter().flatten().collect();
        self.delayed.retain(|_, (of, item)| {
            let is_taken = of == name;
            if is_taken {
                items.push(item.clone());
            }
            !is_taken
        });
        items
    }

    /// When an event that waits is due, and why its newest attempt did not begin.
    pub(crate) fn look_up(&self, sequence: u64) -> Option<(Instant, Option<&'static str>)> {
        let mut delayed = self.delayed.iter().filter(|((_, of), _)| *of == sequence);
        delayed.next().map(|((due, _), (_, item))| (*due, item.refusal))
    }

    /// For each function the number of its events, and the age of the oldest of those that wait.
    pub(crate) fn counts(&self, now: Instant) -> Vec<(&FunctionName, usize, Option<Duration>)> {
        let mut oldest: HashMap<&FunctionName, Duration> = HashMap::new();
        let ready = self.functions.iter().flat_map(|(name, events)| {
            let items = events.ready.iter();
            items.map(move |item| (name, item))
        });
        let delayed = self.delayed.values().map(|(name, item)| (name, item));
        for (name, item) in ready.chain(delayed) {
            let age = item
                .age_max
                .saturating_sub(item.expires.saturating_duration_since(now));
            let known = oldest.entry(name).or_insert(age);
            *known = age.max(*known);
        }
        let all = self.functions.iter();
        all.map(|(name, events)| (name, events.total, oldest.get(name).copied()))
            .collect()
    }

    fn take_turn(&mut self, name: &FunctionName) {
        let limit = self.bounds.running_per_function_max;
        let events = self.events(name);
        if !events.in_turn && !events.ready.is_empty() && events.running < limit {
            events.in_turn = true;
            self.turn.push_back(name.clone());
        }
    }

    fn events(&mut self, name: &FunctionName) -> &mut Events {
        self.functions
            .get_mut(name)
            .expect("a function stays while an event of it is counted in or has its turn")
    }
}
