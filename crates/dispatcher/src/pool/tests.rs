//! Random histories of the pools, against what must always hold.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use squall_runtime::InstanceId;
use squall_types::{Revision, RevisionId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Effects, Grant, Leased, Member, Pools, Ticket};
use crate::start::{StartCause, StartFailure};
use crate::tests::fake::revision;

const WAITING_MAX: usize = 6;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Token {
    id: InstanceId,
    revision: RevisionId,
    is_alive: Arc<AtomicBool>,
}

impl Member for Token {
    fn id(&self) -> InstanceId {
        self.id
    }

    fn revision(&self) -> RevisionId {
        self.revision
    }

    fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Call(usize),
    StartOk(usize),
    StartFail(usize),
    GiveBack(usize),
    Discard(usize),
    Die(usize),
    StopEnds(usize),
    RestEnds(usize),
    Expire(usize),
    Replace(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..8usize;
    prop_oneof![
        6 => (0..3usize).prop_map(Step::Call),
        4 => any.clone().prop_map(Step::StartOk),
        1 => any.clone().prop_map(Step::StartFail),
        4 => any.clone().prop_map(Step::GiveBack),
        1 => any.clone().prop_map(Step::Discard),
        1 => any.clone().prop_map(Step::Die),
        3 => any.clone().prop_map(Step::StopEnds),
        1 => any.clone().prop_map(Step::RestEnds),
        1 => any.prop_map(Step::Expire),
        1 => (0..3usize).prop_map(Step::Replace),
        2 => (0..15u64).prop_map(Step::Pass),
    ]
}

struct Caller {
    revision: RevisionId,
    ticket: Ticket,
    granted: oneshot::Receiver<Grant<Token>>,
}

/// The world around the pools: carries out effects when told to, and keeps its own books.
struct World {
    pools: Pools<Token>,
    now: Instant,
    /// What each of three functions runs now.
    current: Vec<Arc<Revision>>,
    replaced: BTreeSet<RevisionId>,
    retired: BTreeSet<RevisionId>,
    starting: Vec<Arc<Revision>>,
    busy: Vec<Token>,
    stopping: Vec<Token>,
    resting: Vec<RevisionId>,
    callers: Vec<Caller>,
    alive: BTreeMap<InstanceId, Arc<AtomicBool>>,
}

fn failure() -> StartFailure {
    StartFailure {
        cause: StartCause::Platform("no".into()),
        stream: "s".into(),
        lines: Vec::new(),
        duration: Duration::ZERO,
    }
}

impl World {
    fn new(instances_max: usize) -> Self {
        let names = ["a", "b", "c"];
        let current = names.map(|name| Arc::new(revision(name, Duration::from_secs(3))));
        Self {
            pools: Pools::new(instances_max, WAITING_MAX),
            now: Instant::now(),
            current: current.to_vec(),
            replaced: BTreeSet::new(),
            retired: BTreeSet::new(),
            starting: Vec::new(),
            busy: Vec::new(),
            stopping: Vec::new(),
            resting: Vec::new(),
            callers: Vec::new(),
            alive: BTreeMap::new(),
        }
    }

    fn waiting(&self, revision: RevisionId) -> usize {
        self.callers
            .iter()
            .filter(|caller| caller.revision == revision)
            .count()
    }

    fn step(&mut self, step: &Step) {
        let effects = match step {
            Step::Call(function) => self.call(*function),
            Step::StartOk(index) => take(&mut self.starting, *index).map(|revision| self.started(&revision)),
            Step::StartFail(index) => take(&mut self.starting, *index)
                .map(|revision| self.pools.start_failed(revision.id, failure(), self.now).1),
            Step::GiveBack(index) => {
                take(&mut self.busy, *index).map(|token| self.pools.give_back(token, self.now))
            }
            Step::Discard(index) => take(&mut self.busy, *index).map(|token| self.pools.discard(token)),
            Step::Die(index) => self.die(*index),
            Step::StopEnds(index) => {
                take(&mut self.stopping, *index).map(|token| self.pools.stopped(token.revision, self.now))
            }
            Step::RestEnds(index) => {
                take(&mut self.resting, *index).map(|revision| self.pools.rested(revision, self.now))
            }
            Step::Expire(index) => self.expire(*index),
            Step::Replace(function) => Some(self.replace(*function)),
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(*seconds);
                Some(self.pools.reap(self.now, IDLE_TIMEOUT).0)
            }
        };
        if let Some(effects) = effects {
            self.note(effects);
        }
        self.collect();
        self.check();
    }

    fn call(&mut self, function: usize) -> Option<Effects<Token>> {
        let revision = self.current[function].clone();
        let (leased, effects) = self.pools.lease(&revision, self.now);
        match leased {
            Leased::Now(token) => self.lease(token),
            Leased::Later(ticket, granted) => self.callers.push(Caller {
                revision: revision.id,
                ticket,
                granted,
            }),
            Leased::Stale => panic!("the current revision is never stale"),
            Leased::Full => assert!(self.waiting(revision.id) <= WAITING_MAX),
        }
        Some(effects)
    }

    fn lease(&mut self, token: Token) {
        assert!(token.is_alive(), "the dead are not leased");
        assert!(
            !self.replaced.contains(&token.revision),
            "old revisions are not leased"
        );
        self.busy.push(token);
    }

    fn started(&mut self, revision: &Revision) -> Effects<Token> {
        let is_alive = Arc::new(AtomicBool::new(true));
        let id = InstanceId::random();
        self.alive.insert(id, is_alive.clone());
        let token = Token {
            id,
            revision: revision.id,
            is_alive,
        };
        self.pools.started(token, self.now)
    }

