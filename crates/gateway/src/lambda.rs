//! Lambda's API: the only module that knows its JSON.
//!
//! [`serve`] finds the operation, authenticates, reads the body up to that operation's bound, and calls the
//! operation's own function.

mod aliases;
mod code;
mod event_invoke;
mod functions;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod input;
mod invoke;
mod mappings;
mod passes;
mod permissions;
mod settings;
mod shapes;
mod stream;
mod stubs;
mod urls;
mod versions;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use squall_types::{FunctionName, FunctionRef, RequestId};

use crate::authenticate::{Authentic, authenticate};
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::operation::{Operation, Operations};
use crate::reply::{self, Body};
use crate::trace;

static OPERATIONS: LazyLock<Operations> = LazyLock::new(Operations::new);

/// The largest request that brings code, in bytes: a package of 50 MB in base64.
const CODE_BYTES_MAX: usize = 70_167_211;
/// The largest payload of a synchronous invocation.
const PAYLOAD_BYTES_MAX: usize = 6_291_456;
/// The largest request of every other operation.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const PAGE_ITEMS_DEFAULT: usize = 50;

/// Signing names that Lambda's operations accept.
const SERVICES: &[&str] = &["lambda"];

/// One authenticated request for one operation.
pub(crate) struct Call<'a> {
    gateway: &'a Arc<Gateway>,
    head: &'a Parts,
    parameters: HashMap<String, String>,
    query: HashMap<String, String>,
    body: Bytes,
    /// Who calls: for what an operation is about beside its function.
    caller: Authentic,
    request_id: RequestId,
}

type Answer = Result<Response<Body>, ApiError>;

/// Answers a request to Lambda's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    let (head, body) = request.into_parts();
    let trace_id = trace::id(&head.headers, request_id);
    let mut response = perform(gateway, &head, body, request_id)
        .await
        .unwrap_or_else(ApiError::into_response);
    reply::name_request(&mut response, request_id);
    trace::mark(&mut response, &trace_id);
    response
}

async fn perform(gateway: &Arc<Gateway>, head: &Parts, body: Incoming, request_id: RequestId) -> Answer {
    let Some(matched) = OPERATIONS.find(&head.method, head.uri.path()) else {
        // Strangers learn nothing, not even what is not there.
        authenticate(gateway, head, body, SERVICES, REQUEST_BYTES_MAX, || {
            too_large(REQUEST_BYTES_MAX, None)
        })
        .await?;
        let asked = format!("no operation answers {} {}", head.method, head.uri.path());
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            asked,
        ));
    };
    let operation = matched.operation;
    let bytes_max = match operation {
        Operation::CreateFunction | Operation::UpdateFunctionCode => CODE_BYTES_MAX,
        Operation::Invoke | Operation::InvokeWithResponseStream => PAYLOAD_BYTES_MAX,
        _ => REQUEST_BYTES_MAX,
    };
    let too_large = || too_large(bytes_max, Some(operation));
    let authentic = authenticate(gateway, head, body, SERVICES, bytes_max, too_large).await?;
    tracing::debug!(operation = operation.name(), %request_id, key = %authentic.access_key_id, "called");
    let query = query(head);
    passes::permit(gateway, operation, &authentic)?;
    let caller = authentic.without_body();
    let body = authentic.authorize(gateway, &asked(gateway, operation, &matched.parameters, &query))?;
    let call = Call {
        caller,
        gateway,
        head,
        parameters: matched.parameters,
        query,
        body,
        request_id,
    };
    call.perform(operation).await
}

/// What an operation is in the language of policies.
fn asked(
    gateway: &Gateway,
    operation: Operation,
    parameters: &HashMap<String, String>,
    query: &HashMap<String, String>,
) -> Asked<'static> {
    let home = &gateway.config.home;
    let action = operation.action();
    match (
        parameters.get("function"),
        parameters.get("resource"),
        parameters.get("uuid"),
    ) {
        (Some(function), ..) => {
            let qualifier = query.get("Qualifier").map(String::as_str);
            Asked::on_function(action, home, function, qualifier.filter(|text| !text.is_empty()))
        }
        (None, Some(arn), _) => Asked::on(action, arn.clone()),
        (None, None, Some(uuid)) => {
            let (region, account) = (&home.region, &home.account);
            Asked::on(
                action,
                format!("arn:aws:lambda:{region}:{account}:event-source-mapping:{uuid}"),
            )
        }
        (None, None, None) => Asked::of(action),
    }
}

fn too_large(bytes_max: usize, operation: Option<Operation>) -> ApiError {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    match operation {
        Some(Operation::Invoke | Operation::InvokeWithResponseStream) => {
            let text =
                format!("Request must be smaller than {bytes_max} bytes for the InvokeFunction operation");
            ApiError::new(status, "RequestTooLargeException", text)
        }
        other => {
            let name = other.map_or("requested", Operation::name);
            let text = format!("Request must be smaller than {bytes_max} bytes for the {name} operation");
            ApiError::new(status, "RequestEntityTooLargeException", text)
        }
    }
}

/// The pairs of a query, decoded; of a name that comes twice the last.
pub(crate) fn query(head: &Parts) -> HashMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = head
        .uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

