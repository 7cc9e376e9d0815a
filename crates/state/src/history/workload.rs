//! Cloudburst's workload for consistency, and AFT's, run on a [`State`] and recorded.
//!
//! Keys are drawn after Zipf (1.0); runs are linear DAGs, each function in a cache of its own draw; several clients at a
//! time. All chances come from one seed: under tokio's paused time a workload gives the same history again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Action, History, Operation, Seen};
use crate::lattice::{Body, Capsule};
use crate::{
    BucketName, CacheId, Key, Level, Session, SessionContext, SessionRequest, State, StateError, Value,
};

/// How often a run that must start again does.
const ATTEMPTS: usize = 20;

/// What is run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// At which level.
    pub level: Level,
    /// Where the keys are.
    pub bucket: BucketName,
    /// How many runs.
    pub runs: u64,
    /// How many at a time.
    pub clients: u64,
    /// How many keys there are.
    pub keys: u32,
    /// How many caches the functions are spread over.
    pub caches: u16,
    /// The longest time that a function takes.
    pub think_max: Duration,
    /// Where the chances start.
    pub seed: u64,
    /// What a run does.
    pub shape: Shape,
    /// Of 100 functions, how many die before they end, and their run with them.
    pub deaths_percent: u64,
    /// The first number of runs and writes: a history that goes on where another ended begins behind it.
    pub first: u64,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// 2 to 5 functions. Each reads two keys; the last writes one of all that were read.
    Cloudburst,
    /// 2 functions. Each reads two keys, writes one of them and reads it again.
    Aft,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// What the runs did that came to their end.
    pub history: History,
    /// How long each of them took, divided by its number of functions.
    pub per_function: Vec<Duration>,
    /// How often a run had to start again.
    pub restarts: u64,
    /// Runs that never came to their end.
    pub given_up: u64,
    /// Runs of which it is not known whether they came to their end, because the store failed. They are in the history.
    pub unknown: u64,
    /// The next number: see [`Workload::first`].
    pub next: u64,
}

struct Runner {
    workload: Workload,
    state: State,
    zipf: Vec<f64>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    recorded: Recorded,
    next: u64,
    abandoned: BTreeSet<u64>,
}

/// xorshift64*: chances that need no crate.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound.max(1)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }
}

impl Workload {
    /// Runs it.
    ///
    /// # Errors
    /// What a run ran into that starting again does not mend.
    pub async fn run(self, state: &State) -> Result<Recorded, StateError> {
        let mut sum = 0.0;
        let zipf = (1..=self.keys).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        let runner = Arc::new(Runner {
            zipf: zipf.collect(),
            state: state.clone(),
            record: Mutex::new(Record {
                next: self.first,
                ..Record::default()
            }),
            workload: self,
        });
        let mut clients = JoinSet::new();
        for client in 0..runner.workload.clients {
            let runner = runner.clone();
            clients.spawn(async move { runner.client(client).await });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap_or_else(|error| Err(StateError::Invalid(error.to_string())))?;
        }
        runner.finish().await
    }
}

