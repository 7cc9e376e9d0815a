//! The queue, its retries and its handing over, simulated: a thousand seeds of faults in paused time.
//!
//! In each run a server accepts events and dies at a commit, before or after it took effect, by a kill or a power loss,
//! several times over; its store fails and stalls, its functions raise, hang and break, its targets are down, refuse and
//! hang. Then the faults end, and every acknowledged event must have succeeded, be where failures are told, or be in
//! the list of failed events. Two broken variants show that the simulation sees what it is there for.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use squall_registry::EventPolicy;
use squall_types::{
    AcceptedEvents, Deliver, DeliverByService, DeliverError, Delivery, EventQuery, FunctionRef, Invocation,
    Invoke, RequestId,
};

use self::store::{Disk, FaultyStore};
use super::fake::*;
use crate::DispatcherConfig;

const SEEDS: u64 = 1000;
/// How long the faultless end of a run may take, in time of its own.
const END_MAX_MINUTES: u32 = 24 * 60;
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
const NEXT: &str = "arn:aws:lambda:us-east-1:000000000000:function:next";

/// Numbers that follow from a seed (SplitMix64). A handle.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    fn roll(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(crate) fn of_100(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is wrong with the server that is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// An event is acknowledged, and then written.
    AcknowledgesFirst,
    /// The store calls durable what a power loss takes.
    LyingDisk,
}

/// What outlives the server: what its clients know, what its functions did, what its targets have.
#[derive(Default)]
struct World {
    /// The function and the request id of each event that was sent, by the number in its payload.
    sent: BTreeMap<u64, (&'static str, RequestId)>,
    acknowledged: BTreeSet<u64>,
    /// Events that their function answered.
    succeeded: BTreeSet<RequestId>,
    /// Events of which the function `next` was told, and ran.
    next: BTreeSet<RequestId>,
    /// What targets were told: of which event, and whether of a success.
    told: BTreeSet<(RequestId, bool)>,
    /// Lives that ended at a commit.
    deaths: usize,
    /// Events in the list of failed ones at the end.
    listed: usize,
}

/// A target by dice.
struct Targets {
    dice: Dice,
    world: Arc<Mutex<World>>,
    is_calm: AtomicBool,
}

#[async_trait]
impl Deliver for Targets {
    fn check(&self, _: &str) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        if !self.is_calm.load(Ordering::SeqCst) {
            match self.dice.below(100) {
                0..20 => return Err(DeliverError::Unavailable("down".to_owned())),
                20..25 => return Err(DeliverError::NotFound(arn.to_owned())),
                25..28 => return Err(DeliverError::Refused("too large".to_owned())),
                28..32 => std::future::pending().await,
                _ => {}
            }
        }
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let told = match message.attributes.get("RequestID") {
            Some(id) => (id.parse().unwrap(), false),
            None => of_record(&body),
        };
        self.world.lock().unwrap().told.insert(told);
        Ok(())
    }
}

/// The event that a destination record is of, and whether it succeeded.
fn of_record(record: &Value) -> (RequestId, bool) {
    let context = &record["requestContext"];
    let id = context["requestId"].as_str().unwrap().parse().unwrap();
    (id, context["condition"] == "Success")
}

