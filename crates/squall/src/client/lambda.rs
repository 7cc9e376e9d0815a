//! The operations of Lambda's API that the commands use, with the fields that they read.
//!
//! Shapes are those of Lambda's service model, version 2015-03-31 (function URLs: 2021-10-31).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, Call, Client, Refusal, encode};

/// Functions per page of a list; Lambda's largest.
const PAGE: &str = "50";
/// How long a function may take to become ready: a large package is unpacked, a component compiled.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// Small at first, since most functions are ready at once.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);

/// What Lambda calls FunctionConfiguration: the fields that a command shows or compares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct FunctionConfiguration {
    pub(crate) function_name: String,
    pub(crate) function_arn: String,
    pub(crate) runtime: Option<String>,
    pub(crate) handler: Option<String>,
    /// ARN.
    pub(crate) role: Option<String>,
    /// MB.
    pub(crate) memory_size: u32,
    /// Seconds.
    pub(crate) timeout: u32,
    /// Bytes of the package.
    pub(crate) code_size: u64,
    /// Base64.
    pub(crate) code_sha256: String,
    pub(crate) last_modified: String,
    pub(crate) version: String,
    pub(crate) state: Option<String>,
    pub(crate) state_reason: Option<String>,
    pub(crate) last_update_status: Option<String>,
    pub(crate) last_update_status_reason: Option<String>,
    pub(crate) environment: Option<Environment>,
}

/// A function's own variables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Environment {
    pub(crate) variables: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionPage {
    functions: Vec<FunctionConfiguration>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionUrl {
    function_url: String,
}

/// How an invocation is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct InvokeCall {
    /// JSON, or nothing.
    pub(crate) payload: Bytes,
    /// Accepted rather than awaited.
    pub(crate) asynchronous: bool,
    /// Version or alias.
    pub(crate) qualifier: Option<String>,
    /// The caller's own name for it.
    pub(crate) idempotency_key: Option<String>,
}

fn function_path(name: &str) -> String {
    format!("/2015-03-31/functions/{}", encode(name))
}

fn url_path(name: &str) -> String {
    format!("/2021-10-31/functions/{}/url", encode(name))
}

/// `None` for a 404: the thing is not there, which is an answer.
fn found(answer: anyhow::Result<Answer>) -> anyhow::Result<Option<Answer>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            _ => Err(error),
        },
    }
}

impl Client {
    /// GetFunctionConfiguration; `None` when there is no such function.
    pub(crate) async fn function(&self, name: &str) -> anyhow::Result<Option<FunctionConfiguration>> {
        let path = format!("{}/configuration", function_path(name));
        match found(self.send(Call::new(Method::GET, path)).await)? {
            None => Ok(None),
            Some(answer) => Ok(Some(answer.json()?)),
        }
    }

