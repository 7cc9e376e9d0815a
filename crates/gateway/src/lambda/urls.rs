//! Function URL configurations: create, get, list, update, delete.

use http::StatusCode;
use squall_registry::{Cors, FunctionUrl, FunctionUrlSettings, InvokeMode, UrlAuthType};
use squall_types::{FunctionRef, RuntimeName};

use super::{Answer, Call, input, no_content, shapes};
use crate::error::ApiError;
use crate::reply;

impl Call<'_> {
    pub(super) async fn create_url(&self) -> Answer {
        let input: input::FunctionUrl = self.input()?;
        if input.auth_type.is_none() {
            return Err(ApiError::validation(
                "1 validation error detected: Value null at 'authType' failed to satisfy constraint: \
                 Member must not be null",
            ));
        }
        let target = self.target()?;
        let settings = settings(input)?;
        self.check_mode(&target, settings.invoke_mode)?;
        let registry = &self.gateway.registry;
        let url = registry
            .create_url(&target.name, target.qualifier.as_ref(), settings)
            .await?;
        Ok(reply::json(StatusCode::CREATED, &self.url(&url, false)))
    }

    pub(super) fn get_url(&self) -> Answer {
        let target = self.target()?;
        let url = self
            .gateway
            .registry
            .url(&target.name, target.qualifier.as_ref())?;
        Ok(reply::json(StatusCode::OK, &self.url(&url, true)))
    }

    pub(super) async fn update_url(&self) -> Answer {
        let input: input::FunctionUrl = self.input()?;
        let target = self.target()?;
        let settings = settings(input)?;
        self.check_mode(&target, settings.invoke_mode)?;
        let registry = &self.gateway.registry;
        let url = registry
            .update_url(&target.name, target.qualifier.as_ref(), settings)
            .await?;
        Ok(reply::json(StatusCode::OK, &self.url(&url, true)))
    }

    pub(super) async fn delete_url(&self) -> Answer {
        let target = self.target()?;
        self.gateway
            .registry
            .delete_url(&target.name, target.qualifier.as_ref())
            .await?;
        Ok(no_content())
    }

    pub(super) fn list_urls(&self) -> Answer {
        let page = self
            .gateway
            .registry
            .list_urls(&self.function()?, self.marker(), self.max_items()?)?;
        let items = page.items.iter().map(|url| self.url(url, true)).collect();
        Ok(reply::json(
            StatusCode::OK,
            &shapes::page("FunctionUrlConfigs", items, page.next_marker),
        ))
    }

    /// Only components stream through a URL, and they do so in both modes.
    fn check_mode(&self, target: &FunctionRef, mode: Option<InvokeMode>) -> Result<(), ApiError> {
        let runtime = self.gateway.registry.function(target)?.config.runtime;
        if mode == Some(InvokeMode::ResponseStream) && runtime != RuntimeName::Wasm {
            return Err(ApiError::invalid_parameter(format!(
                "Squall offers the InvokeMode RESPONSE_STREAM for functions of the runtime wasm only, \
                 and this one has {runtime}; use BUFFERED."
            )));
        }
        Ok(())
    }

    fn url(&self, url: &FunctionUrl, modified: bool) -> serde_json::Value {
        shapes::url(self.gateway.registry.home(), url, self.gateway.public(), modified)
    }
}

fn settings(input: input::FunctionUrl) -> Result<FunctionUrlSettings, ApiError> {
    let auth_type = match input.auth_type.as_deref() {
        None => None,
        Some("NONE") => Some(UrlAuthType::None),
        Some("AWS_IAM") => Some(UrlAuthType::AwsIam),
        Some(other) => {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{other}' at 'authType' failed to satisfy constraint: \
                 Member must satisfy enum value set: [NONE, AWS_IAM]"
            )));
        }
    };
    let invoke_mode = match input.invoke_mode.as_deref() {
        None => None,
        Some("BUFFERED") => Some(InvokeMode::Buffered),
        Some("RESPONSE_STREAM") => Some(InvokeMode::ResponseStream),
        Some(other) => {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{other}' at 'invokeMode' failed to satisfy constraint: \
                 Member must satisfy enum value set: [BUFFERED, RESPONSE_STREAM]"
            )));
        }
    };
    let cors = input.cors.map(|cors| Cors {
        allow_credentials: cors.allow_credentials,
        allow_headers: cors.allow_headers,
        allow_methods: cors.allow_methods,
        allow_origins: cors.allow_origins,
        expose_headers: cors.expose_headers,
        max_age_secs: cors.max_age,
    });
    Ok(FunctionUrlSettings {
        auth_type,
        cors,
        invoke_mode,
    })
}
