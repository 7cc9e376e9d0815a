//! How accepted events of a function are tried, how long they are kept, and where what came of them goes.
//!
//! Lambda's EventInvokeConfig, one per qualifier; and with the dead-letter queue of the version what the dispatcher
//! asks for at each attempt ([`Registry::event_policy`]). Whether a destination exists is the caller's question.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_types::{FunctionName, FunctionRef, Qualifier};

use crate::functions::{now_ms, page};
use crate::registry::{Edit, Registry};
use crate::{Page, RegistryError, validate};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// The most further attempts, and the default.
const RETRIES_MAX: u32 = 2;
/// The ages that may be set.
const AGE_SECS: std::ops::RangeInclusive<u32> = 60..=21_600;

/// What is configured for the events of one qualifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInvokeConfig {
    /// `$LATEST`, a version number or an alias.
    pub qualifier: String,
    /// Attempts after the first that failed, 0 to 2; `None` is Lambda's 2.
    pub retries_max: Option<u32>,
    /// Seconds, 60 to 21,600; `None` is Lambda's six hours.
    pub age_secs_max: Option<u32>,
    /// The ARN that learns of successes.
    pub on_success: Option<String>,
    /// The ARN that learns of events that were given up.
    pub on_failure: Option<String>,
    /// Milliseconds since 1970.
    pub last_modified_ms: i64,
}

/// What Put- and UpdateFunctionEventInvokeConfig set. An empty ARN removes a destination.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of EventInvokeConfig")]
pub struct EventInvokeSettings {
    pub retries_max: Option<u32>,
    pub age_secs_max: Option<u32>,
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
}

/// What is done with an event of a function, with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPolicy {
    /// Attempts after the first that failed.
    pub retries_max: u32,
    /// An event that is older is given up; `None` leaves it to the dispatcher.
    pub age_max: Option<Duration>,
    /// Learns of successes.
    pub on_success: Option<String>,
    /// Learns of events that were given up.
    pub on_failure: Option<String>,
    /// Takes events that were given up.
    pub dead_letter: Option<String>,
}

impl Default for EventPolicy {
    fn default() -> Self {
        Self {
            retries_max: RETRIES_MAX,
            age_max: None,
            on_success: None,
            on_failure: None,
            dead_letter: None,
        }
    }
}

impl Registry {
    /// What is done with an event for `target`. In memory; a function that is gone has the defaults.
    pub fn event_policy(&self, target: &FunctionRef) -> EventPolicy {
        let Some(held) = self.functions().get(&target.name).cloned() else {
            return EventPolicy::default();
        };
        let version = held.version(target.qualifier.as_ref());
        let dead_letter = version.and_then(|version| version.config.dead_letter.clone());
        let config = held.record.event_invoke.get(&key(target.qualifier.as_ref()));
        let config = config.cloned().unwrap_or_default();
        EventPolicy {
            retries_max: config.retries_max.unwrap_or(RETRIES_MAX),
            age_max: config.age_secs_max.map(|secs| Duration::from_secs(secs.into())),
            on_success: config.on_success,
            on_failure: config.on_failure,
            dead_letter,
        }
    }

    /// Sets everything; what is not given has its default.
    ///
    /// # Errors
    /// What is wrong with a value; [`RegistryError::NotFound`] for a function or qualifier that is not there.
    pub async fn put_event_invoke(
        &self,
        target: &FunctionRef,
        settings: EventInvokeSettings,
    ) -> Result<EventInvokeConfig> {
        check(&settings)?;
        let empty = EventInvokeConfig {
            qualifier: key(target.qualifier.as_ref()),
            ..EventInvokeConfig::default()
        };
        let config = apply(empty, settings);
        let (qualifier, absent) = (target.qualifier.clone(), self.absent(target));
        self.change(&target.name, move |edit| {
            if !exists(edit, qualifier.as_ref()) {
                return Err(absent);
            }
            let configs = &mut edit.record.event_invoke;
            configs.insert(config.qualifier.clone(), config.clone());
            Ok(config)
        })
        .await
    }

