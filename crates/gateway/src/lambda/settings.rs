//! Concurrency, tags, and the account.

use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;
use squall_types::{FunctionName, FunctionRef};

use super::{Answer, Call, input, no_content, shapes};
use crate::error::ApiError;
use crate::reply::{self, Body};

impl Call<'_> {
    pub(super) async fn put_concurrency(&self) -> Answer {
        let input: input::Concurrency = self.input()?;
        let Some(reserved) = input
            .reserved_concurrent_executions
            .and_then(|number| u32::try_from(number).ok())
        else {
            return Err(ApiError::validation(
                "1 validation error detected: Value at 'reservedConcurrentExecutions' failed to satisfy constraint: \
                 Member must have value greater than or equal to 0",
            ));
        };
        let reserved = self
            .gateway
            .registry
            .put_concurrency(&self.function()?, reserved)
            .await?;
        Ok(reply::json(
            StatusCode::OK,
            &json!({ "ReservedConcurrentExecutions": reserved }),
        ))
    }

    pub(super) fn get_concurrency(&self) -> Answer {
        let reserved = self.gateway.registry.concurrency(&self.function()?)?;
        let shape = reserved.map_or_else(|| json!({}), |n| json!({ "ReservedConcurrentExecutions": n }));
        Ok(reply::json(StatusCode::OK, &shape))
    }

    pub(super) async fn delete_concurrency(&self) -> Answer {
        self.gateway
            .registry
            .delete_concurrency(&self.function()?)
            .await?;
        Ok(no_content())
    }

    /// There is none: a list of them is empty, and one of them is not found.
    pub(super) fn get_provisioned_concurrency(&self) -> Answer {
        let function = self
            .gateway
            .registry
            .function(&FunctionRef::unqualified(self.function()?))?;
        if self.query.get("List").is_some_and(|list| list == "ALL") {
            let shape = shapes::page("ProvisionedConcurrencyConfigs", Vec::new(), None);
            return Ok(reply::json(StatusCode::OK, &shape));
        }
        Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "ProvisionedConcurrencyConfigNotFoundException",
            format!(
                "No Provisioned Concurrency Config found for this function ({})",
                function.config.name
            ),
        ))
    }

    pub(super) async fn tag_resource(&self) -> Answer {
        let input: input::Tags = self.input()?;
        self.gateway.registry.tag(&self.resource()?, input.tags).await?;
        Ok(no_content())
    }

    pub(super) async fn untag_resource(&self) -> Answer {
        // The one parameter that may come several times.
        let pairs = self
            .head
            .uri
            .query()
            .unwrap_or("")
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let keys = pairs
            .filter(|(name, _)| *name == "tagKeys")
            .map(|(_, value)| value);
        let keys: Vec<String> = keys
            .map(|key| percent_decode_str(key).decode_utf8_lossy().into_owned())
            .collect();
        self.gateway.registry.untag(&self.resource()?, &keys).await?;
        Ok(no_content())
    }

    pub(super) fn list_tags(&self) -> Answer {
        let tags = self.gateway.registry.tags(&self.resource()?)?;
        Ok(reply::json(StatusCode::OK, &json!({ "Tags": tags })))
    }

    pub(super) fn get_account_settings(&self) -> Response<Body> {
        let (limits, usage) = (self.gateway.registry.limits(), self.gateway.registry.usage());
        let shape = json!({
            "AccountLimit": {
                "TotalCodeSize": 80_530_636_800_u64,
                "CodeSizeUnzipped": limits.unzipped_bytes_max,
                "CodeSizeZipped": limits.zip_bytes_max,
                "ConcurrentExecutions": limits.account_concurrency,
                "UnreservedConcurrentExecutions": limits.account_concurrency.saturating_sub(usage.reserved_concurrency),
            },
            "AccountUsage": { "TotalCodeSize": usage.code_bytes, "FunctionCount": usage.functions },
        });
        reply::json(StatusCode::OK, &shape)
    }

    /// The function whose ARN the path holds. Tags belong to functions, not to versions.
    fn resource(&self) -> Result<FunctionName, ApiError> {
        let arn = self.parameter("resource");
        let target: FunctionRef = arn.parse()?;
        if !arn.starts_with("arn:") || target.qualifier.is_some() {
            return Err(ApiError::invalid_parameter(format!(
                "`{arn}` is not an unqualified function ARN; only functions have tags here."
            )));
        }
        Ok(target.name)
    }
}