    /// ListFunctions, all pages.
    pub(crate) async fn functions(&self) -> anyhow::Result<Vec<FunctionConfiguration>> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let mut call = Call::new(Method::GET, "/2015-03-31/functions").query("MaxItems", PAGE);
            if let Some(marker) = marker.take() {
                call = call.query("Marker", marker);
            }
            let page: FunctionPage = self.send(call).await?.json()?;
            all.extend(page.functions);
            match page.next_marker.filter(|marker| !marker.is_empty()) {
                None => return Ok(all),
                next => marker = next,
            }
        }
    }

    /// CreateFunction; `request` is its JSON.
    pub(crate) async fn create_function(&self, request: &Value) -> anyhow::Result<FunctionConfiguration> {
        let call = Call::new(Method::POST, "/2015-03-31/functions").json(request);
        self.send(call).await?.json()
    }

    /// UpdateFunctionCode; `request` is its JSON.
    pub(crate) async fn update_code(
        &self,
        name: &str,
        request: &Value,
    ) -> anyhow::Result<FunctionConfiguration> {
        let call = Call::new(Method::PUT, format!("{}/code", function_path(name))).json(request);
        self.send(call).await?.json()
    }

    /// UpdateFunctionConfiguration; `request` is its JSON.
    pub(crate) async fn update_configuration(
        &self,
        name: &str,
        request: &Value,
    ) -> anyhow::Result<FunctionConfiguration> {
        let path = format!("{}/configuration", function_path(name));
        self.send(Call::new(Method::PUT, path).json(request))
            .await?
            .json()
    }

    /// Polls until the function can be invoked and its last update is through.
    ///
    /// # Errors
    /// When either failed (with the server's reason), or it takes longer than five minutes.
    pub(crate) async fn wait_until_ready(&self, name: &str) -> anyhow::Result<FunctionConfiguration> {
        let function = self.wait_until_settled(name).await?;
        check_ready(&function)?;
        Ok(function)
    }

    /// Polls until nothing is under way: Lambda refuses an update before that.
    ///
    /// # Errors
    /// When it takes longer than five minutes.
    pub(crate) async fn wait_until_settled(&self, name: &str) -> anyhow::Result<FunctionConfiguration> {
        let mut pause = POLL_FIRST;
        let settled = async {
            loop {
                let function = self
                    .function(name)
                    .await?
                    .with_context(|| format!("`{name}` was removed while it was being prepared"))?;
                if !is_under_way(&function) {
                    return Ok(function);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(POLL_MAX);
            }
        };
        match tokio::time::timeout(READY_TIMEOUT, settled).await {
            Ok(function) => function,
            Err(_) => bail!("`{name}` was not ready after {} s", READY_TIMEOUT.as_secs()),
        }
    }

    /// DeleteFunction; `false` when there is no such function.
    pub(crate) async fn delete_function(&self, name: &str) -> anyhow::Result<bool> {
        let call = Call::new(Method::DELETE, function_path(name));
        Ok(found(self.send(call).await)?.is_some())
    }

    /// GetFunctionUrlConfig's URL; `None` when the function has none.
    pub(crate) async fn function_url(&self, name: &str) -> anyhow::Result<Option<String>> {
        match found(self.send(Call::new(Method::GET, url_path(name))).await)? {
            None => Ok(None),
            Some(answer) => Ok(Some(answer.json::<FunctionUrl>()?.function_url)),
        }
    }

    /// CreateFunctionUrlConfig with AuthType NONE: open to whoever reaches the server.
    pub(crate) async fn create_function_url(&self, name: &str) -> anyhow::Result<String> {
        let call = Call::new(Method::POST, url_path(name)).json(&serde_json::json!({"AuthType": "NONE"}));
        Ok(self.send(call).await?.json::<FunctionUrl>()?.function_url)
    }

    /// Invoke, with the tail of the log.
    /// No time limit of ours: the function's own ends it.
    pub(crate) async fn invoke(&self, name: &str, request: InvokeCall) -> anyhow::Result<Answer> {
        let mut call = Call::new(Method::POST, format!("{}/invocations", function_path(name)))
            .header("content-type", "application/json");
        call = if request.asynchronous {
            call.header("x-amz-invocation-type", "Event")
        } else {
            call.header("x-amz-log-type", "Tail")
        };
        if let Some(key) = request.idempotency_key {
            call = call.header("x-squall-idempotency-key", key);
        }
        if let Some(qualifier) = request.qualifier {
            call = call.query("Qualifier", qualifier);
        }
        call.body = request.payload;
        call.timeout = None;
        self.send(call).await
    }
}

/// Whether a creation or an update is not through yet.
fn is_under_way(function: &FunctionConfiguration) -> bool {
    function.state.as_deref() == Some("Pending")
        || function.last_update_status.as_deref() == Some("InProgress")
}

/// Says why a function that is settled cannot be invoked.
fn check_ready(function: &FunctionConfiguration) -> anyhow::Result<()> {
    let name = &function.function_name;
    let reason = |text: &Option<String>| text.clone().unwrap_or_else(|| "no reason given".to_owned());
    if function.state.as_deref() == Some("Failed") {
        bail!(
            "`{name}` could not be prepared: {}",
            reason(&function.state_reason)
        );
    }
    if function.last_update_status.as_deref() == Some("Failed") {
        bail!(
            "the update of `{name}` failed: {}",
            reason(&function.last_update_status_reason)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_ready_once_it_is_active_and_its_update_is_through() {
        let check = |state: &str, update: Option<&str>, expected: (bool, bool)| {
            let function = FunctionConfiguration {
                state: Some(state.to_owned()),
                last_update_status: update.map(str::to_owned),
                ..FunctionConfiguration::default()
            };
            let actual = (is_under_way(&function), check_ready(&function).is_ok());
            assert_eq!(actual, expected, "{state} {update:?}");
        };
        check("Active", Some("Successful"), (false, true));
        check("Inactive", Some("Successful"), (false, true));
        check("Pending", None, (true, true));
        check("Active", Some("InProgress"), (true, true));
        check("Failed", None, (false, false));
        check("Active", Some("Failed"), (false, false));
    }

    #[test]
    fn reads_lambdas_own_field_names() {
        let function: FunctionConfiguration = serde_json::from_str(
            r#"{"FunctionName":"f","CodeSha256":"s","CodeSize":3,"MemorySize":128,"Environment":{"Variables":{"A":"1"}}}"#,
        )
        .expect("Lambda's JSON");
        assert_eq!((function.code_sha256.as_str(), function.code_size), ("s", 3));
        assert_eq!(function.environment.expect("there").variables["A"], "1");
    }
}