    /// Sets what is given, and leaves the rest.
    ///
    /// # Errors
    /// As [`put_event_invoke`](Self::put_event_invoke); and when there is none yet.
    pub async fn update_event_invoke(
        &self,
        target: &FunctionRef,
        settings: EventInvokeSettings,
    ) -> Result<EventInvokeConfig> {
        check(&settings)?;
        let absent = self.no_event_invoke(target);
        let qualifier = key(target.qualifier.as_ref());
        self.change(&target.name, move |edit| {
            let before = edit.record.event_invoke.get(&qualifier).cloned().ok_or(absent)?;
            let config = apply(before, settings);
            edit.record.event_invoke.insert(qualifier, config.clone());
            Ok(config)
        })
        .await
    }

    /// What is set.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn event_invoke(&self, target: &FunctionRef) -> Result<EventInvokeConfig> {
        let held = self.held(&target.name)?;
        let config = held.record.event_invoke.get(&key(target.qualifier.as_ref()));
        config.cloned().ok_or_else(|| self.no_event_invoke(target))
    }

    /// Goes back to the defaults.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn delete_event_invoke(&self, target: &FunctionRef) -> Result<()> {
        let absent = self.no_event_invoke(target);
        let qualifier = key(target.qualifier.as_ref());
        self.change(&target.name, move |edit| {
            edit.record
                .event_invoke
                .remove(&qualifier)
                .map(|_| ())
                .ok_or(absent)
        })
        .await
    }

    /// What is set for all of a function's qualifiers.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::InvalidParameter`] for a marker that no page gave.
    pub fn list_event_invokes(
        &self,
        function: &FunctionName,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<EventInvokeConfig>> {
        let held = self.held(function)?;
        let configs = held.record.event_invoke.values();
        page(configs, |config| config.qualifier.clone(), marker, max_items)
    }

    fn absent(&self, target: &FunctionRef) -> RegistryError {
        let arn = self.home().function_arn(&target.name, target.qualifier.as_ref());
        RegistryError::NotFound(format!("The function {arn} doesn't exist."))
    }

    fn no_event_invoke(&self, target: &FunctionRef) -> RegistryError {
        let qualifier = target.qualifier.clone().unwrap_or(Qualifier::Latest);
        let arn = self.home().function_arn(&target.name, Some(&qualifier));
        RegistryError::NotFound(format!("The function {arn} doesn't have an EventInvokeConfig"))
    }
}

pub(crate) fn key(qualifier: Option<&Qualifier>) -> String {
    qualifier.unwrap_or(&Qualifier::Latest).to_string()
}

/// Whether the function has that version or alias.
pub(crate) fn exists(edit: &Edit, qualifier: Option<&Qualifier>) -> bool {
    match qualifier {
        None | Some(Qualifier::Latest) => true,
        Some(Qualifier::Version(number)) => edit.versions.contains_key(number),
        Some(Qualifier::Alias(alias)) => edit.record.aliases.contains_key(alias),
    }
}

fn apply(mut config: EventInvokeConfig, settings: EventInvokeSettings) -> EventInvokeConfig {
    let destination = |given: Option<String>, before: Option<String>| match given {
        Some(arn) => Some(arn).filter(|arn| !arn.is_empty()),
        None => before,
    };
    config.retries_max = settings.retries_max.or(config.retries_max);
    config.age_secs_max = settings.age_secs_max.or(config.age_secs_max);
    config.on_success = destination(settings.on_success, config.on_success);
    config.on_failure = destination(settings.on_failure, config.on_failure);
    config.last_modified_ms = now_ms();
    config
}

fn check(settings: &EventInvokeSettings) -> Result<()> {
    let EventInvokeSettings {
        retries_max,
        age_secs_max,
        on_success,
        on_failure,
    } = settings;
    if retries_max.is_none() && age_secs_max.is_none() && on_success.is_none() && on_failure.is_none() {
        return Err(RegistryError::InvalidParameter(
            "You must specify at least one of error handling or destination setting.".to_owned(),
        ));
    }
    validate::range("maximumRetryAttempts", *retries_max, 0, RETRIES_MAX)?;
    let (least, most) = AGE_SECS.into_inner();
    validate::range("maximumEventAgeInSeconds", *age_secs_max, least, most)
}
