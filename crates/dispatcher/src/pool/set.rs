//! All pools, and the changes that they go through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use squall_runtime::InstanceId;
use squall_types::{FunctionName, Revision, RevisionId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Effects, Grant, Idle, Member, Pool, Ticket, Waiter};
use crate::start::StartFailure;

/// How many replaced revisions are remembered. A call that resolved just before a replacement may arrive just after
/// it; thousands of replacements never fit in between.
const REPLACED_MAX: usize = 4096;

/// How a call gets an instance.
pub(crate) enum Leased<M> {
    /// At once.
    Now(M),
    /// By waiting.
    Later(Ticket, oneshot::Receiver<Grant<M>>),
    /// Not: the revision was replaced, resolve again.
    Stale,
    /// Not: too many calls of the function wait already.
    Full,
}

/// All pools. Behind the dispatcher's one lock.
pub(crate) struct Pools<M> {
    pub(super) pools: HashMap<RevisionId, Pool<M>>,
    /// Waiting calls by function, over its revisions.
    waiting: HashMap<FunctionName, usize>,
    waiting_max: usize,
    /// Instances that live: starting, idle, busy and stopping.
    pub(super) instances: usize,
    pub(super) instances_max: usize,
    /// Instances that are being stopped; each will make room.
    pub(super) stopping: usize,
    /// Pools that want to start an instance and found no room, in the order in which they get some.
    pub(super) starved: VecDeque<RevisionId>,
    replaced: HashSet<RevisionId>,
    replaced_order: VecDeque<RevisionId>,
    /// Draining: instances that nobody waits for are stopped instead of kept.
    pub(super) closed: bool,
    next_ticket: u64,
}

impl<M: Member> Pools<M> {
    pub(crate) fn new(instances_max: usize, waiting_max: usize) -> Self {
        Self {
            pools: HashMap::new(),
            waiting: HashMap::new(),
            waiting_max,
            instances: 0,
            instances_max: instances_max.max(1),
            stopping: 0,
            starved: VecDeque::new(),
            replaced: HashSet::new(),
            replaced_order: VecDeque::new(),
            closed: false,
            next_ticket: 0,
        }
    }

    /// Leases the instance that was used last, or lets the call wait and begins a start for it.
    pub(crate) fn lease(&mut self, revision: &Arc<Revision>, now: Instant) -> (Leased<M>, Effects<M>) {
        let mut effects = Effects::none();
        let id = revision.id;
        if !self.pools.contains_key(&id) {
            if self.replaced.contains(&id) {
                return (Leased::Stale, effects);
            }
            self.pools.insert(id, Pool::new(revision.clone()));
        }
        let pool = self.pools.get_mut(&id).expect("it was put there above");
        if pool.retired {
            return (Leased::Stale, effects);
        }
        pool.empty_since = None;
        while let Some(Idle { member, .. }) = pool.idle.pop() {
            if member.is_alive() {
                pool.busy += 1;
                return (Leased::Now(member), effects);
            }
            pool.stopping += 1;
            self.stopping += 1;
            effects.stops.push(member);
        }
        let leased = self.wait(revision);
        self.settle(id, now, &mut effects);
        (leased, effects)
    }

    fn wait(&mut self, revision: &Revision) -> Leased<M> {
        let waiting = self.waiting.get(&revision.name).copied().unwrap_or(0);
        if waiting >= self.waiting_max {
            return Leased::Full;
        }
        self.waiting.insert(revision.name.clone(), waiting + 1);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (grant, granted) = oneshot::channel();
        let pool = self.pools.get_mut(&revision.id).expect("the caller made it");
        pool.waiting.push_back(Waiter { ticket, grant });
        Leased::Later(ticket, granted)
    }