fn policies() -> [(&'static str, EventPolicy); 4] {
    let queue = || Some(QUEUE.to_owned());
    [
        ("plain", EventPolicy::default()),
        (
            "told",
            EventPolicy {
                on_success: queue(),
                on_failure: queue(),
                age_max: Some(10 * MINUTE),
                ..EventPolicy::default()
            },
        ),
        (
            "letters",
            EventPolicy {
                dead_letter: queue(),
                retries_max: 0,
                ..EventPolicy::default()
            },
        ),
        (
            "chained",
            EventPolicy {
                on_success: Some(NEXT.to_owned()),
                ..EventPolicy::default()
            },
        ),
    ]
}

/// One run: lives that end badly, and one that ends well. Says what was lost, or what happened.
fn simulate(seed: u64, broken: Broken) -> Result<World, String> {
    let dice = Dice::new(seed);
    let world = Arc::new(Mutex::new(World::default()));
    let disk = Arc::new(Mutex::new(Disk::default()));
    let functions = FakeFunctions::none(1000);
    let lives = 1 + dice.below(4);
    for life in 0..=lives {
        let commits = (life < lives).then(|| dice.below(60));
        let server = Server {
            dice: dice.clone(),
            world: world.clone(),
            functions: functions.clone(),
            broken,
        };
        let power_loss = dice.of_100(60);
        let machine = machine();
        let ended = machine.block_on(server.live(&disk, commits, power_loss));
        drop(machine);
        ended?;
    }
    let world = std::mem::take(&mut *world.lock().unwrap());
    Ok(world)
}

struct Server {
    dice: Dice,
    world: Arc<Mutex<World>>,
    functions: FakeFunctions,
    broken: Broken,
}

impl Server {
    async fn live(
        &self,
        disk: &Arc<Mutex<Disk>>,
        commits: Option<u64>,
        power_loss: bool,
    ) -> Result<(), String> {
        let lies = self.broken == Broken::LyingDisk;
        let store = FaultyStore::open(disk, self.dice.clone(), commits, power_loss, lies).await;
        let server = open(DispatcherConfig::default(), self.functions.clone(), store.clone()).await;
        let targets = Arc::new(Targets {
            dice: self.dice.clone(),
            world: self.world.clone(),
            is_calm: AtomicBool::new(commits.is_none()),
        });
        let all = DeliverByService::new()
            .with("lambda", server.dispatcher.function_targets())
            .with("sqs", targets);
        server.dispatcher.deliver_through(Arc::new(all));
        for (name, policy) in policies() {
            server.set_policy(name, policy);
            server.put(name, Script::act(Act::Dice(self.dice.clone())), None);
        }
        server.put("next", Script::act(Act::Dice(self.dice.clone())), None);
        let ended = if commits.is_some() {
            tokio::select! {
                () = store.died.notified() => self.world.lock().unwrap().deaths += 1,
                () = self.send(&server) => {}
            }
            Ok(())
        } else {
            self.finish(&server).await
        };
        self.note(&server)?;
        ended?;
        if commits.is_none() {
            self.judge(&server.dispatcher.list(everything_failed()).await.unwrap())?;
        }
        Ok(())
    }

    /// Clients send events, some functions are throttled for a while, and time goes by.
    async fn send(&self, server: &super::fake::World) {
        for _ in 0..self.dice.below(8) {
            let (name, _) = policies()[self.dice.below(4) as usize].clone();
            if self.dice.of_100(15) {
                let act = Script::act(Act::Dice(self.dice.clone()));
                server.put(name, act, self.dice.of_100(50).then_some(0));
            }
            self.send_one(server, name).await;
            pass(Duration::from_secs(self.dice.below(90))).await;
        }
        pass(Duration::from_secs(self.dice.below(900))).await;
    }

    async fn send_one(&self, server: &super::fake::World, name: &'static str) {
        let (number, invocation) = {
            let mut world = self.world.lock().unwrap();
            let number = world.sent.len() as u64;
            let payload = serde_json::json!({ "n": number }).to_string();
            let target: FunctionRef = name.parse().unwrap();
            let invocation = Invocation::new(target, payload.into());
            world.sent.insert(number, (name, invocation.request_id));
            (number, invocation)
        };
        let is_acknowledged = if self.broken == Broken::AcknowledgesFirst {
            let dispatcher = server.dispatcher.clone();
            tokio::spawn(async move { dispatcher.accept(invocation).await });
            true
        } else {
            server.dispatcher.accept(invocation).await.is_ok()
        };
        if is_acknowledged {
            self.world.lock().unwrap().acknowledged.insert(number);
        }
    }

    /// Everything works again, until nothing is on its way.
    async fn finish(&self, server: &super::fake::World) -> Result<(), String> {
        let waiting = EventQuery {
            limit: 1000,
            ..EventQuery::default()
        };
        for _ in 0..END_MAX_MINUTES {
            if server.dispatcher.list(waiting.clone()).await.unwrap().is_empty() {
                return Ok(());
            }
            pass(MINUTE).await;
        }
        Err("an event is on its way for ever".to_owned())
    }

    /// Takes down what the functions did, and that each event came under its own id.
    fn note(&self, server: &super::fake::World) -> Result<(), String> {
        let mut world = self.world.lock().unwrap();
        for (id, payload, is_success) in server.ledger.ran.lock().unwrap().iter() {
            let payload: Value = serde_json::from_slice(payload).unwrap();
            if let Some(number) = payload["n"].as_u64() {
                if world.sent[&number].1 != *id {
                    return Err(format!("event {number} came as {id}"));
                }
                if *is_success {
                    world.succeeded.insert(*id);
                }
            } else if *is_success {
                world.next.insert(of_record(&payload).0);
            }
        }
        Ok(())
    }

    /// Nothing that was acknowledged is lost.
    fn judge(&self, failed: &[squall_types::EventStatus]) -> Result<(), String> {
        let mut world = self.world.lock().unwrap();
        world.listed = failed.len();
        let listed: BTreeSet<RequestId> = failed.iter().map(|event| event.request_id).collect();
        // Of the function `next`, the list has the records that it was to be told.
        let untold: BTreeSet<RequestId> = failed
            .iter()
            .filter_map(|event| serde_json::from_slice::<Value>(&event.payload).ok())
            .filter(|payload| payload.get("requestContext").is_some())
            .map(|payload| of_record(&payload).0)
            .collect();
        for number in &world.acknowledged {
            let (name, id) = world.sent[number];
            let told = |success| world.told.contains(&(id, success));
            let is_seen = listed.contains(&id)
                || match name {
                    "plain" => world.succeeded.contains(&id),
                    "told" => (world.succeeded.contains(&id) && told(true)) || told(false),
                    "letters" => world.succeeded.contains(&id) || told(false),
                    _ => world.next.contains(&id) || untold.contains(&id),
                };
            if !is_seen {
                return Err(format!("event {number} of `{name}` was acknowledged and is lost"));
            }
        }
        Ok(())
    }
}

fn everything_failed() -> EventQuery {
    EventQuery {
        failed: true,
        limit: 1000,
        ..EventQuery::default()
    }
}

#[test]
fn no_acknowledged_event_is_lost_in_a_thousand_seeds() {
    let (mut lost, mut seen) = (Vec::new(), [0; 6]);
    for seed in 0..SEEDS {
        match simulate(seed, Broken::Nothing) {
            Err(what) => lost.push((seed, what)),
            Ok(world) => {
                let failures = world.told.iter().filter(|(_, is_success)| !is_success);
                let counts = [
                    world.acknowledged.len(),
                    world.deaths,
                    world.succeeded.len(),
                    failures.count(),
                    world.next.len(),
                    world.listed,
                ];
                seen.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }
    println!("acknowledged, deaths, succeeded, told of a failure, told `next`, listed: {seen:?}");
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(
        seen.iter().all(|count| *count > 100),
        "the dice leave something out: {seen:?}"
    );
}

#[track_caller]
fn check_is_caught(broken: Broken) {
    let caught = (0..SEEDS).find_map(|seed| simulate(seed, broken).err());
    let what = caught.expect("the simulation sees it");
    assert!(what.contains("was acknowledged and is lost"), "{what}");
}

#[test]
fn an_acknowledgement_before_the_write_is_caught() {
    check_is_caught(Broken::AcknowledgesFirst);
}

#[test]
fn a_disk_that_calls_durable_what_is_not_is_caught() {
    check_is_caught(Broken::LyingDisk);
}
