//! Buckets and who sees them: `/squall/v1/buckets`, `/squall/v1/buckets/NAME`,
//! `/squall/v1/buckets/NAME/functions/FUNCTION`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use squall_host::refusal;
use squall_state::{Bucket, BucketName, BucketSettings, Keeping};
use squall_types::FunctionName;

use super::calls::decoded;
use super::state::{engine, no_content, refused};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

/// How a bucket is to be set up; what is not said has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    durability: Option<String>,
    memory_bytes_max: Option<u64>,
    idle_after_s: Option<u64>,
    keeps_changes: bool,
}

impl Wanted {
    fn settings(&self) -> Result<BucketSettings, ApiError> {
        let mut settings = BucketSettings {
            keeps_changes: self.keeps_changes,
            idle_after: self.idle_after_s.map(Duration::from_secs),
            ..BucketSettings::default()
        };
        if let Some(text) = &self.durability {
            settings.keeping = Keeping::parse(text).ok_or_else(|| {
                ApiError::validation(format!(
                    "`{text}` is no durability: use `durable`, `buffered` or `memory`"
                ))
            })?;
        }
        if let Some(bytes_max) = self.memory_bytes_max {
            settings.memory_bytes_max = bytes_max;
        }
        Ok(settings)
    }
}

fn shape(bucket: &Bucket) -> Json {
    json!({
        "name": bucket.name.as_str(),
        "durability": bucket.settings.keeping.as_str(),
        "memory_bytes_max": bucket.settings.memory_bytes_max,
        "idle_after_s": bucket.settings.idle_after.map(|after| after.as_secs()),
        "keeps_changes": bucket.settings.keeps_changes,
    })
}

/// Answers for all buckets.
pub(super) fn list(gateway: &Gateway) -> Result<Response<Body>, ApiError> {
    let buckets: Vec<Json> = engine(gateway)?
        .buckets()
        .iter()
        .map(|bucket| shape(bucket))
        .collect();
    Ok(reply::json(StatusCode::OK, &json!({ "buckets": buckets })))
}

/// Answers for one bucket.
pub(super) async fn one(
    gateway: &Gateway,
    method: &Method,
    name: &str,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    let state = engine(gateway)?;
    let name = named(name)?;
    match *method {
        Method::PUT => {
            let wanted: Wanted = match body.is_empty() {
                true => Wanted::default(),
                false => serde_json::from_slice(body)
                    .map_err(|error| ApiError::validation(format!("the body sets up no bucket: {error}")))?,
            };
            let made = state.create_bucket(name, wanted.settings()?).await;
            let bucket = made.map_err(refusal).map_err(refused)?;
            Ok(reply::json(StatusCode::OK, &shape(&bucket)))
        }
        Method::DELETE => {
            state
                .delete_bucket(&name)
                .await
                .map_err(refusal)
                .map_err(refused)?;
            Ok(no_content())
        }
        _ => {
            let bucket = state.bucket(&name).map_err(refusal).map_err(refused)?;
            Ok(reply::json(StatusCode::OK, &shape(&bucket)))
        }
    }
}

/// Binds a bucket to a function, or takes it away.
pub(super) async fn bind(
    gateway: &Gateway,
    method: &Method,
    bucket: &str,
    function: &str,
) -> Result<Response<Body>, ApiError> {
    let state = engine(gateway)?;
    let bucket = named(bucket)?;
    let function: FunctionName = decoded(function).parse()?;
    let changed = if *method == Method::PUT {
        state.bind(&function, &bucket).await
    } else {
        state.unbind(&function, &bucket).await
    };
    changed.map_err(refusal).map_err(refused)?;
    function_buckets(gateway, function.as_str())
}

/// The buckets that a function sees beside the one of its own name.
pub(super) fn function_buckets(gateway: &Gateway, function: &str) -> Result<Response<Body>, ApiError> {
    let function: FunctionName = decoded(function).parse()?;
    let bound = engine(gateway)?.bound(&function);
    let names: Vec<&str> = bound.iter().map(BucketName::as_str).collect();
    Ok(reply::json(
        StatusCode::OK,
        &json!({ "function": function.as_str(), "buckets": names }),
    ))
}

fn named(name: &str) -> Result<BucketName, ApiError> {
    decoded(name).parse().map_err(refusal).map_err(refused)
}