impl Call<'_> {
    async fn perform(&self, operation: Operation) -> Answer {
        use Operation as Op;
        match operation {
            Op::CreateFunction => self.create_function().await,
            Op::GetFunction => self.get_function(),
            Op::GetFunctionConfiguration => self.get_function_configuration(),
            Op::ListFunctions => self.list_functions(),
            Op::UpdateFunctionCode => self.update_function_code().await,
            Op::UpdateFunctionConfiguration => self.update_function_configuration().await,
            Op::DeleteFunction => self.delete_function().await,
            Op::Invoke => self.invoke().await,
            Op::InvokeWithResponseStream => self.invoke_with_response_stream().await,
            Op::InvokeAsync => self.invoke_async().await,
            Op::PublishVersion => self.publish_version().await,
            Op::ListVersionsByFunction => self.list_versions(),
            Op::CreateAlias => self.create_alias().await,
            Op::GetAlias => self.get_alias(),
            Op::UpdateAlias => self.update_alias().await,
            Op::DeleteAlias => self.delete_alias().await,
            Op::ListAliases => self.list_aliases(),
            Op::CreateFunctionUrlConfig => self.create_url().await,
            Op::GetFunctionUrlConfig => self.get_url(),
            Op::UpdateFunctionUrlConfig => self.update_url().await,
            Op::DeleteFunctionUrlConfig => self.delete_url().await,
            Op::ListFunctionUrlConfigs => self.list_urls(),
            Op::AddPermission => self.add_permission().await,
            Op::GetPolicy => self.get_policy(),
            Op::RemovePermission => self.remove_permission().await,
            Op::PutFunctionEventInvokeConfig => self.put_event_invoke().await,
            Op::UpdateFunctionEventInvokeConfig => self.update_event_invoke().await,
            Op::GetFunctionEventInvokeConfig => self.get_event_invoke(),
            Op::DeleteFunctionEventInvokeConfig => self.delete_event_invoke().await,
            Op::ListFunctionEventInvokeConfigs => self.list_event_invokes(),
            Op::PutFunctionConcurrency => self.put_concurrency().await,
            Op::GetFunctionConcurrency => self.get_concurrency(),
            Op::DeleteFunctionConcurrency => self.delete_concurrency().await,
            Op::GetProvisionedConcurrencyConfig => self.get_provisioned_concurrency(),
            Op::PutProvisionedConcurrencyConfig => Err(ApiError::invalid_parameter(
                "Squall does not offer provisioned concurrency; instances of Python functions start in milliseconds.",
            )),
            Op::CreateEventSourceMapping => self.create_mapping().await,
            Op::GetEventSourceMapping => self.get_mapping(),
            Op::ListEventSourceMappings => self.list_mappings(),
            Op::UpdateEventSourceMapping => self.update_mapping().await,
            Op::DeleteEventSourceMapping => self.delete_mapping().await,
            Op::TagResource => self.tag_resource().await,
            Op::UntagResource => self.untag_resource().await,
            Op::ListTags => self.list_tags(),
            Op::GetAccountSettings => Ok(self.get_account_settings()),
            Op::GetFunctionCodeSigningConfig => self.get_code_signing_config(),
            Op::GetRuntimeManagementConfig => self.get_runtime_management_config(),
            Op::PutRuntimeManagementConfig => self.put_runtime_management_config(),
            Op::GetFunctionRecursionConfig => self.get_recursion_config(),
            Op::PutFunctionRecursionConfig => self.put_recursion_config(),
            other => Err(not_implemented(other)),
        }
    }

    /// The function that the path names, with the qualifier of the path or the query.
    fn target(&self) -> Result<FunctionRef, ApiError> {
        let target: FunctionRef = self.parameter("function").parse()?;
        let qualifier = self
            .query
            .get("Qualifier")
            .map(String::as_str)
            .filter(|text| !text.is_empty());
        Ok(target.with_qualifier(qualifier)?)
    }

    /// The function that the path names, where a qualifier means nothing.
    fn function(&self) -> Result<FunctionName, ApiError> {
        Ok(self.target()?.name)
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    fn marker(&self) -> Option<&str> {
        self.query
            .get("Marker")
            .map(String::as_str)
            .filter(|marker| !marker.is_empty())
    }

    fn max_items(&self) -> Result<usize, ApiError> {
        let Some(text) = self.query.get("MaxItems") else {
            return Ok(PAGE_ITEMS_DEFAULT);
        };
        match text.parse() {
            Ok(items @ 1..=10_000) => Ok(items),
            _ => Err(ApiError::validation(format!(
                "1 validation error detected: Value '{text}' at 'maxItems' failed to satisfy constraint: \
                 Member must have value between 1 and 10000"
            ))),
        }
    }

    /// The body as JSON; an empty one counts as `{}`, since every member may be missing.
    fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| {
            let text = format!("Could not parse request body into json: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "SerializationException", text)
        })
    }
}

fn not_implemented(operation: Operation) -> ApiError {
    let text = format!("{} is not implemented by Squall", operation.name());
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "NotImplementedException", text)
}

fn no_content() -> Response<Body> {
    reply::plain(StatusCode::NO_CONTENT, Bytes::new())
}
