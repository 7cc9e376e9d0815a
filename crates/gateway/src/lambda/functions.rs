//! Functions: create, get, list, update, delete.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use squall_registry::{CreateFunction, FunctionConfig, Page, UpdateCode, UpdateConfiguration};
use squall_types::{Qualifier, RuntimeName};

use super::{Answer, Call, input, no_content, passes, shapes};
use crate::error::ApiError;
use crate::reply::{self, Body};
use crate::scheme::Scheme;
use crate::sigv4::presign;

/// How long a link to a package is valid, as on Lambda.
const LINK_VALID: Duration = Duration::from_secs(600);
/// What calls of the function run: another one after each change that instances see. Not of Lambda's API.
const REVISION: HeaderName = HeaderName::from_static("squall-revision");

impl Call<'_> {
    pub(super) async fn create_function(&self) -> Answer {
        let input: input::CreateFunction = self.input()?;
        let settings = input.settings;
        settings.unsupported.refuse()?;
        if input
            .package_type
            .as_deref()
            .is_some_and(|package| package != "Zip")
        {
            return Err(ApiError::invalid_parameter(
                "Only the PackageType Zip is supported.",
            ));
        }
        let name = input.function_name.ok_or_else(|| missing("functionName"))?;
        let name = name.parse::<squall_types::FunctionRef>()?.name;
        let runtime = settings.runtime.ok_or_else(|| {
            ApiError::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions of a Zip package.",
            )
        })?;
        let role = settings.role.ok_or_else(|| missing("role"))?;
        passes::check_role(self.gateway, &self.gateway.config.home, &role, name.as_str())?;
        let logging = settings.logging_config.unwrap_or_default();
        let request = CreateFunction {
            name,
            runtime: known_runtime(runtime)?,
            handler: settings.handler,
            role,
            description: settings.description,
            timeout_secs: settings.timeout,
            memory_mib: settings.memory_size,
            ephemeral_storage_mib: settings.ephemeral_storage.map(|storage| storage.size),
            environment: settings.environment.unwrap_or_default().variables,
            architecture: one_architecture(input.architectures)?,
            log_group: logging.log_group,
            log_format: logging.log_format,
            tracing_mode: settings.tracing_config.and_then(|tracing| tracing.mode),
            snap_start: settings.snap_start.and_then(|snap_start| snap_start.apply_on),
            dead_letter: self.dead_letter(settings.dead_letter_config)?,
            tags: input.tags,
            code: self.code(input.code).await?,
            publish: input.publish,
            dry_run: input.dry_run,
        };
        let config = self.gateway.registry.create_function(request).await?;
        Ok(reply::json(StatusCode::CREATED, &self.configuration(&config)))
    }

    pub(super) fn get_function(&self) -> Answer {
        let target = self.target()?;
        // Before the rest: whoever compares later sees what changes in between. An alias may have two, and draws lots.
        let runs = match target.qualifier {
            Some(Qualifier::Alias(_)) => None,
            _ => self.gateway.registry.resolve(&target).ok(),
        };
        let function = self.gateway.registry.function(&target)?;
        let mut shape = json!({
            "Configuration": self.configuration(&function.config),
            "Code": { "RepositoryType": "S3", "Location": self.package_link(&function.package_sha256_hex)? },
        });
        if !function.tags.is_empty() {
            shape["Tags"] = json!(function.tags);
        }
        if let Some(reserved) = function.reserved_concurrency {
            shape["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
        }
        let mut answer = reply::json(StatusCode::OK, &shape);
        if let Some(runs) = runs {
            let revision = HeaderValue::try_from(runs.revision.id.to_string());
            let revision = revision.map_err(ApiError::platform)?;
            answer.headers_mut().insert(REVISION, revision);
        }
        Ok(answer)
    }

    pub(super) fn get_function_configuration(&self) -> Answer {
        let function = self.gateway.registry.function(&self.target()?)?;
        Ok(reply::json(StatusCode::OK, &self.configuration(&function.config)))
    }

    pub(super) fn list_functions(&self) -> Answer {
        let all_versions = match self.query.get("FunctionVersion").map(String::as_str) {
            None => false,
            Some("ALL") => true,
            Some(other) => {
                return Err(ApiError::validation(format!(
                    "1 validation error detected: Value '{other}' at 'functionVersion' failed to satisfy constraint: \
                     Member must satisfy enum value set: [ALL]"
                )));
            }
        };
        let page = self
            .gateway
            .registry
            .list_functions(all_versions, self.marker(), self.max_items()?)?;
        Ok(self.configurations("Functions", page))
    }

    pub(super) async fn update_function_code(&self) -> Answer {
        let input: input::UpdateCode = self.input()?;
        let request = UpdateCode {
            name: self.function()?,
            architecture: one_architecture(input.architectures)?,
            code: self.code(input.code).await?,
            publish: input.publish,
            dry_run: input.dry_run,
            revision_id: input.revision_id,
        };
        let config = self.gateway.registry.update_code(request).await?;
        Ok(reply::json(StatusCode::OK, &self.configuration(&config)))
    }

    pub(super) async fn update_function_configuration(&self) -> Answer {
        let settings: input::Settings = self.input()?;
        settings.unsupported.refuse()?;
        let target = self.target()?;
        // A function that has had its role since before roles were checked may keep it.
        let current = self
            .gateway
            .registry
            .function(&target)
            .ok()
            .map(|found| found.config.role);
        if let Some(role) = &settings.role
            && current.as_ref() != Some(role)
        {
            passes::check_role(
                self.gateway,
                &self.gateway.config.home,
                role,
                target.name.as_str(),
            )?;
        }
        let logging = settings.logging_config.unwrap_or_default();
        let request = UpdateConfiguration {
            runtime: settings.runtime.map(known_runtime).transpose()?,
            handler: settings.handler,
            role: settings.role,
            description: settings.description,
            timeout_secs: settings.timeout,
            memory_mib: settings.memory_size,
            ephemeral_storage_mib: settings.ephemeral_storage.map(|storage| storage.size),
            environment: settings.environment.map(|environment| environment.variables),
            log_group: logging.log_group,
            log_format: logging.log_format,
            tracing_mode: settings.tracing_config.and_then(|tracing| tracing.mode),
            snap_start: settings.snap_start.and_then(|snap_start| snap_start.apply_on),
            dead_letter: self.dead_letter(settings.dead_letter_config)?,
            revision_id: settings.revision_id,
        };
        let config = self
            .gateway
            .registry
            .update_configuration(&target.name, request)
            .await?;
        Ok(reply::json(StatusCode::OK, &self.configuration(&config)))
    }

    pub(super) async fn delete_function(&self) -> Answer {
        self.gateway.registry.delete_function(&self.target()?).await?;
        Ok(no_content())
    }

    pub(super) fn configuration(&self, config: &FunctionConfig) -> Value {
        shapes::configuration(self.gateway.registry.home(), config)
    }

    /// One page of configurations, under the name that its list has.
    pub(super) fn configurations(&self, name: &str, page: Page<FunctionConfig>) -> Response<Body> {
        let items = page
            .items
            .iter()
            .map(|config| self.configuration(config))
            .collect();
        reply::json(StatusCode::OK, &shapes::page(name, items, page.next_marker))
    }

    /// A link that lets whoever has it download a package, at the address that the caller used.
    fn package_link(&self, sha256_hex: &str) -> Result<String, ApiError> {
        let path = format!("/squall/v1/packages/{sha256_hex}");
        // The host is among what the caller signed, so it is there, and it is text.
        let host = self
            .head
            .headers
            .get(header::HOST)
            .ok_or_else(|| ApiError::platform("a signed request has no host"))?;
        let query = presign(&self.gateway.signer, SystemTime::now(), LINK_VALID, host, &path)
            .map_err(ApiError::platform)?;
        let authority = host.to_str().map_err(ApiError::platform)?;
        let scheme = Scheme::of(&self.head.extensions).as_str();
        Ok(format!("{scheme}://{authority}{path}?{query}"))
    }
}

/// A runtime of a kind that is offered; whether this host has it is the registry's question.
fn known_runtime(text: String) -> Result<RuntimeName, ApiError> {
    match RuntimeName::from(text) {
        RuntimeName::Other(text) => Err(ApiError::invalid_parameter(format!(
            "Value {text} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \
             [python3.N, nodejsN.x, provided, provided.al2, provided.al2023, wasm] or be a valid ARN"
        ))),
        known => Ok(known),
    }
}

fn missing(member: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    ))
}

fn one_architecture(architectures: Vec<String>) -> Result<Option<String>, ApiError> {
    if architectures.len() > 1 {
        return Err(ApiError::invalid_parameter(
            "Architectures must have exactly one member.",
        ));
    }
    Ok(architectures.into_iter().next())
}