    /// Takes a call out of its queue, because its time is over. `false` when it stays: it has been granted something,
    /// or a start is under way for it, whose end answers it.
    pub(crate) fn expire(&mut self, revision: RevisionId, ticket: Ticket, now: Instant) -> bool {
        let Some(pool) = self.pools.get_mut(&revision) else {
            return false;
        };
        let place = pool.waiting.iter().position(|waiter| waiter.ticket == ticket);
        match place {
            Some(place) if place >= pool.starting => {
                pool.waiting.remove(place);
                let name = pool.revision.name.clone();
                self.waited(&name, 1);
                // It wanted an instance and wants none now: that starts nothing, but the pool may be empty.
                self.note_empty(revision, now);
                true
            }
            _ => false,
        }
    }

    /// A start succeeded.
    pub(crate) fn started(&mut self, member: M, now: Instant) -> Effects<M> {
        self.pool(member.revision()).starting -= 1;
        self.offer(member, now)
    }

    /// A start failed and left nothing behind: the first waiting call is told, unless other starts cover all calls.
    /// Gives the failure back when nobody was told.
    pub(crate) fn start_failed(
        &mut self,
        revision: RevisionId,
        failure: StartFailure,
        now: Instant,
    ) -> (Option<StartFailure>, Effects<M>) {
        let mut effects = Effects::none();
        self.instances -= 1;
        self.pool(revision).starting -= 1;
        let mut untold = Some(failure);
        while let Some(failure) = untold.take() {
            let pool = self.pool(revision);
            let uncovered = pool.waiting.len() > pool.starting;
            let waiter = if uncovered { pool.waiting.pop_front() } else { None };
            let Some(waiter) = waiter else {
                untold = Some(failure);
                break;
            };
            let name = pool.revision.name.clone();
            self.waited(&name, 1);
            // A call that is gone cannot be told; the next one is.
            if let Err(Grant::Failed(failure)) = waiter.grant.send(Grant::Failed(failure)) {
                untold = Some(failure);
            }
        }
        self.settle(revision, now, &mut effects);
        (untold, effects)
    }

    /// A lease ended and its instance may run the next event.
    pub(crate) fn give_back(&mut self, member: M, now: Instant) -> Effects<M> {
        let revision = member.revision();
        self.pool(revision).busy -= 1;
        // Only an instance that has served goes: two revisions would else take the last room from each other forever.
        if self.is_owed(revision) {
            let mut effects = Effects::none();
            self.stop(member, &mut effects);
            self.start_wanted(revision, &mut effects);
            return effects;
        }
        self.offer(member, now)
    }

    /// A lease ended and its instance may not be used again.
    pub(crate) fn discard(&mut self, member: M) -> Effects<M> {
        let mut effects = Effects::none();
        self.pool(member.revision()).busy -= 1;
        self.stop(member, &mut effects);
        effects
    }

    /// An instance ended by itself. It is taken out if it was idle; a busy one's lease notices on its own.
    pub(crate) fn died(&mut self, revision: RevisionId, id: InstanceId) -> Effects<M> {
        let mut effects = Effects::none();
        if let Some(pool) = self.pools.get_mut(&revision)
            && let Some(place) = pool.idle.iter().position(|idle| idle.member.id() == id)
        {
            let dead = pool.idle.remove(place).member;
            self.stop(dead, &mut effects);
        }
        effects
    }

    /// A stop ended: there is room for another instance.
    pub(crate) fn stopped(&mut self, revision: RevisionId, now: Instant) -> Effects<M> {
        let mut effects = Effects::none();
        self.pool(revision).stopping -= 1;
        self.stopping -= 1;
        self.instances -= 1;
        self.settle(revision, now, &mut effects);
        effects
    }

    /// The revision was replaced: nothing is leased any more, idle instances stop, waiting calls resolve again.
    pub(crate) fn retire(&mut self, revision: RevisionId, now: Instant) -> Effects<M> {
        let mut effects = Effects::none();
        self.remember_replaced(revision);
        let Some(pool) = self.pools.get_mut(&revision) else {
            effects.retires.push(revision);
            return effects;
        };
        pool.retired = true;
        let name = pool.revision.name.clone();
        let idle = std::mem::take(&mut pool.idle);
        let stale = std::mem::take(&mut pool.waiting);
        self.waited(&name, stale.len());
        for waiter in stale {
            // A call that is gone needs no answer.
            let _ = waiter.grant.send(Grant::Stale);
        }
        for Idle { member, .. } in idle {
            self.stop(member, &mut effects);
        }
        self.settle(revision, now, &mut effects);
        effects
    }

