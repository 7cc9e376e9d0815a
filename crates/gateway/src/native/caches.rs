//! The caches of the functions' state: `/squall/v1/caches` says what each holds, and DELETE on `/squall/v1/caches/N`
//! makes one lose everything, as when the process that holds it dies.
//!
//! Nothing that was written is lost with a cache. A run that had read there may find its versions gone; it is executed
//! again.

use http::{Response, StatusCode};
use serde_json::{Value as Json, json};
use squall_host::refusal;
use squall_state::CacheId;

use super::state::{engine, no_content, refused};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};

/// What each cache holds, in the order of their numbers.
pub(super) fn list(gateway: &Gateway) -> Result<Response<Body>, ApiError> {
    let sizes = engine(gateway)?.cache_sizes();
    let caches: Vec<Json> = sizes
        .iter()
        .enumerate()
        .map(|(number, size)| json!({ "cache": number, "keys": size.keys, "bytes": size.bytes }))
        .collect();
    Ok(reply::json(StatusCode::OK, &json!({ "caches": caches })))
}

/// Makes a cache lose what it holds.
pub(super) fn lose(gateway: &Gateway, number: &str) -> Result<Response<Body>, ApiError> {
    let cache: u16 = number
        .parse()
        .map_err(|_| ApiError::validation(format!("`{number}` is no number of a cache")))?;
    let lost = engine(gateway)?.lose_cache(CacheId(cache));
    lost.map_err(refusal).map_err(refused)?;
    Ok(no_content())
}
