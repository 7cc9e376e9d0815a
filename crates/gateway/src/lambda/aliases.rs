//! Aliases: create, get, list, update, delete.

use http::{Response, StatusCode};
use squall_registry::{Alias, CreateAlias, UpdateAlias};
use squall_types::{AliasName, FunctionName, Qualifier, Version};

use super::{Answer, Call, input, no_content, shapes};
use crate::error::ApiError;
use crate::reply::{self, Body};

impl Call<'_> {
    pub(super) async fn create_alias(&self) -> Answer {
        let input: input::Alias = self.input()?;
        let function = self.function()?;
        let request = CreateAlias {
            name: input.name.unwrap_or_default().parse()?,
            version: version(&input.function_version.unwrap_or_default())?,
            additional: input.routing_config.map(additional).transpose()?.flatten(),
            description: input.description,
        };
        let alias = self.gateway.registry.create_alias(&function, request).await?;
        Ok(self.alias(StatusCode::CREATED, &function, &alias))
    }

    pub(super) fn get_alias(&self) -> Answer {
        let function = self.function()?;
        let alias = self.gateway.registry.alias(&function, &self.alias_name()?)?;
        Ok(self.alias(StatusCode::OK, &function, &alias))
    }

    pub(super) async fn update_alias(&self) -> Answer {
        let input: input::Alias = self.input()?;
        let function = self.function()?;
        let request = UpdateAlias {
            version: input.function_version.as_deref().map(version).transpose()?,
            additional: input.routing_config.map(additional).transpose()?,
            description: input.description,
            revision_id: input.revision_id,
        };
        let alias = self
            .gateway
            .registry
            .update_alias(&function, &self.alias_name()?, request)
            .await?;
        Ok(self.alias(StatusCode::OK, &function, &alias))
    }

    pub(super) async fn delete_alias(&self) -> Answer {
        self.gateway
            .registry
            .delete_alias(&self.function()?, &self.alias_name()?)
            .await?;
        Ok(no_content())
    }

    pub(super) fn list_aliases(&self) -> Answer {
        let function = self.function()?;
        let pointing_at = self
            .query
            .get("FunctionVersion")
            .map(|text| version(text))
            .transpose()?;
        let (marker, max_items) = (self.marker(), self.max_items()?);
        let page = self
            .gateway
            .registry
            .list_aliases(&function, pointing_at, marker, max_items)?;
        let home = self.gateway.registry.home();
        let items = page
            .items
            .iter()
            .map(|alias| shapes::alias(home, &function, alias))
            .collect();
        Ok(reply::json(
            StatusCode::OK,
            &shapes::page("Aliases", items, page.next_marker),
        ))
    }

    fn alias_name(&self) -> Result<AliasName, ApiError> {
        Ok(self.parameter("alias").parse()?)
    }

    fn alias(&self, status: StatusCode, function: &FunctionName, alias: &Alias) -> Response<Body> {
        reply::json(
            status,
            &shapes::alias(self.gateway.registry.home(), function, alias),
        )
    }
}

/// `$LATEST` or a number.
fn version(text: &str) -> Result<Version, ApiError> {
    match text.parse::<Qualifier>()? {
        Qualifier::Latest => Ok(Version::Latest),
        Qualifier::Version(number) => Ok(Version::Published(number)),
        Qualifier::Alias(_) => Err(ApiError::validation(format!(
            "1 validation error detected: Value '{text}' at 'functionVersion' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: (\\$LATEST|[0-9]+)"
        ))),
    }
}

/// The second version and its weight; none where the map is empty.
fn additional(routing: input::Routing) -> Result<Option<(u64, f64)>, ApiError> {
    let mut weights = routing.additional_version_weights.into_iter();
    let Some((text, weight)) = weights.next() else {
        return Ok(None);
    };
    if weights.next().is_some() {
        return Err(ApiError::invalid_parameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    match version(&text)? {
        Version::Published(number) => Ok(Some((number, weight))),
        Version::Latest => Err(ApiError::invalid_parameter(
            "$LATEST cannot be an additional version of an alias",
        )),
    }
}