impl Runner {
    async fn client(&self, client: u64) -> Result<(), StateError> {
        let workload = &self.workload;
        let mut chance = Chance((workload.seed ^ (client + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        let share = workload.runs / workload.clients;
        for _ in 0..share {
            let functions = match workload.shape {
                Shape::Cloudburst => 2 + chance.below(4),
                Shape::Aft => 2,
            };
            let started = tokio::time::Instant::now();
            let mut done = false;
            for _ in 0..ATTEMPTS {
                let run = self.number();
                match self.attempt(run, functions, &mut chance).await {
                    Ok(()) => {
                        done = true;
                        break;
                    }
                    Err(StateError::Store(_)) => {
                        self.record().recorded.unknown += 1;
                        return Ok(());
                    }
                    Err(error) if error.is_retryable() => self.abandon(run),
                    Err(error) => return Err(error),
                }
            }
            let mut record = self.record();
            if done {
                let functions = u32::try_from(functions).unwrap_or(1);
                record.recorded.per_function.push(started.elapsed() / functions);
            } else {
                record.recorded.given_up += 1;
            }
        }
        Ok(())
    }

    async fn attempt(&self, run: u64, functions: u64, chance: &mut Chance) -> Result<(), StateError> {
        let workload = &self.workload;
        let transaction = (workload.level == Level::Atomic).then(|| format!("run-{run}"));
        let mut context = self.state.begin(workload.level, transaction)?;
        let mut known = Vec::new();
        for step in 0..functions {
            let session = self.state.session(SessionRequest {
                cache: CacheId(u16::try_from(chance.below(workload.caches.into())).unwrap_or(0)),
                travelling: Some(context),
                ..SessionRequest::default()
            })?;
            let last = step + 1 == functions;
            let place = (run, u32::try_from(step).unwrap_or(0));
            self.function(&session, place, last, &mut known, chance).await?;
            if chance.below(100) < workload.deaths_percent {
                return Err(StateError::RunExpired);
            }
            if last {
                session.commit().await?;
                return Ok(());
            }
            context = SessionContext::decode(&session.finish().encode()?)?;
        }
        Ok(())
    }

    async fn function(
        &self,
        session: &Session,
        place: (u64, u32),
        last: bool,
        known: &mut Vec<u32>,
        chance: &mut Chance,
    ) -> Result<(), StateError> {
        let shape = self.workload.shape;
        let from = known.len();
        for _ in 0..2 {
            let key = self.draw(chance);
            self.read(session, place, key).await?;
            known.push(key);
        }
        let longest = u64::try_from(self.workload.think_max.as_micros()).unwrap_or(0);
        if longest > 0 {
            tokio::time::sleep(Duration::from_micros(chance.below(longest))).await;
        }
        let choices = match shape {
            Shape::Cloudburst if !last => return Ok(()),
            Shape::Cloudburst => &known[..],
            Shape::Aft => &known[from..],
        };
        let choice = usize::try_from(chance.below(choices.len() as u64)).unwrap_or(0);
        let key = choices[choice];
        self.write(session, place, key).await?;
        if shape == Shape::Aft {
            self.read(session, place, key).await?;
        }
        Ok(())
    }

    async fn read(&self, session: &Session, place: (u64, u32), key: u32) -> Result<(), StateError> {
        let capsule = session.read(&self.key(key)?).await?;
        self.note(place, key, Action::Read(seen(&capsule)));
        Ok(())
    }

    async fn write(&self, session: &Session, place: (u64, u32), key: u32) -> Result<(), StateError> {
        let id = self.number();
        self.note(place, key, Action::Wrote(id));
        let value = Value::bytes(id.to_be_bytes().to_vec());
        session.put(&self.key(key)?, value).await
    }

    fn key(&self, key: u32) -> Result<Key, StateError> {
        Key::new(self.workload.bucket.clone(), key.to_be_bytes().to_vec())
    }

    fn draw(&self, chance: &mut Chance) -> u32 {
        let at = chance.unit() * self.zipf.last().copied().unwrap_or(1.0);
        let rank = self.zipf.partition_point(|sum| *sum <= at);
        u32::try_from(rank).unwrap_or(0).min(self.workload.keys - 1)
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        let mut record = self.record();
        record.next += 1;
        record.next
    }

    fn note(&self, (run, step): (u64, u32), key: u32, action: Action) {
        let operation = Operation {
            run,
            step,
            key,
            action,
        };
        self.record().recorded.history.operations.push(operation);
    }

    fn abandon(&self, run: u64) {
        let mut record = self.record();
        record.recorded.restarts += 1;
        // Elsewhere what a run wrote before it died is there, and part of the history.
        if self.workload.level == Level::Atomic || self.workload.shape == Shape::Cloudburst {
            record.abandoned.insert(run);
        }
    }

    /// Reads what every key that was touched holds at home, unless the store has failed.
    async fn finish(&self) -> Result<Recorded, StateError> {
        let mut recorded = {
            let mut record = self.record();
            let abandoned = std::mem::take(&mut record.abandoned);
            let mut recorded = std::mem::take(&mut record.recorded);
            recorded
                .history
                .operations
                .retain(|operation| !abandoned.contains(&operation.run));
            recorded.next = record.next;
            recorded
        };
        if recorded.unknown > 0 {
            return Ok(recorded);
        }
        for cache in 0..self.workload.caches {
            self.state.lose_cache(CacheId(cache))?;
        }
        let session = self.state.session(SessionRequest::default())?;
        let touched = recorded.history.operations.iter().map(|operation| operation.key);
        let touched: BTreeSet<u32> = touched.collect();
        for key in touched {
            let capsule = session.read(&self.key(key)?).await?;
            let seen = seen(&capsule);
            if !seen.is_empty() {
                recorded.history.last.insert(key, seen);
            }
        }
        Ok(recorded)
    }
}

fn seen(capsule: &Capsule) -> Vec<Seen> {
    let Body::Register(register) = capsule.body() else {
        return Vec::new();
    };
    let siblings = register.siblings().iter();
    let siblings = siblings.filter_map(|sibling| {
        let id = sibling.value.as_ref()?.bytes[..].try_into().ok()?;
        Some(Seen {
            id: u64::from_be_bytes(id),
            order: (sibling.dot.stamp.time, sibling.dot.stamp.node),
        })
    });
    siblings.collect()
}
