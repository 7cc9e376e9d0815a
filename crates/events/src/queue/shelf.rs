//! The order of one queue's messages, in memory: who waits, who is hidden until when, who is being worked on.
//!
//! Pure: no I/O and no clock of its own, times are milliseconds that the caller gives. The engine writes to the store
//! what it is told here. A message of a FIFO queue also stands in its group: nothing of a group is given out while
//! something of it is being worked on, and only from its front.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::record::Place;

/// What can be done with a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not written yet. It has its place in its group already.
    Pending,
    /// Can be received.
    Ready,
    /// Was sent with a delay.
    Delayed(u64),
    /// Was received, and is hidden until then.
    InFlight(u64),
    /// Is being removed, or carried to another queue.
    Leaving,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) sent_ms: u64,
    pub(super) receive_count: u32,
    pub(super) first_received_ms: u64,
    pub(super) bytes: u32,
    pub(super) group: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Group {
    /// Everything but what is in flight or leaving.
    waiting: BTreeSet<u64>,
    busy: usize,
    /// Under which number it stands among the ready groups.
    ready_at: Option<u64>,
}

/// What was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// To be given out: they are in flight now.
    pub(super) delivered: Vec<(u64, Entry)>,
    /// Received too often: they are leaving now.
    pub(super) dead: Vec<u64>,
}

/// How to take messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
    /// For how long they are hidden.
    pub(super) visibility_ms: u64,
    /// How often a message may be received before it is dead.
    pub(super) receive_count_max: Option<u32>,
    /// All from one group.
    pub(super) one_group: bool,
}

/// Counts that SQS shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// `ApproximateNumberOfMessages`.
    pub ready: usize,
    /// `ApproximateNumberOfMessagesNotVisible`.
    pub in_flight: usize,
    /// `ApproximateNumberOfMessagesDelayed`.
    pub delayed: usize,
}

/// One queue's order.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    entries: BTreeMap<u64, Entry>,
    /// What can be received, of messages without order.
    ready: BTreeSet<u64>,
    groups: HashMap<Arc<str>, Group>,
    ready_groups: BTreeMap<u64, Arc<str>>,
    /// When something becomes visible.
    later: BTreeSet<(u64, u64)>,
    counts: Counts,
    fifo: bool,
}

impl Shelf {
    pub(super) fn new(fifo: bool) -> Self {
        Self {
            fifo,
            ..Self::default()
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.fifo
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    /// Adds a message.
    pub(super) fn insert(&mut self, sequence: u64, place: &Place, state: State) {
        let group = self.fifo.then(|| Arc::from(place.group.as_deref().unwrap_or("")));
        let entry = Entry {
            state,
            sent_ms: place.sent_ms,
            receive_count: place.receive_count,
            first_received_ms: place.first_received_ms,
            bytes: place.bytes,
            group,
        };
        self.entries.insert(sequence, entry);
        self.link(sequence);
    }

    /// Moves a message from one state to another. What is not there is left so.
    pub(super) fn set(&mut self, sequence: u64, state: State) {
        self.unlink(sequence);
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.state = state;
            self.link(sequence);
        }
    }

    /// Forgets a message.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        self.unlink(sequence);
        let removed = self.entries.remove(&sequence);
        if let Some(group) = removed.as_ref().and_then(|entry| entry.group.as_ref()) {
            self.refresh(&group.clone());
        }
        removed
    }

    /// What was received and could not be given out goes back as if nobody had received it.
    pub(super) fn give_back(&mut self, sequence: u64, receive_count: u32) {
        if let Some(entry) = self.entries.get_mut(&sequence)
            && entry.receive_count == receive_count
            && matches!(entry.state, State::InFlight(_))
        {
            entry.receive_count -= 1;
            self.set(sequence, State::Ready);
        }
    }

    /// Makes visible what is due.
    pub(super) fn advance(&mut self, now: u64) {
        while let Some((due, sequence)) = self.later.first().copied()
            && due <= now
        {
            self.set(sequence, State::Ready);
        }
    }

