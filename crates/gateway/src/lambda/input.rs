//! Lambda's requests, as far as they are understood. Members that are not named here are ignored, as Lambda does,
//! but a setting that would be silently missing is refused by [`Unsupported`].

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::error::ApiError;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Variables {
    pub(super) variables: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sized {
    pub(super) size: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Logging {
    pub(super) log_group: Option<String>,
    pub(super) log_format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Tracing {
    pub(super) mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct SnapStart {
    pub(super) apply_on: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeadLetter {
    pub(super) target_arn: Option<String>,
}

/// What CreateFunction and UpdateFunctionConfiguration have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    pub(super) runtime: Option<String>,
    pub(super) role: Option<String>,
    pub(super) handler: Option<String>,
    pub(super) description: Option<String>,
    pub(super) timeout: Option<u32>,
    pub(super) memory_size: Option<u32>,
    pub(super) environment: Option<Variables>,
    pub(super) ephemeral_storage: Option<Sized>,
    pub(super) logging_config: Option<Logging>,
    pub(super) tracing_config: Option<Tracing>,
    pub(super) snap_start: Option<SnapStart>,
    pub(super) dead_letter_config: Option<DeadLetter>,
    pub(super) revision_id: Option<String>,
    #[serde(flatten)]
    pub(super) unsupported: Unsupported,
}

/// Settings that change what a function can do, and that do not exist here. Empty ones are harmless.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Unsupported {
    layers: Option<Value>,
    vpc_config: Option<Value>,
    file_system_configs: Option<Value>,
    image_config: Option<Value>,
    durable_config: Option<Value>,
    capacity_provider_config: Option<Value>,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Option<Value>,
    code_signing_config_arn: Option<Value>,
    tenancy_config: Option<Value>,
}

impl Unsupported {
    /// Refuses a request that sets one of them: a function that silently lacks its layer would fail later.
    pub(super) fn refuse(&self) -> Result<(), ApiError> {
        let settings = [
            ("Layers", &self.layers),
            ("VpcConfig", &self.vpc_config),
            ("FileSystemConfigs", &self.file_system_configs),
            ("ImageConfig", &self.image_config),
            ("DurableConfig", &self.durable_config),
            ("CapacityProviderConfig", &self.capacity_provider_config),
            ("KMSKeyArn", &self.kms_key_arn),
            ("CodeSigningConfigArn", &self.code_signing_config_arn),
            ("TenancyConfig", &self.tenancy_config),
        ];
        match settings
            .iter()
            .find(|(_, value)| value.as_ref().is_some_and(says_something))
        {
            Some((name, _)) => Err(ApiError::invalid_parameter(format!(
                "{name} is not supported by Squall yet; leave it out of the request."
            ))),
            None => Ok(()),
        }
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_something),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Where code comes from, of the ways that Lambda knows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Code {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    s3_object_version: Option<String>,
    image_uri: Option<Value>,
}

/// The way that was taken.
#[derive(Debug)]
pub(super) enum Package {
    /// The request brings it.
    Sent(Bytes),
    /// It is an object.
    Object { bucket: String, key: String },
}

impl Code {
    pub(super) fn package(self) -> Result<Package, ApiError> {
        if self.image_uri.is_some() {
            return Err(ApiError::invalid_parameter(
                "Container images are not supported; send a ZipFile.",
            ));
        }
        match (self.zip_file, self.s3_bucket, self.s3_key) {
            (Some(text), None, None) => {
                let zip = STANDARD.decode(text.as_bytes()).map_err(|error| {
                    ApiError::invalid_parameter(format!(
                        "Could not decode the ZipFile: it is not base64 ({error})."
                    ))
                })?;
                Ok(Package::Sent(Bytes::from(zip)))
            }
            (None, Some(bucket), Some(key)) => match self.s3_object_version.as_deref() {
                None | Some("null") => Ok(Package::Object { bucket, key }),
                Some(_) => Err(ApiError::invalid_parameter(
                    "Objects have no versions here: leave S3ObjectVersion out.",
                )),
            },
            (Some(_), ..) => Err(ApiError::invalid_parameter(
                "Please do not provide other FunctionCode parameters when providing a ZipFile.",
            )),
            (None, ..) => Err(ApiError::invalid_parameter(
                "Please provide a source for function code: a ZipFile, or S3Bucket and S3Key.",
            )),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateFunction {
    pub(super) function_name: Option<String>,
    #[serde(default)]
    pub(super) code: Code,
    #[serde(default)]
    pub(super) publish: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) architectures: Vec<String>,
    pub(super) package_type: Option<String>,
    #[serde(flatten)]
    pub(super) settings: Settings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UpdateCode {
    #[serde(flatten)]
    pub(super) code: Code,
    pub(super) publish: bool,
    pub(super) dry_run: bool,
    pub(super) architectures: Vec<String>,
    pub(super) revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PublishVersion {
    #[serde(rename = "CodeSha256")]
    pub(super) code_sha256: Option<String>,
    #[serde(rename = "Description")]
    pub(super) description: Option<String>,
    #[serde(rename = "RevisionId")]
    pub(super) revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Routing {
    pub(super) additional_version_weights: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Alias {
    pub(super) name: Option<String>,
    pub(super) function_version: Option<String>,
    pub(super) description: Option<String>,
    pub(super) routing_config: Option<Routing>,
    pub(super) revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Cors {
    pub(super) allow_credentials: Option<bool>,
    pub(super) allow_headers: Option<Vec<String>>,
    pub(super) allow_methods: Option<Vec<String>>,
    pub(super) allow_origins: Option<Vec<String>>,
    pub(super) expose_headers: Option<Vec<String>>,
    pub(super) max_age: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct FunctionUrl {
    pub(super) auth_type: Option<String>,
    pub(super) cors: Option<Cors>,
    pub(super) invoke_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Concurrency {
    pub(super) reserved_concurrent_executions: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tags {
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Destination {
    pub(super) destination: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Destinations {
    pub(super) on_success: Option<Destination>,
    pub(super) on_failure: Option<Destination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct EventInvoke {
    pub(super) maximum_retry_attempts: Option<i64>,
    pub(super) maximum_event_age_in_seconds: Option<i64>,
    pub(super) destination_config: Option<Destinations>,
}
