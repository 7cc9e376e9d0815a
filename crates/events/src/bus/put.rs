//! Events on their way: from the bus to the outbox.

use serde_json::{Value, json};
use squall_store::Batch;
use squall_store::once::Taken;
use squall_types::RequestId;

use super::input::{self, Sent};
use super::record::{Rule, RuleTarget};
use super::{BusError, Buses, HeldRule, NewEvent, Result, iso, no_bus};
use crate::outbox::{Outbox, Parcel};
use crate::schedule::RuleTargets;

/// Further attempts and the longest age of a delivery, where the target says nothing.
const RETRIES_DEFAULT: u32 = 185;
const EVENT_AGE_SECS_DEFAULT: u32 = 86_400;
/// Tells a bus how many buses an event has come through.
pub(super) const HOPS: &str = "squall-hops";

impl Buses {
    /// Takes events, each for a bus. When it returns `Ok`, they survive power loss; they get these ids.
    ///
    /// # Errors
    /// [`BusError::NotFound`] for a bus: nothing was taken. [`BusError::Full`], [`BusError::Store`].
    pub async fn put_events(&self, events: &[(String, NewEvent)]) -> Result<Vec<RequestId>> {
        let ids: Vec<RequestId> = events.iter().map(|_| RequestId::random()).collect();
        let mut parcels = Vec::new();
        for ((bus, event), id) in events.iter().zip(&ids) {
            parcels.extend(self.route(bus, event, *id, 0)?);
        }
        self.post(&parcels, None).await?;
        Ok(ids)
    }

    /// Takes an event that was delivered, once however often it is delivered.
    pub(super) async fn put_one(&self, bus: &str, event: &NewEvent, id: RequestId, hops: u32) -> Result<()> {
        let parcels = self.route(bus, event, id, hops)?;
        self.post(&parcels, Some(id)).await
    }

    async fn post(&self, parcels: &[Parcel], once: Option<RequestId>) -> Result<()> {
        if parcels.is_empty() {
            return Ok(());
        }
        let outbox = &self.inner.outbox;
        let room = outbox.reserve(parcels.len()).ok_or(BusError::Full)?;
        let batch = Outbox::write(Batch::durable(), parcels);
        let taken = match once {
            None => Taken::Now(self.inner.store.commit(batch).await?),
            Some(id) => self.inner.delivered.commit(batch, id.0.as_bytes()).await?,
        };
        if let Taken::Now(committed) = taken {
            outbox.posted(room, committed.appended);
        }
        Ok(())
    }

    /// One parcel for each target of each rule that wants the event.
    fn route(&self, bus: &str, event: &NewEvent, id: RequestId, hops: u32) -> Result<Vec<Parcel>> {
        let now = self.inner.clock.now_ms();
        let envelope = event.envelope(id, self.home(), now);
        let wanted: Vec<HeldRule> = {
            let buses = self.read();
            let held = buses.get(bus).ok_or_else(|| no_bus(bus))?;
            let wants = |held: &&HeldRule| {
                held.rule.is_enabled && held.pattern.as_ref().is_some_and(|p| p.matches(&envelope))
            };
            held.rules.values().filter(wants).cloned().collect()
        };
        let parcels = wanted
            .iter()
            .flat_map(|held| self.parcels(&held.rule, &envelope, now, hops, &|_| RequestId::random()));
        Ok(parcels.collect())
    }

    fn parcels(
        &self,
        rule: &Rule,
        event: &Value,
        now: i64,
        hops: u32,
        id: &dyn Fn(usize) -> RequestId,
    ) -> Vec<Parcel> {
        let (arn, ingested) = (rule.arn(self.home()), iso(now));
        let sent = Sent {
            event,
            rule_arn: &arn,
            rule_name: &rule.name,
            ingested: &ingested,
        };
        let targets = rule.targets.iter().enumerate();
        targets
            .map(|(place, target)| parcel(target, &sent, now, hops, id(place)))
            .collect()
    }
}

fn parcel(target: &RuleTarget, sent: &Sent<'_>, now: i64, hops: u32, id: RequestId) -> Parcel {
    let age_secs = target.event_age_secs_max.unwrap_or(EVENT_AGE_SECS_DEFAULT);
    let mut attributes = std::collections::BTreeMap::new();
    if let Some(group) = &target.message_group_id {
        attributes.insert("MessageGroupId".to_owned(), group.clone());
    }
    if target.arn.contains(":event-bus/") {
        attributes.insert(HOPS.to_owned(), (hops + 1).to_string());
    }
    Parcel {
        id,
        target: target.arn.clone(),
        body: input::body(target, sent),
        attributes,
        retries_max: target.retries_max.unwrap_or(RETRIES_DEFAULT),
        expires_ms: now.saturating_add(i64::from(age_secs) * 1000),
        dead_letter: target.dead_letter.clone(),
        source: sent.rule_arn.to_owned(),
        failures: 0,
        given_up: None,
    }
}

impl RuleTargets for Buses {
    fn scheduled(
        &self,
        bus: &str,
        rule: &str,
        instant_ms: i64,
        id: &dyn Fn(usize) -> RequestId,
    ) -> Vec<Parcel> {
        let Ok(rule) = self.rule(bus, rule) else {
            return Vec::new();
        };
        if !rule.is_enabled {
            return Vec::new();
        }
        let home = self.home();
        let event = json!({
            "version": "0",
            "id": id(usize::from(u8::MAX)).to_string(),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": home.account,
            "time": iso(instant_ms),
            "region": home.region,
            "resources": [rule.arn(home)],
            "detail": {},
        });
        self.parcels(&rule, &event, self.inner.clock.now_ms(), 0, id)
    }
}