    /// When something becomes visible by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.later.first().map(|(due, _)| *due)
    }

    /// Whether something can be received.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.ready_groups.is_empty()
    }

    /// Takes what can be received now, in order.
    pub(super) fn take(&mut self, now: u64, wish: Wish) -> Taken {
        self.advance(now);
        let mut taken = Taken::default();
        let mut bytes = 0;
        loop {
            let room = wish.messages_max - taken.delivered.len();
            let next = if self.fifo {
                self.front_of_next_group(room)
            } else {
                self.ready.first().copied().into_iter().collect()
            };
            if room == 0 || next.is_empty() {
                return taken;
            }
            for sequence in next {
                let entry = &self.entries[&sequence];
                if wish
                    .receive_count_max
                    .is_some_and(|max| entry.receive_count >= max)
                {
                    self.set(sequence, State::Leaving);
                    taken.dead.push(sequence);
                    continue;
                }
                bytes += entry.bytes as usize;
                if bytes > wish.bytes_max && !taken.delivered.is_empty() {
                    return taken;
                }
                taken
                    .delivered
                    .push((sequence, self.deliver(sequence, now, wish)));
            }
            if wish.one_group && self.fifo && !taken.delivered.is_empty() {
                return taken;
            }
        }
    }

    fn front_of_next_group(&self, messages_max: usize) -> Vec<u64> {
        let Some(name) = self.ready_groups.values().next() else {
            return Vec::new();
        };
        let waiting = self.groups[name].waiting.iter().copied();
        waiting
            .take_while(|sequence| self.entries[sequence].state == State::Ready)
            .take(messages_max)
            .collect()
    }

    fn deliver(&mut self, sequence: u64, now: u64, wish: Wish) -> Entry {
        self.set(sequence, State::InFlight(now + wish.visibility_ms));
        let entry = self.entries.get_mut(&sequence).expect("it was just found");
        entry.receive_count += 1;
        if entry.first_received_ms == 0 {
            entry.first_received_ms = now;
        }
        entry.clone()
    }

    /// When the oldest message was sent that is written and not leaving.
    pub(super) fn oldest_sent_ms(&self) -> Option<u64> {
        let mut written = self.entries.values();
        let oldest = written.find(|entry| !matches!(entry.state, State::Pending | State::Leaving));
        oldest.map(|entry| entry.sent_ms)
    }

    /// What was sent before, and is not being worked on.
    pub(super) fn sent_before(&self, ms: u64, messages_max: usize) -> Vec<u64> {
        let old = self.entries.iter().take_while(|(_, entry)| entry.sent_ms < ms);
        old.filter(|(_, entry)| matches!(entry.state, State::Ready | State::Delayed(_)))
            .map(|(sequence, _)| *sequence)
            .take(messages_max)
            .collect()
    }

    /// Everything that is written and not leaving already: to be removed.
    pub(super) fn removable(&self) -> Vec<u64> {
        let all = self.entries.iter();
        all.filter(|(_, entry)| !matches!(entry.state, State::Pending | State::Leaving))
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    fn link(&mut self, sequence: u64) {
        let entry = &self.entries[&sequence];
        match entry.state {
            State::Ready => self.counts.ready += 1,
            State::Delayed(until) => {
                self.counts.delayed += 1;
                self.later.insert((until, sequence));
            }
            State::InFlight(until) => {
                self.counts.in_flight += 1;
                self.later.insert((until, sequence));
            }
            State::Pending | State::Leaving => {}
        }
        let state = entry.state;
        let Some(name) = entry.group.clone() else {
            if state == State::Ready {
                self.ready.insert(sequence);
            }
            return;
        };
        let group = self.groups.entry(name.clone()).or_default();
        match state {
            State::InFlight(_) | State::Leaving => group.busy += 1,
            State::Pending | State::Ready | State::Delayed(_) => {
                group.waiting.insert(sequence);
            }
        }
        self.refresh(&name);
    }

    fn unlink(&mut self, sequence: u64) {
        let Some(entry) = self.entries.get(&sequence) else {
            return;
        };
        match entry.state {
            State::Ready => self.counts.ready -= 1,
            State::Delayed(until) => {
                self.counts.delayed -= 1;
                self.later.remove(&(until, sequence));
            }
            State::InFlight(until) => {
                self.counts.in_flight -= 1;
                self.later.remove(&(until, sequence));
            }
            State::Pending | State::Leaving => {}
        }
        let state = entry.state;
        let Some(name) = &entry.group else {
            self.ready.remove(&sequence);
            return;
        };
        if let Some(group) = self.groups.get_mut(name) {
            match state {
                State::InFlight(_) | State::Leaving => group.busy -= 1,
                State::Pending | State::Ready | State::Delayed(_) => {
                    group.waiting.remove(&sequence);
                }
            }
        }
    }

    /// Puts a group among the ready ones, or takes it out; one without messages is forgotten.
    fn refresh(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        if let Some(at) = group.ready_at.take() {
            self.ready_groups.remove(&at);
        }
        let head = group.waiting.first().copied();
        let is_ready = |sequence: &u64| {
            self.entries
                .get(sequence)
                .is_some_and(|e| e.state == State::Ready)
        };
        match head.filter(is_ready) {
            Some(head) if group.busy == 0 => {
                group.ready_at = Some(head);
                self.ready_groups.insert(head, name.clone());
            }
            None if head.is_none() && group.busy == 0 => {
                self.groups.remove(name);
            }
            _ => {}
        }
    }
}
