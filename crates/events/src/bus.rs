//! Event buses: events come in, rules pick some by pattern, each rule's targets get them.
//!
//! The gateway changes buses and rules and puts events; other parts deliver to a bus through `types::Deliver`. Rules
//! are in memory, records in the store. An event that is acknowledged has a parcel for each of its targets in the
//! [`Outbox`], written in one batch; an event that no rule wants leaves nothing behind. A rule with a schedule has its
//! [`Schedules`] entry, written in the rule's own batch.

mod deliver;
mod event;
mod input;
mod put;
mod record;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use squall_store::once::{Once, OnceConfig};
use squall_store::{Batch, Scan, Store, StoreError};
use squall_types::Home;

pub use event::NewEvent;
pub(crate) use event::iso;
pub use record::{Bus, Rule, RuleTarget, Transformer};
pub use rules::RuleFilter;

use self::record::{BUS_PREFIX, BUSES, RULE_PREFIX};
use crate::clock::Clock;
use crate::outbox::Outbox;
use crate::pattern::Pattern;
use crate::schedule::ScheduleError;

/// The bus that is always there.
pub const DEFAULT_BUS: &str = "default";
/// The most targets of a rule.
pub const TARGETS_MAX: usize = 5;

/// Bounds.
#[derive(Debug, Clone)]
pub struct BusesConfig {
    /// Account and region for ARNs.
    pub home: Home,
    /// The most buses.
    pub buses_max: usize,
    /// The most rules of a bus.
    pub rules_max: usize,
}

impl Default for BusesConfig {
    fn default() -> Self {
        Self {
            home: Home::default(),
            buses_max: 100,
            rules_max: 300,
        }
    }
}

/// Why a bus or a rule was not made, changed or found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// There is no such bus or rule.
    #[error("{0} does not exist.")]
    NotFound(String),
    /// There is such a bus already.
    #[error("{0} already exists.")]
    Exists(String),
    /// A pattern that means nothing.
    #[error("Event pattern is not valid. Reason: {0}")]
    Pattern(String),
    /// What was asked for makes no sense; the text is for the caller.
    #[error("{0}")]
    Invalid(String),
    /// A bound was met.
    #[error("{0}")]
    LimitExceeded(String),
    /// Too many events are on their way; the same call may succeed later.
    #[error("too many events wait for their targets")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ScheduleError> for BusError {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) => Self::Store(error),
            ScheduleError::QuotaExceeded(text) => Self::LimitExceeded(text),
            other => Self::Invalid(format!("Parameter ScheduleExpression is not valid. {other}")),
        }
    }
}

type Result<T, E = BusError> = std::result::Result<T, E>;

/// All buses. A cheap handle.
#[derive(Clone)]
pub struct Buses {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    outbox: Outbox,
    clock: Clock,
    config: BusesConfig,
    /// Deliveries that were taken: their senders may repeat them.
    delivered: Once,
    buses: RwLock<BTreeMap<String, Held>>,
    /// One change at a time: what is checked still holds when it is written.
    writing: tokio::sync::Mutex<()>,
}

/// A bus with its rules.
struct Held {
    bus: Bus,
    rules: BTreeMap<String, HeldRule>,
}

/// A rule, and its pattern ready to match.
#[derive(Clone)]
struct HeldRule {
    rule: Rule,
    pattern: Option<Arc<Pattern>>,
}

impl HeldRule {
    fn new(rule: Rule) -> Result<Self> {
        let pattern = rule.pattern.as_deref().map(compile).transpose()?;
        Ok(Self {
            rule,
            pattern: pattern.map(Arc::new),
        })
    }
}

impl Buses {
    /// Reads the buses that the store holds, and makes the default one.
    ///
    /// # Errors
    /// [`BusError::Store`] when it cannot be read, or a record is damaged.
    pub async fn open(
        store: Arc<dyn Store>,
        outbox: Outbox,
        clock: Clock,
        config: BusesConfig,
    ) -> Result<Self> {
        let mut buses = BTreeMap::new();
        for (_, entry) in store.scan(Scan::prefix(BUSES, BUS_PREFIX)).await? {
            let bus = Bus::decode(&entry.value).map_err(damaged)?;
            let rules = BTreeMap::new();
            buses.insert(bus.name.clone(), Held { bus, rules });
        }
        for (_, entry) in store.scan(Scan::prefix(BUSES, RULE_PREFIX)).await? {
            let rule = Rule::decode(&entry.value).map_err(damaged)?;
            let name = rule.name.clone();
            let held: &mut Held = buses
                .get_mut(&rule.bus)
                .ok_or_else(|| damaged(format!("the rule `{name}` is on no bus")))?;
            held.rules.insert(name, HeldRule::new(rule)?);
        }
        let buses = Self {
            inner: Arc::new(Inner {
                delivered: Once::open(store.clone(), "buses", OnceConfig::default()).await?,
                store,
                outbox,
                clock,
                config,
                buses: RwLock::new(buses),
                writing: tokio::sync::Mutex::new(()),
            }),
        };
        if !buses.read().contains_key(DEFAULT_BUS) {
            buses.create_bus(DEFAULT_BUS, "", BTreeMap::new()).await?;
        }
        Ok(buses)
    }

