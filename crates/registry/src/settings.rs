//! What belongs to a function and never replaces its instances: reserved concurrency, tags. And the account's sums.

use std::collections::{BTreeMap, HashSet};

use squall_types::FunctionName;

use crate::registry::Registry;
use crate::{RegistryError, Usage, validate};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

impl Registry {
    /// Reserves concurrency for a function: it has that much for itself, and never more.
    ///
    /// # Errors
    /// When too little would be left for the functions without a reservation.
    pub async fn put_concurrency(&self, function: &FunctionName, reserved: u32) -> Result<u32> {
        let (registry, name) = (self.clone(), function.clone());
        self.change(function, move |edit| {
            // Inside of the change: two reservations at once must not both see the same rest.
            registry.check_reservation(&name, reserved)?;
            edit.record.reserved_concurrency = Some(reserved);
            Ok(reserved)
        })
        .await
    }

    fn check_reservation(&self, function: &FunctionName, reserved: u32) -> Result<()> {
        let limits = self.limits();
        let others = {
            let functions = self.functions();
            let others = functions.by_name.iter().filter(|(name, _)| *name != function);
            others
                .filter_map(|(_, held)| held.record.reserved_concurrency)
                .sum::<u32>()
        };
        let left = limits.account_concurrency.saturating_sub(others);
        if reserved > left.saturating_sub(limits.unreserved_concurrency_min) && reserved > 0 {
            return Err(RegistryError::InvalidParameter(format!(
                "Specified ReservedConcurrentExecutions for function decreases account's \
                 UnreservedConcurrentExecution below its minimum value of [{}].",
                limits.unreserved_concurrency_min
            )));
        }
        Ok(())
    }

    /// The reserved concurrency, where it is set.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn concurrency(&self, function: &FunctionName) -> Result<Option<u32>> {
        Ok(self.held(function)?.record.reserved_concurrency)
    }

    /// Gives the reservation back.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn delete_concurrency(&self, function: &FunctionName) -> Result<()> {
        self.change(function, |edit| {
            edit.record.reserved_concurrency = None;
            Ok(())
        })
        .await
    }

    /// Adds tags, or changes their values.
    ///
    /// # Errors
    /// When there would be too many, or one is too long.
    pub async fn tag(&self, function: &FunctionName, tags: BTreeMap<String, String>) -> Result<()> {
        let tags_max = self.limits().tags_max;
        self.change(function, move |edit| {
            edit.record.tags.extend(tags);
            validate::tags(&edit.record.tags, tags_max)
        })
        .await
    }

    /// Removes tags; one that is not there is removed already.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn untag(&self, function: &FunctionName, keys: &[String]) -> Result<()> {
        let keys: HashSet<String> = keys.iter().cloned().collect();
        self.change(function, move |edit| {
            edit.record.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    /// A function's tags.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn tags(&self, function: &FunctionName) -> Result<BTreeMap<String, String>> {
        Ok(self.held(function)?.record.tags.clone())
    }

    /// What the account has in use.
    pub fn usage(&self) -> Usage {
        let functions = self.functions();
        let mut usage = Usage {
            functions: functions.by_name.len() as u64,
            ..Usage::default()
        };
        let mut counted = HashSet::new();
        for held in functions.by_name.values() {
            usage.reserved_concurrency += held.record.reserved_concurrency.unwrap_or(0);
            let versions = held.versions.values().map(|(version, _)| version);
            for version in versions.chain([&held.record.latest]) {
                if counted.insert(version.package.clone()) {
                    usage.code_bytes += version.config.code_bytes;
                }
            }
        }
        usage
    }
}
