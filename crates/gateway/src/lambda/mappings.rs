//! Event source mappings.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use squall_events::mapping::{Change, Mapping, MappingError};
use squall_types::FunctionRef;
use uuid::Uuid;

use super::{Answer, Call, shapes};
use crate::error::ApiError;
use crate::reply;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    enabled: Option<bool>,
    batch_size: Option<i64>,
    maximum_batching_window_in_seconds: Option<i64>,
    filter_criteria: Option<FilterCriteria>,
    function_response_types: Option<Vec<String>>,
    scaling_config: Option<ScalingConfig>,
    starting_position: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Filter {
    pattern: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ScalingConfig {
    maximum_concurrency: Option<i64>,
}

/// Settings of other kinds of sources, or that change what a mapping does and do not exist here.
const UNSUPPORTED: [&str; 14] = [
    "ParallelizationFactor",
    "StartingPositionTimestamp",
    "DestinationConfig",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "MaximumRetryAttempts",
    "TumblingWindowInSeconds",
    "Topics",
    "Queues",
    "SourceAccessConfigurations",
    "SelfManagedEventSource",
    "KMSKeyArn",
    "ProvisionedPollerConfig",
    "MetricsConfig",
];

impl Input {
    fn change(&self) -> Result<Change, ApiError> {
        let set = |value: &Value| !matches!(value, Value::Null) && *value != json!([]) && *value != json!({});
        if let Some(name) = UNSUPPORTED
            .iter()
            .find(|name| self.others.get(**name).is_some_and(set))
        {
            return Err(ApiError::invalid_parameter(format!(
                "{name} is not supported by Squall for this event source; leave it out of the request."
            )));
        }
        let number = |name: &str, value: Option<i64>| match value.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(ApiError::validation(format!(
                "1 validation error detected: Value '{}' at '{name}' failed to satisfy constraint: \
                 Member must have value greater than or equal to 0",
                value.unwrap_or_default()
            ))),
        };
        let reports_failures = match &self.function_response_types {
            None => None,
            Some(types) => match types.iter().find(|kind| *kind != "ReportBatchItemFailures") {
                Some(other) => {
                    return Err(ApiError::validation(format!(
                        "1 validation error detected: Value '{other}' at 'functionResponseTypes' failed to satisfy \
                         constraint: Member must satisfy enum value set: [ReportBatchItemFailures]"
                    )));
                }
                None => Some(!types.is_empty()),
            },
        };
        let concurrency_max = match &self.scaling_config {
            None => None,
            Some(scaling) => Some(number("maximumConcurrency", scaling.maximum_concurrency)?),
        };
        let filters = self.filter_criteria.as_ref().map(|criteria| {
            criteria
                .filters
                .iter()
                .map(|filter| filter.pattern.clone())
                .collect()
        });
        Ok(Change {
            enabled: self.enabled,
            batch_max: number("batchSize", self.batch_size)?,
            window_secs: number(
                "maximumBatchingWindowInSeconds",
                self.maximum_batching_window_in_seconds,
            )?,
            filters,
            reports_failures,
            concurrency_max,
            starting_position: self.starting_position.clone(),
        })
    }
}