    /// What a revision's instances share has been freed.
    pub(crate) fn rested(&mut self, revision: RevisionId, now: Instant) -> Effects<M> {
        let mut effects = Effects::none();
        let pool = self.pool(revision);
        pool.resting = false;
        if pool.is_empty() && !pool.retired {
            self.pools.remove(&revision);
        } else {
            self.settle(revision, now, &mut effects);
        }
        effects
    }

    /// From now on no instance is kept idle.
    pub(crate) fn close(&mut self) -> Effects<M> {
        let mut effects = Effects::none();
        self.closed = true;
        let all = self.pools.values_mut();
        let idle: Vec<_> = all.flat_map(|pool| pool.idle.drain(..)).collect();
        for Idle { member, .. } in idle {
            self.stop(member, &mut effects);
        }
        effects
    }

    /// Gives a usable instance to the first call that waits, or keeps it idle.
    fn offer(&mut self, mut member: M, now: Instant) -> Effects<M> {
        let mut effects = Effects::none();
        let revision = member.revision();
        let closed = self.closed;
        let pool = self.pool(revision);
        if pool.retired || !member.is_alive() {
            self.stop(member, &mut effects);
            self.start_wanted(revision, &mut effects);
            return effects;
        }
        while let Some(waiter) = self.pool(revision).waiting.pop_front() {
            let pool = self.pool(revision);
            pool.busy += 1;
            let name = pool.revision.name.clone();
            self.waited(&name, 1);
            match waiter.grant.send(Grant::Instance(member)) {
                // That call is gone; the next one may have it.
                Err(Grant::Instance(returned)) => {
                    member = returned;
                    self.pool(revision).busy -= 1;
                }
                _ => return effects,
            }
        }
        if closed {
            self.stop(member, &mut effects);
        } else {
            let idle = Idle { member, since: now };
            self.pool(revision).idle.push(idle);
            self.make_room(&mut effects);
        }
        effects
    }

    /// Hands an instance out to be stopped.
    pub(super) fn stop(&mut self, member: M, effects: &mut Effects<M>) {
        self.pool(member.revision()).stopping += 1;
        self.stopping += 1;
        effects.stops.push(member);
    }

    /// After a change of what a pool wants or has: uses the room, and notices a pool that is empty.
    fn settle(&mut self, revision: RevisionId, now: Instant, effects: &mut Effects<M>) {
        self.start_wanted(revision, effects);
        self.feed_starved(effects);
        let pool = self.pool(revision);
        if pool.is_empty() && pool.retired && !pool.resting {
            self.pools.remove(&revision);
            effects.retires.push(revision);
        } else {
            self.note_empty(revision, now);
        }
    }

    fn note_empty(&mut self, revision: RevisionId, now: Instant) {
        let pool = self.pool(revision);
        if pool.is_empty() {
            pool.empty_since.get_or_insert(now);
        }
    }

    pub(super) fn pool(&mut self, revision: RevisionId) -> &mut Pool<M> {
        self.pools
            .get_mut(&revision)
            .expect("a pool stays while anything of it lives")
    }

    fn waited(&mut self, name: &FunctionName, calls: usize) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            *waiting -= calls;
            if *waiting == 0 {
                self.waiting.remove(name);
            }
        }
    }

    fn remember_replaced(&mut self, revision: RevisionId) {
        if self.replaced.insert(revision) {
            self.replaced_order.push_back(revision);
        }
        if self.replaced_order.len() > REPLACED_MAX
            && let Some(oldest) = self.replaced_order.pop_front()
        {
            self.replaced.remove(&oldest);
        }
    }
}
