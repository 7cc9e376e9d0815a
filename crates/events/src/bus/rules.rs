//! Rules and their targets: made, changed, listed.

use std::collections::BTreeMap;

use squall_store::{Batch, StoreError};
use squall_types::DeliverError;

use super::record::{BUSES, Rule, RuleTarget};
use super::{BusError, Buses, HeldRule, Result, TARGETS_MAX, input, no_bus};
use crate::schedule::{ScheduleKey, Schedules};

/// A rule's schedule may fire while the rule is changed; then the change is made again.
const TRIES_MAX: usize = 8;

/// Which rules to list.
#[derive(Debug, Clone, Default)]
pub struct RuleFilter<'a> {
    /// What their names start with.
    pub prefix: &'a str,
    /// An ARN that one of their targets has.
    pub target: Option<&'a str>,
}

impl Buses {
    /// Makes a rule, or changes one and keeps its targets.
    ///
    /// # Errors
    /// As [`BusError`] says.
    pub async fn put_rule(&self, schedules: &Schedules, mut rule: Rule) -> Result<Rule> {
        let _writing = self.inner.writing.lock().await;
        if rule.pattern.is_none() && rule.schedule.is_none() {
            return Err(BusError::Invalid(
                "Parameter(s) EventPattern or ScheduleExpression must be specified.".to_owned(),
            ));
        }
        if rule.schedule.is_some() && rule.bus != super::DEFAULT_BUS {
            return Err(BusError::Invalid(
                "ScheduleExpression is supported only on the default event bus.".to_owned(),
            ));
        }
        let old = {
            let buses = self.read();
            let held = buses.get(&rule.bus).ok_or_else(|| no_bus(&rule.bus))?;
            let old = held.rules.get(&rule.name).map(|held| held.rule.clone());
            let max = self.inner.config.rules_max;
            if old.is_none() && held.rules.len() >= max {
                return Err(BusError::LimitExceeded(format!(
                    "The event bus {} has {max} rules, the most that are allowed.",
                    rule.bus
                )));
            }
            old
        };
        if let Some(old) = old {
            rule.targets = old.targets;
            // AWS: tags given to an existing rule are ignored.
            rule.tags = old.tags;
        }
        self.write_rule(schedules, rule.clone()).await?;
        Ok(rule)
    }