    /// Makes a bus.
    ///
    /// # Errors
    /// [`BusError::Exists`], [`BusError::LimitExceeded`], [`BusError::Store`].
    pub async fn create_bus(
        &self,
        name: &str,
        description: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<Bus> {
        let _writing = self.inner.writing.lock().await;
        if self.read().contains_key(name) {
            return Err(BusError::Exists(format!("Event bus {name}")));
        }
        let max = self.inner.config.buses_max;
        if self.read().len() >= max {
            return Err(BusError::LimitExceeded(format!(
                "there are {max} event buses, the most that are allowed"
            )));
        }
        let now = self.inner.clock.now_ms();
        let bus = Bus {
            name: name.to_owned(),
            description: description.to_owned(),
            tags,
            created_ms: now,
            modified_ms: now,
        };
        self.write_bus(bus.clone()).await?;
        Ok(bus)
    }

    /// Removes a bus that has no rules; removing what is not there is not an error.
    ///
    /// # Errors
    /// [`BusError::Invalid`], [`BusError::Store`].
    pub async fn delete_bus(&self, name: &str) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        if name == DEFAULT_BUS {
            return Err(BusError::Invalid("Cannot delete event bus default.".to_owned()));
        }
        let has_rules = self.read().get(name).is_some_and(|held| !held.rules.is_empty());
        if has_rules {
            return Err(BusError::Invalid(format!(
                "Event bus {name} can't be deleted since it has rules."
            )));
        }
        let batch = Batch::durable().delete(BUSES, Bus::key(name));
        self.inner.store.commit(batch).await?;
        self.write().remove(name);
        Ok(())
    }

    /// One bus.
    ///
    /// # Errors
    /// [`BusError::NotFound`].
    pub fn bus(&self, name: &str) -> Result<Bus> {
        let found = self.read().get(name).map(|held| held.bus.clone());
        found.ok_or_else(|| no_bus(name))
    }

    /// All buses whose name starts with `prefix`, by name.
    pub fn list_buses(&self, prefix: &str) -> Vec<Bus> {
        let buses = self.read();
        let all = buses.values().map(|held| &held.bus);
        all.filter(|bus| bus.name.starts_with(prefix)).cloned().collect()
    }

    /// Changes a bus's tags.
    ///
    /// # Errors
    /// [`BusError::NotFound`], [`BusError::Store`].
    pub async fn tag_bus(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send,
    ) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        let mut bus = self.bus(name)?;
        change(&mut bus.tags);
        self.write_bus(bus).await
    }

    /// Account and region.
    pub fn home(&self) -> &Home {
        &self.inner.config.home
    }

    async fn write_bus(&self, bus: Bus) -> Result<()> {
        let batch = Batch::durable().put(BUSES, Bus::key(&bus.name), bus.encode());
        self.inner.store.commit(batch).await?;
        let mut buses = self.write();
        match buses.get_mut(&bus.name) {
            Some(held) => held.bus = bus,
            None => {
                let rules = BTreeMap::new();
                buses.insert(bus.name.clone(), Held { bus, rules });
            }
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Held>> {
        // Nothing panics between two changes of one write.
        self.inner.buses.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Held>> {
        self.inner.buses.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a pattern.
///
/// # Errors
/// [`BusError::Pattern`] says to its author what is wrong.
pub fn compile(pattern: &str) -> Result<Pattern> {
    Pattern::parse(pattern).map_err(|error| BusError::Pattern(error.to_string()))
}

fn no_bus(name: &str) -> BusError {
    BusError::NotFound(format!("Event bus {name}"))
}

fn damaged(reason: String) -> StoreError {
    StoreError::Corrupt(format!("an event bus: {reason}"))
}
