//! Lambda's answers, member for member.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use squall_registry::{Alias, FunctionConfig, FunctionUrl, LastUpdateStatus};
use squall_types::{Home, Qualifier, Version};

use crate::clock;
use crate::scheme::Scheme;

/// `FunctionConfiguration`.
pub(super) fn configuration(home: &Home, config: &FunctionConfig) -> Value {
    let qualifier = match config.version {
        Version::Latest => None,
        version @ Version::Published(_) => Some(Qualifier::from(version)),
    };
    let arn = home.function_arn(&config.name, qualifier.as_ref());
    let mut shape = json!({
        "FunctionName": config.name,
        "FunctionArn": arn,
        "Runtime": config.runtime,
        "Role": config.role,
        "CodeSize": config.code_bytes,
        "Description": config.description,
        "Timeout": config.timeout_secs,
        "MemorySize": config.memory_mib,
        "LastModified": clock::iso(config.last_modified_ms),
        "CodeSha256": config.code_sha256,
        "Version": config.version.to_string(),
        "TracingConfig": { "Mode": config.tracing_mode },
        "RevisionId": config.revision_id,
        "State": format!("{:?}", config.state),
        "PackageType": "Zip",
        "Architectures": [config.architecture],
        "EphemeralStorage": { "Size": config.ephemeral_storage_mib },
        "SnapStart": { "ApplyOn": config.snap_start, "OptimizationStatus": "Off" },
        "RuntimeVersionConfig": { "RuntimeVersionArn": runtime_version_arn(home, config) },
        "LoggingConfig": { "LogFormat": config.log_format, "LogGroup": config.log_group },
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shape[name] = value;
        }
    };
    // Some runtimes need none, and the model has no empty one.
    let handler = (!config.handler.is_empty()).then(|| Value::from(config.handler.clone()));
    set("Handler", handler);
    let variables = (!config.environment.is_empty()).then(|| json!({ "Variables": config.environment }));
    set("Environment", variables);
    let dead_letter = config.dead_letter.as_ref();
    set(
        "DeadLetterConfig",
        dead_letter.map(|arn| json!({ "TargetArn": arn })),
    );
    set("StateReason", config.state_reason.clone().map(Value::from));
    set(
        "StateReasonCode",
        config.state_reason_code.clone().map(Value::from),
    );
    let status = config.last_update_status.map(|status| match status {
        LastUpdateStatus::Successful => "Successful",
        LastUpdateStatus::InProgress => "InProgress",
        LastUpdateStatus::Failed => "Failed",
    });
    set("LastUpdateStatus", status.map(Value::from));
    set(
        "LastUpdateStatusReason",
        config.last_update_reason.clone().map(Value::from),
    );
    set(
        "LastUpdateStatusReasonCode",
        config.last_update_reason_code.clone().map(Value::from),
    );
    shape
}

/// Names the host's runtime; its form is AWS's, with the runtime's own name where AWS has a hash.
pub(super) fn runtime_version_arn(home: &Home, config: &FunctionConfig) -> String {
    format!("arn:aws:lambda:{}::runtime:{}", home.region, config.runtime)
}

/// `AliasConfiguration`.
pub(super) fn alias(home: &Home, function: &squall_types::FunctionName, alias: &Alias) -> Value {
    let mut shape = json!({
        "AliasArn": home.function_arn(function, Some(&Qualifier::Alias(alias.name.clone()))),
        "Name": alias.name,
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if let Some((version, weight)) = alias.additional {
        let weights = BTreeMap::from([(version.to_string(), weight)]);
        shape["RoutingConfig"] = json!({ "AdditionalVersionWeights": weights });
    }
    shape
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Cors<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_credentials: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_headers: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_methods: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_origins: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expose_headers: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u32>,
}

/// `FunctionUrlConfig`, with the address at which this server answers.
pub(super) fn url(home: &Home, url: &FunctionUrl, (scheme, port): (Scheme, u16), modified: bool) -> Value {
    let qualifier = url.alias.clone().map(Qualifier::Alias);
    let mut shape = json!({
        "FunctionUrl": format!("{}://{}.lambda-url.{}.localhost:{port}/", scheme.as_str(), url.id, home.region),
        "FunctionArn": home.function_arn(&url.function, qualifier.as_ref()),
        "AuthType": url.auth_type,
        "CreationTime": clock::iso(url.created_ms),
        "InvokeMode": url.invoke_mode,
    });
    if modified {
        shape["LastModifiedTime"] = Value::from(clock::iso(url.last_modified_ms));
    }
    if let Some(cors) = &url.cors {
        shape["Cors"] = json!(Cors {
            allow_credentials: cors.allow_credentials,
            allow_headers: &cors.allow_headers,
            allow_methods: &cors.allow_methods,
            allow_origins: &cors.allow_origins,
            expose_headers: &cors.expose_headers,
            max_age: cors.max_age_secs,
        });
    }
    shape
}

/// A page of a list: the items under their name, and the marker of the next page.
pub(super) fn page(name: &str, items: Vec<Value>, next_marker: Option<String>) -> Value {
    let mut shape = json!({ name: items });
    if let Some(marker) = next_marker {
        shape["NextMarker"] = Value::from(marker);
    }
    shape
}