    /// Removes a rule; removing what is not there is not an error.
    ///
    /// # Errors
    /// [`BusError::Invalid`] while it has targets; [`BusError::NotFound`] for the bus; [`BusError::Store`].
    pub async fn delete_rule(&self, schedules: &Schedules, bus: &str, name: &str) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        self.bus(bus)?;
        let Ok(rule) = self.rule(bus, name) else {
            return Ok(());
        };
        if !rule.targets.is_empty() {
            return Err(BusError::Invalid(
                "Rule can't be deleted since it has targets.".to_owned(),
            ));
        }
        let key = ScheduleKey::rule(bus, name);
        let batch = Batch::durable().delete(BUSES, Rule::key(bus, name));
        let (batch, _) = schedules.write_rule(batch, &key, None, false).await?;
        self.inner.store.commit(batch).await?;
        schedules.rule_changed(&key, None, 0);
        if let Some(held) = self.write().get_mut(bus) {
            held.rules.remove(name);
        }
        Ok(())
    }

    /// Switches a rule on or off.
    ///
    /// # Errors
    /// [`BusError::NotFound`], [`BusError::Store`].
    pub async fn enable_rule(
        &self,
        schedules: &Schedules,
        bus: &str,
        name: &str,
        is_enabled: bool,
    ) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        let mut rule = self.rule(bus, name)?;
        if rule.is_enabled == is_enabled {
            return Ok(());
        }
        rule.is_enabled = is_enabled;
        self.write_rule(schedules, rule).await
    }

    /// Adds targets to a rule, or replaces those of the same id. Says which were refused, and why.
    ///
    /// # Errors
    /// [`BusError::NotFound`], [`BusError::LimitExceeded`], [`BusError::Store`].
    pub async fn put_targets(
        &self,
        bus: &str,
        name: &str,
        targets: Vec<RuleTarget>,
    ) -> Result<Vec<(String, BusError)>> {
        let _writing = self.inner.writing.lock().await;
        let mut rule = self.rule(bus, name)?;
        let mut refused = Vec::new();
        for target in targets {
            if let Err(error) = self.check_target(&target) {
                refused.push((target.id, error));
                continue;
            }
            rule.targets.retain(|old| old.id != target.id);
            rule.targets.push(target);
        }
        if rule.targets.len() > TARGETS_MAX {
            return Err(BusError::LimitExceeded(format!(
                "The rule {name} would have more than {TARGETS_MAX} targets."
            )));
        }
        self.write_targets(rule).await?;
        Ok(refused)
    }

    /// Takes targets away from a rule. Says which were not there.
    ///
    /// # Errors
    /// [`BusError::NotFound`], [`BusError::Store`].
    pub async fn remove_targets(&self, bus: &str, name: &str, ids: &[String]) -> Result<Vec<String>> {
        let _writing = self.inner.writing.lock().await;
        let mut rule = self.rule(bus, name)?;
        let is_there = |id: &&String| !rule.targets.iter().any(|target| target.id == **id);
        let missing = ids.iter().filter(is_there).cloned().collect();
        rule.targets.retain(|target| !ids.contains(&target.id));
        self.write_targets(rule).await?;
        Ok(missing)
    }

    /// Changes a rule's tags.
    ///
    /// # Errors
    /// [`BusError::NotFound`], [`BusError::Store`].
    pub async fn tag_rule(
        &self,
        bus: &str,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send,
    ) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        let mut rule = self.rule(bus, name)?;
        change(&mut rule.tags);
        self.write_targets(rule).await
    }

    /// One rule.
    ///
    /// # Errors
    /// [`BusError::NotFound`] for the bus or the rule.
    pub fn rule(&self, bus: &str, name: &str) -> Result<Rule> {
        let buses = self.read();
        let held = buses.get(bus).ok_or_else(|| no_bus(bus))?;
        let found = held.rules.get(name).map(|held| held.rule.clone());
        found.ok_or_else(|| BusError::NotFound(format!("Rule {name}")))
    }

    /// A bus's rules, by name.
    ///
    /// # Errors
    /// [`BusError::NotFound`] for the bus.
    pub fn list_rules(&self, bus: &str, filter: &RuleFilter<'_>) -> Result<Vec<Rule>> {
        let buses = self.read();
        let held = buses.get(bus).ok_or_else(|| no_bus(bus))?;
        let wanted = |rule: &&Rule| {
            let has_target = |arn| rule.targets.iter().any(|target| target.arn == arn);
            rule.name.starts_with(filter.prefix) && filter.target.is_none_or(has_target)
        };
        let all = held.rules.values().map(|held| &held.rule);
        Ok(all.filter(wanted).cloned().collect())
    }

    fn check_target(&self, target: &RuleTarget) -> Result<()> {
        input::check(target).map_err(BusError::Invalid)?;
        for arn in [Some(&target.arn), target.dead_letter.as_ref()]
            .into_iter()
            .flatten()
        {
            self.inner.outbox.check(arn).map_err(|error| match error {
                DeliverError::NotFound(arn) => BusError::NotFound(format!("The target {arn}")),
                other => BusError::Invalid(other.to_string()),
            })?;
        }
        Ok(())
    }

    async fn write_targets(&self, rule: Rule) -> Result<()> {
        let batch = Batch::durable().put(BUSES, Rule::key(&rule.bus, &rule.name), rule.encode());
        self.inner.store.commit(batch).await?;
        self.hold(HeldRule::new(rule)?);
        Ok(())
    }

    async fn write_rule(&self, schedules: &Schedules, rule: Rule) -> Result<()> {
        let held = HeldRule::new(rule)?;
        let rule = &held.rule;
        let key = ScheduleKey::rule(&rule.bus, &rule.name);
        for _ in 0..TRIES_MAX {
            let batch = Batch::durable().put(BUSES, Rule::key(&rule.bus, &rule.name), rule.encode());
            let expression = rule.schedule.as_deref();
            let (batch, schedule) = schedules
                .write_rule(batch, &key, expression, rule.is_enabled)
                .await?;
            match self.inner.store.commit(batch).await {
                Ok(committed) => {
                    schedules.rule_changed(&key, schedule.as_ref(), committed.sequence);
                    self.hold(held);
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    fn hold(&self, rule: HeldRule) {
        if let Some(held) = self.write().get_mut(&rule.rule.bus) {
            held.rules.insert(rule.rule.name.clone(), rule);
        }
    }
}
