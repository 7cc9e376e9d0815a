//! What a function may be: every value that a caller gives is checked here, with Lambda's words for what is wrong.

use std::collections::BTreeMap;

use squall_types::RuntimeName;

use crate::functions::ARCHITECTURE;
use crate::{CreateFunction, FunctionConfig, Limits, RegistryError, UpdateConfiguration};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// Names that the platform sets itself.
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

pub(crate) fn create(request: &CreateFunction, limits: &Limits) -> Result<()> {
    role(&request.role)?;
    runs_handler(&request.runtime, request.handler.as_deref().unwrap_or(""))?;
    architecture(request.architecture.as_deref())?;
    tags(&request.tags, limits.tags_max)?;
    let values = UpdateConfiguration {
        description: request.description.clone(),
        timeout_secs: request.timeout_secs,
        memory_mib: request.memory_mib,
        ephemeral_storage_mib: request.ephemeral_storage_mib,
        environment: Some(request.environment.clone()),
        log_group: request.log_group.clone(),
        log_format: request.log_format.clone(),
        tracing_mode: request.tracing_mode.clone(),
        snap_start: request.snap_start.clone(),
        ..UpdateConfiguration::default()
    };
    update(&values, limits)
}

pub(crate) fn update(request: &UpdateConfiguration, limits: &Limits) -> Result<()> {
    if let Some(value) = &request.role {
        role(value)?;
    }
    length("description", request.description.as_deref(), 256)?;
    length("loggingConfig.logGroup", request.log_group.as_deref(), 512)?;
    range("timeout", request.timeout_secs, 1, limits.timeout_secs_max)?;
    range("memorySize", request.memory_mib, 128, limits.memory_mib_max)?;
    range(
        "ephemeralStorage.size",
        request.ephemeral_storage_mib,
        512,
        10_240,
    )?;
    one_of(
        "loggingConfig.logFormat",
        request.log_format.as_deref(),
        &["JSON", "Text"],
    )?;
    one_of(
        "tracingConfig.mode",
        request.tracing_mode.as_deref(),
        &["Active", "PassThrough"],
    )?;
    one_of(
        "snapStart.applyOn",
        request.snap_start.as_deref(),
        &["PublishedVersions", "None"],
    )?;
    request.environment.as_ref().map_or(Ok(()), |variables| {
        environment(variables, limits.environment_bytes_max)
    })
}

/// The handler of a configuration after an update: runtime and handler may each have come alone.
pub(crate) fn handler(config: &FunctionConfig) -> Result<()> {
    runs_handler(&config.runtime, &config.handler)
}

fn runs_handler(runtime: &RuntimeName, handler: &str) -> Result<()> {
    if handler.len() > 128 || handler.contains(char::is_whitespace) {
        return Err(constraint(
            handler,
            "handler",
            "satisfy regular expression pattern: [^\\s]+ of at most 128",
        ));
    }
    let managed = matches!(runtime, RuntimeName::Python { .. } | RuntimeName::Node { .. });
    if managed && !handler.contains('.') {
        let said = if handler.is_empty() {
            "none was given".to_owned()
        } else {
            format!("`{handler}` is none")
        };
        return Err(RegistryError::InvalidParameter(format!(
            "The runtime {runtime} needs a handler of the form file.function, such as app.handler; {said}"
        )));
    }
    Ok(())
}

fn role(role: &str) -> Result<()> {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let fits = match parts.as_slice() {
        ["arn", partition, "iam", "", account, name] => {
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && name.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let pattern =
        "satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+";
    Err(constraint(role, "role", pattern))
}

pub(crate) fn architecture(architecture: Option<&str>) -> Result<()> {
    match architecture {
        None => Ok(()),
        Some(own) if own == ARCHITECTURE => Ok(()),
        Some(known @ ("x86_64" | "arm64")) => Err(RegistryError::InvalidParameter(format!(
            "This host is {ARCHITECTURE}; it cannot run functions that are built for {known}"
        ))),
        Some(other) => Err(constraint(
            other,
            "architectures",
            "satisfy enum value set: [x86_64, arm64]",
        )),
    }
}

pub(crate) fn tags(tags: &BTreeMap<String, String>, tags_max: usize) -> Result<()> {
    if tags.len() > tags_max {
        return Err(RegistryError::InvalidParameter(format!(
            "A function has at most {tags_max} tags"
        )));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(RegistryError::InvalidParameter(format!(
                "The tag `{key}` is too long: keys have 1 to 128 characters, values at most 256"
            )));
        }
        if key.starts_with("aws:") {
            return Err(RegistryError::InvalidParameter(format!(
                "The tag `{key}` starts with `aws:`, which is AWS's"
            )));
        }
    }
    Ok(())
}

fn environment(variables: &BTreeMap<String, String>, bytes_max: usize) -> Result<()> {
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > bytes_max {
        return Err(RegistryError::InvalidParameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the {bytes_max} bytes limit. Measured: {bytes} bytes."
        )));
    }
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|name| RESERVED_VARIABLES.contains(name))
        .collect();
    if !reserved.is_empty() {
        return Err(RegistryError::InvalidParameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. \
             Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let is_name = |name: &String| {
        let mut chars = name.chars();
        name.len() >= 2
            && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if let Some(name) = variables.keys().find(|name| !is_name(name)) {
        let pattern =
            "satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]";
        return Err(constraint(name, "environment.variables", pattern));
    }
    if let Some((name, _)) = variables.iter().find(|(_, value)| value.contains('\0')) {
        return Err(RegistryError::InvalidParameter(format!(
            "The environment variable {name} holds a NUL"
        )));
    }
    Ok(())
}

fn length(field: &str, value: Option<&str>, chars_max: usize) -> Result<()> {
    match value {
        Some(value) if value.chars().count() > chars_max => Err(constraint(
            value,
            field,
            &format!("have length less than or equal to {chars_max}"),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn range(field: &str, value: Option<u32>, least: u32, most: u32) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let bound = if value < least {
        format!("have value greater than or equal to {least}")
    } else if value > most {
        format!("have value less than or equal to {most}")
    } else {
        return Ok(());
    };
    Err(constraint(&value.to_string(), field, &bound))
}

fn one_of(field: &str, value: Option<&str>, allowed: &[&str]) -> Result<()> {
    match value {
        Some(value) if !allowed.contains(&value) => Err(constraint(
            value,
            field,
            &format!("satisfy enum value set: [{}]", allowed.join(", ")),
        )),
        _ => Ok(()),
    }
}

fn constraint(value: &str, field: &str, must: &str) -> RegistryError {
    RegistryError::Validation(format!(
        "1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: Member must {must}"
    ))
}