    /// An idle instance dies. Every second time the pools are asked for a lease before they hear of it.
    fn die(&mut self, index: usize) -> Option<Effects<Token>> {
        let busy: HashSet<_> = self
            .busy
            .iter()
            .chain(&self.stopping)
            .map(|token| token.id)
            .collect();
        let idle: Vec<_> = self
            .alive
            .keys()
            .filter(|id| !busy.contains(id))
            .copied()
            .collect();
        let id = *idle.get(index % idle.len().max(1))?;
        self.alive[&id].store(false, Ordering::SeqCst);
        let revision = self.pools.pools.iter().find_map(|(revision, pool)| {
            let is_here = pool.idle.iter().any(|idle| idle.member.id == id);
            is_here.then_some(*revision)
        });
        revision
            .filter(|_| index.is_multiple_of(2))
            .map(|revision| self.pools.died(revision, id))
    }

    fn expire(&mut self, index: usize) -> Option<Effects<Token>> {
        let place = index.checked_rem(self.callers.len())?;
        let caller = &self.callers[place];
        if self.pools.expire(caller.revision, caller.ticket, self.now) {
            self.callers.remove(place);
        }
        None
    }

    fn replace(&mut self, function: usize) -> Effects<Token> {
        let old = &mut self.current[function];
        let new = Arc::new(revision(old.name.as_str(), Duration::from_secs(3)));
        let old = std::mem::replace(old, new);
        self.replaced.insert(old.id);
        let effects = self.pools.retire(old.id, self.now);
        let late = self.pools.lease(&old, self.now);
        assert!(
            matches!(late.0, Leased::Stale),
            "a call that resolved before is sent back"
        );
        assert!(late.1.is_empty());
        effects
    }

    fn note(&mut self, effects: Effects<Token>) {
        for revision in effects.starts {
            self.starting.push(revision.clone());
            let starting = self
                .starting
                .iter()
                .filter(|other| other.id == revision.id)
                .count();
            assert!(
                starting <= self.waiting(revision.id),
                "more starts than calls that wait"
            );
            assert!(
                !self.replaced.contains(&revision.id),
                "old revisions are not started"
            );
        }
        for token in effects.stops {
            self.alive.remove(&token.id);
            self.stopping.push(token);
        }
        self.resting.extend(effects.rests);
        for revision in effects.retires {
            assert!(self.replaced.contains(&revision));
            assert!(self.retired.insert(revision), "retired once");
            let of_it = |token: &&Token| token.revision == revision;
            assert_eq!(self.busy.iter().chain(&self.stopping).filter(of_it).count(), 0);
            assert!(!self.starting.iter().any(|other| other.id == revision));
        }
    }

    /// Callers take what they were granted.
    fn collect(&mut self) {
        let mut callers = std::mem::take(&mut self.callers);
        let mut tokens = Vec::new();
        callers.retain_mut(|caller| match caller.granted.try_recv() {
            Ok(Grant::Instance(token)) => {
                tokens.push(token);
                false
            }
            Ok(Grant::Failed(_)) => false,
            Ok(Grant::Stale) => {
                assert!(self.replaced.contains(&caller.revision));
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => panic!("a caller was forgotten"),
        });
        self.callers = callers;
        for token in tokens {
            self.lease(token);
        }
    }

    fn check(&self) {
        let mut ids: HashSet<InstanceId> = self
            .busy
            .iter()
            .chain(&self.stopping)
            .map(|token| token.id)
            .collect();
        assert_eq!(
            ids.len(),
            self.busy.len() + self.stopping.len(),
            "no instance is at two places"
        );
        let idle = self.pools.pools.values().flat_map(|pool| &pool.idle);
        let mut idle_count = 0;
        for idle in idle {
            idle_count += 1;
            assert!(ids.insert(idle.member.id), "no instance is at two places");
            assert!(
                !self.replaced.contains(&idle.member.revision),
                "old revisions are not kept"
            );
        }
        let live = self.starting.len() + self.busy.len() + self.stopping.len() + idle_count;
        assert_eq!(self.pools.instances, live);
        assert!(live <= self.pools.instances_max);
        assert_eq!(self.pools.stopping, self.stopping.len());
    }

    /// Lets everything under way end well, and asserts that nobody is left waiting.
    fn finish(&mut self) {
        for _ in 0..200 {
            for step in [
                Step::StartOk(0),
                Step::GiveBack(0),
                Step::StopEnds(0),
                Step::RestEnds(0),
            ] {
                self.step(&step);
            }
        }
        assert_eq!(self.callers.len(), 0, "calls hang: {:?}", self.pools.starved);
        assert!(self.starting.is_empty() && self.busy.is_empty() && self.stopping.is_empty());
        assert_eq!(
            self.retired, self.replaced,
            "what was replaced is retired in the end"
        );
        for _ in 0..3 {
            self.step(&Step::Pass(60));
            for _ in 0..20 {
                self.step(&Step::StopEnds(0));
                self.step(&Step::RestEnds(0));
            }
        }
        assert_eq!(
            (self.pools.instances, self.pools.pools.len()),
            (0, 0),
            "an idle host is empty"
        );
    }
}

fn take<T>(from: &mut Vec<T>, index: usize) -> Option<T> {
    let index = index.checked_rem(from.len())?;
    Some(from.remove(index))
}

proptest! {
    #[test]
    fn every_history_keeps_the_invariants_and_answers_every_call(
        instances_max in 1..6usize,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(instances_max);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
