//! How accepted events are tried and where what came of them goes: FunctionEventInvokeConfig, DeadLetterConfig.
//!
//! A destination that does not exist is refused here, when it is named.

use http::StatusCode;
use serde_json::{Value, json};
use squall_registry::{EventInvokeConfig, EventInvokeSettings};
use squall_types::{Deliver, DeliverError, FunctionName, FunctionRef, Qualifier};

use super::{Answer, Call, input, no_content, shapes};
use crate::error::ApiError;
use crate::reply;

impl Call<'_> {
    pub(super) async fn put_event_invoke(&self) -> Answer {
        let (target, settings) = (self.target()?, self.event_invoke_settings()?);
        let registry = &self.gateway.registry;
        let config = registry.put_event_invoke(&target, settings).await?;
        Ok(reply::json(
            StatusCode::OK,
            &self.event_invoke(&target.name, &config),
        ))
    }

    pub(super) async fn update_event_invoke(&self) -> Answer {
        let (target, settings) = (self.target()?, self.event_invoke_settings()?);
        let registry = &self.gateway.registry;
        let config = registry.update_event_invoke(&target, settings).await?;
        Ok(reply::json(
            StatusCode::OK,
            &self.event_invoke(&target.name, &config),
        ))
    }

    pub(super) fn get_event_invoke(&self) -> Answer {
        let target = self.target()?;
        let config = self.gateway.registry.event_invoke(&target)?;
        Ok(reply::json(
            StatusCode::OK,
            &self.event_invoke(&target.name, &config),
        ))
    }

    pub(super) async fn delete_event_invoke(&self) -> Answer {
        self.gateway.registry.delete_event_invoke(&self.target()?).await?;
        Ok(no_content())
    }

    pub(super) fn list_event_invokes(&self) -> Answer {
        let name = self.function()?;
        let registry = &self.gateway.registry;
        let page = registry.list_event_invokes(&name, self.marker(), self.max_items()?)?;
        let items = page.items.iter().map(|config| self.event_invoke(&name, config));
        let shape = shapes::page("FunctionEventInvokeConfigs", items.collect(), page.next_marker);
        Ok(reply::json(StatusCode::OK, &shape))
    }

    /// The target of a DeadLetterConfig, which exists; an empty one takes the target away.
    pub(super) fn dead_letter(&self, given: Option<input::DeadLetter>) -> Result<Option<String>, ApiError> {
        let Some(given) = given else { return Ok(None) };
        let arn = given.target_arn.unwrap_or_default();
        if !arn.is_empty() {
            self.check_target(&arn).map_err(|error| {
                ApiError::invalid_parameter(format!("The target ARN {arn} is invalid: {error}."))
            })?;
        }
        Ok(Some(arn))
    }

    fn event_invoke_settings(&self) -> Result<EventInvokeSettings, ApiError> {
        let input: input::EventInvoke = self.input()?;
        let destinations = input.destination_config.unwrap_or_default();
        let arn = |given: Option<input::Destination>| given.map(|to| to.destination.unwrap_or_default());
        let settings = EventInvokeSettings {
            retries_max: count("maximumRetryAttempts", input.maximum_retry_attempts, 0)?,
            age_secs_max: count("maximumEventAgeInSeconds", input.maximum_event_age_in_seconds, 60)?,
            on_success: arn(destinations.on_success),
            on_failure: arn(destinations.on_failure),
        };
        let own = self.target()?;
        for (side, arn) in [
            ("onSuccess=OnSuccess", &settings.on_success),
            ("onFailure=OnFailure", &settings.on_failure),
        ] {
            let Some(arn) = arn.as_ref().filter(|arn| !arn.is_empty()) else {
                continue;
            };
            let refuse = |why: &dyn std::fmt::Display| {
                ApiError::invalid_parameter(format!(
                    "The provided destination config DestinationConfig({side}(destination={arn})) is invalid: {why}."
                ))
            };
            self.check_target(arn).map_err(|error| refuse(&error))?;
            if arn.parse().is_ok_and(|to: FunctionRef| to.name == own.name) {
                return Err(refuse(&"a function cannot be its own destination"));
            }
        }
        Ok(settings)
    }

    fn check_target(&self, arn: &str) -> Result<(), DeliverError> {
        // Rules and schedules may name such queues, with a group for their messages; Lambda has no place for one.
        if arn.split(':').nth(2) == Some("sqs") && arn.ends_with(".fifo") {
            return Err(DeliverError::Unsupported(format!("{arn} (a FIFO queue)")));
        }
        self.gateway.engines.deliver.check(arn)
    }

    fn event_invoke(&self, name: &FunctionName, config: &EventInvokeConfig) -> Value {
        let qualifier: Qualifier = config.qualifier.parse().unwrap_or(Qualifier::Latest);
        let destination = |arn: &Option<String>| match arn {
            Some(arn) => json!({ "Destination": arn }),
            None => json!({}),
        };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of our time fit")]
        let modified = config.last_modified_ms as f64 / 1000.0;
        let mut shape = json!({
            "FunctionArn": self.gateway.registry.home().function_arn(name, Some(&qualifier)),
            "LastModified": modified,
            "DestinationConfig": {
                "OnSuccess": destination(&config.on_success),
                "OnFailure": destination(&config.on_failure),
            },
        });
        if let Some(retries) = config.retries_max {
            shape["MaximumRetryAttempts"] = json!(retries);
        }
        if let Some(secs) = config.age_secs_max {
            shape["MaximumEventAgeInSeconds"] = json!(secs);
        }
        shape
    }
}

/// A number that may be less than nothing on the wire; its upper bound is the registry's to check.
fn count(member: &str, given: Option<i64>, least: u32) -> Result<Option<u32>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    u32::try_from(given).map(Some).map_err(|_| {
        ApiError::validation(format!(
            "1 validation error detected: Value '{given}' at '{member}' failed to satisfy constraint: \
             Member must have value greater than or equal to {least}"
        ))
    })
}