impl Call<'_> {
    pub(super) async fn create_mapping(&self) -> Answer {
        let input: Input = self.input()?;
        let change = input.change()?;
        let required = |name: &str, value: Option<String>| {
            let missing = || {
                ApiError::validation(format!(
                    "1 validation error detected: Value null at '{name}' failed to satisfy constraint: \
                     Member must not be null"
                ))
            };
            value.ok_or_else(missing)
        };
        let function = required("functionName", input.function_name)?;
        let source_arn = match input.event_source_arn {
            Some(arn) => arn,
            None => return Err(ApiError::invalid_parameter("EventSourceArn is required.")),
        };
        let (function, timeout_secs) = self.mapped(&function)?;
        let mappings = &self.gateway.engines.mappings;
        let made = mappings
            .create(&source_arn, function, &change, timeout_secs)
            .await?;
        Ok(reply::json(
            StatusCode::ACCEPTED,
            &self.mapping(&made, Some("Creating")),
        ))
    }

    pub(super) fn get_mapping(&self) -> Answer {
        let mapping = self.gateway.engines.mappings.get(self.uuid()?)?;
        Ok(reply::json(StatusCode::OK, &self.mapping(&mapping, None)))
    }

    pub(super) fn list_mappings(&self) -> Answer {
        let wanted = |name: &str| self.query.get(name).filter(|value| !value.is_empty());
        let source_arn = wanted("EventSourceArn");
        let function: Option<FunctionRef> = wanted("FunctionName").map(|name| name.parse()).transpose()?;
        let after: Option<Uuid> = self.marker().and_then(|marker| marker.parse().ok());
        let mut all: Vec<Mapping> = self.gateway.engines.mappings.all();
        all.retain(|mapping| {
            source_arn.is_none_or(|arn| *arn == mapping.source_arn)
                && function
                    .as_ref()
                    .is_none_or(|function| *function == mapping.function)
                && after.is_none_or(|after| mapping.uuid > after)
        });
        let max = self.max_items()?;
        let next = all.get(max.wrapping_sub(1)).filter(|_| all.len() > max);
        let next = next.map(|last| last.uuid.to_string());
        let items = all.iter().take(max).map(|one| self.mapping(one, None)).collect();
        Ok(reply::json(
            StatusCode::OK,
            &shapes::page("EventSourceMappings", items, next),
        ))
    }

    pub(super) async fn update_mapping(&self) -> Answer {
        let input: Input = self.input()?;
        let (uuid, change) = (self.uuid()?, input.change()?);
        let mappings = &self.gateway.engines.mappings;
        let current = mappings.get(uuid)?;
        let named = match &input.function_name {
            Some(name) => Some(self.mapped(name)?),
            None => None,
        };
        // A function that is gone may be let go of, too: its timeout is no obstacle then.
        let registry = &self.gateway.registry;
        let timeout_secs = match &named {
            Some((_, timeout_secs)) => *timeout_secs,
            None => registry
                .function(&current.function)
                .map_or(0, |found| found.config.timeout_secs),
        };
        let function = named.map(|(function, _)| function);
        let changed = mappings.update(uuid, function, &change, timeout_secs).await?;
        let state = match (current.settings.enabled, changed.settings.enabled) {
            (false, true) => "Enabling",
            (true, false) => "Disabling",
            _ => "Updating",
        };
        Ok(reply::json(
            StatusCode::ACCEPTED,
            &self.mapping(&changed, Some(state)),
        ))
    }

    pub(super) async fn delete_mapping(&self) -> Answer {
        let gone = self.gateway.engines.mappings.delete(self.uuid()?).await?;
        Ok(reply::json(
            StatusCode::ACCEPTED,
            &self.mapping(&gone, Some("Deleting")),
        ))
    }

    fn uuid(&self) -> Result<Uuid, ApiError> {
        let text = self.parameter("uuid");
        text.parse().map_err(|_| MappingError::NotFound.into())
    }

    /// A function that is there, and its timeout.
    fn mapped(&self, name: &str) -> Result<(FunctionRef, u32), ApiError> {
        let function: FunctionRef = name.parse()?;
        let found = self
            .gateway
            .registry
            .function(&function)
            .map_err(|error| match error {
                squall_registry::RegistryError::NotFound(_) => {
                    ApiError::invalid_parameter(format!("Function does not exist: {name}"))
                }
                other => other.into(),
            })?;
        Ok((function, found.config.timeout_secs))
    }

    fn mapping(&self, mapping: &Mapping, state: Option<&str>) -> Value {
        let settings = &mapping.settings;
        let home = self.gateway.registry.home();
        let (region, account, uuid) = (&home.region, &home.account, mapping.uuid);
        let now = if settings.enabled { "Enabled" } else { "Disabled" };
        // A timestamp of whole milliseconds; a float has room for them for a long time to come.
        #[expect(clippy::cast_precision_loss, reason = "milliseconds fit 53 bits")]
        let modified_secs = mapping.modified_ms as f64 / 1000.0;
        let mut shape = json!({
            "UUID": uuid.to_string(),
            "EventSourceMappingArn": format!("arn:aws:lambda:{region}:{account}:event-source-mapping:{uuid}"),
            "EventSourceArn": mapping.source_arn,
            "FunctionArn": home.function_arn(&mapping.function.name, mapping.function.qualifier.as_ref()),
            "BatchSize": settings.batch_max,
            "MaximumBatchingWindowInSeconds": settings.window_secs,
            "LastModified": modified_secs,
            "State": state.unwrap_or(now),
            "StateTransitionReason": "USER_INITIATED",
        });
        if settings.reports_failures {
            shape["FunctionResponseTypes"] = json!(["ReportBatchItemFailures"]);
        }
        if let Some(max) = settings.concurrency_max {
            shape["ScalingConfig"] = json!({ "MaximumConcurrency": max });
        }
        if let Some(position) = &settings.starting_position {
            shape["StartingPosition"] = Value::from(position.clone());
        }
        if !settings.filters.is_empty() {
            let filters: Vec<Value> = settings
                .filters
                .iter()
                .map(|text| json!({ "Pattern": text }))
                .collect();
            shape["FilterCriteria"] = json!({ "Filters": filters });
        }
        let result = self.gateway.engines.mappings.last_result(uuid);
        if !result.is_empty() {
            shape["LastProcessingResult"] = Value::from(result);
        }
        shape
    }
}
