//! Lambda's operations, and the method and path that each answers at.
//!
//! Source: botocore's service model. Two operations share a path with another and are told apart by a query:
//! GetLayerVersionByArn (`find=LayerVersion`) with ListLayers, and ListProvisionedConcurrencyConfigs (`List=ALL`) with
//! GetProvisionedConcurrencyConfig.

use std::collections::HashMap;

use http::Method;
use matchit::Router;
use percent_encoding::percent_decode_str;

macro_rules! operations {
    ($($name:ident = $method:ident $path:literal;)*) => {
        /// One of Lambda's operations.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),* }

        const TABLE: &[(Operation, Method, &str)] = &[$((Operation::$name, Method::$method, $path)),*];

        impl Operation {
            /// Its name in the API.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What policies call it: all ways of calling a function are one action.
            pub(crate) fn action(self) -> &'static str {
                if matches!(self, Self::Invoke | Self::InvokeAsync | Self::InvokeWithResponseStream) {
                    return "lambda:InvokeFunction";
                }
                match self { $(Self::$name => concat!("lambda:", stringify!($name))),* }
            }
        }
    };
}

operations! {
    AddLayerVersionPermission = POST "/2018-10-31/layers/{layer}/versions/{version}/policy";
    AddPermission = POST "/2015-03-31/functions/{function}/policy";
    CheckpointDurableExecution = POST "/2025-12-01/durable-executions/{execution}/checkpoint";
    CreateAlias = POST "/2015-03-31/functions/{function}/aliases";
    CreateCapacityProvider = POST "/2025-11-30/capacity-providers";
    CreateCodeSigningConfig = POST "/2020-04-22/code-signing-configs";
    CreateEventSourceMapping = POST "/2015-03-31/event-source-mappings";
    CreateFunction = POST "/2015-03-31/functions";
    CreateFunctionUrlConfig = POST "/2021-10-31/functions/{function}/url";
    DeleteAlias = DELETE "/2015-03-31/functions/{function}/aliases/{alias}";
    DeleteCapacityProvider = DELETE "/2025-11-30/capacity-providers/{provider}";
    DeleteCodeSigningConfig = DELETE "/2020-04-22/code-signing-configs/{config}";
    DeleteEventSourceMapping = DELETE "/2015-03-31/event-source-mappings/{uuid}";
    DeleteFunction = DELETE "/2015-03-31/functions/{function}";
    DeleteFunctionCodeSigningConfig = DELETE "/2020-06-30/functions/{function}/code-signing-config";
    DeleteFunctionConcurrency = DELETE "/2017-10-31/functions/{function}/concurrency";
    DeleteFunctionEventInvokeConfig = DELETE "/2019-09-25/functions/{function}/event-invoke-config";
    DeleteFunctionUrlConfig = DELETE "/2021-10-31/functions/{function}/url";
    DeleteLayerVersion = DELETE "/2018-10-31/layers/{layer}/versions/{version}";
    DeleteProvisionedConcurrencyConfig = DELETE "/2019-09-30/functions/{function}/provisioned-concurrency";
    GetAccountSettings = GET "/2016-08-19/account-settings";
    GetAlias = GET "/2015-03-31/functions/{function}/aliases/{alias}";
    GetCapacityProvider = GET "/2025-11-30/capacity-providers/{provider}";
    GetCodeSigningConfig = GET "/2020-04-22/code-signing-configs/{config}";
    GetDurableExecution = GET "/2025-12-01/durable-executions/{execution}";
    GetDurableExecutionHistory = GET "/2025-12-01/durable-executions/{execution}/history";
    GetDurableExecutionState = GET "/2025-12-01/durable-executions/{execution}/state";
    GetEventSourceMapping = GET "/2015-03-31/event-source-mappings/{uuid}";
    GetFunction = GET "/2015-03-31/functions/{function}";
    GetFunctionCodeSigningConfig = GET "/2020-06-30/functions/{function}/code-signing-config";
    GetFunctionConcurrency = GET "/2019-09-30/functions/{function}/concurrency";
    GetFunctionConfiguration = GET "/2015-03-31/functions/{function}/configuration";
    GetFunctionEventInvokeConfig = GET "/2019-09-25/functions/{function}/event-invoke-config";
    GetFunctionRecursionConfig = GET "/2024-08-31/functions/{function}/recursion-config";
    GetFunctionScalingConfig = GET "/2025-11-30/functions/{function}/function-scaling-config";
    GetFunctionUrlConfig = GET "/2021-10-31/functions/{function}/url";
    GetLayerVersion = GET "/2018-10-31/layers/{layer}/versions/{version}";
    GetLayerVersionByArn = GET "/2018-10-31/layers";
    GetLayerVersionPolicy = GET "/2018-10-31/layers/{layer}/versions/{version}/policy";
    GetPolicy = GET "/2015-03-31/functions/{function}/policy";
    GetProvisionedConcurrencyConfig = GET "/2019-09-30/functions/{function}/provisioned-concurrency";
    GetRuntimeManagementConfig = GET "/2021-07-20/functions/{function}/runtime-management-config";
    Invoke = POST "/2015-03-31/functions/{function}/invocations";
    InvokeAsync = POST "/2014-11-13/functions/{function}/invoke-async";
    InvokeWithResponseStream = POST "/2021-11-15/functions/{function}/response-streaming-invocations";
    ListAliases = GET "/2015-03-31/functions/{function}/aliases";
    ListCapacityProviders = GET "/2025-11-30/capacity-providers";
    ListCodeSigningConfigs = GET "/2020-04-22/code-signing-configs";
    ListDurableExecutionsByFunction = GET "/2025-12-01/functions/{function}/durable-executions";
    ListEventSourceMappings = GET "/2015-03-31/event-source-mappings";
    ListFunctionEventInvokeConfigs = GET "/2019-09-25/functions/{function}/event-invoke-config/list";
    ListFunctionUrlConfigs = GET "/2021-10-31/functions/{function}/urls";
    ListFunctionVersionsByCapacityProvider = GET "/2025-11-30/capacity-providers/{provider}/function-versions";
    ListFunctions = GET "/2015-03-31/functions";
    ListFunctionsByCodeSigningConfig = GET "/2020-04-22/code-signing-configs/{config}/functions";
    ListLayerVersions = GET "/2018-10-31/layers/{layer}/versions";
    ListTags = GET "/2017-03-31/tags/{resource}";
    ListVersionsByFunction = GET "/2015-03-31/functions/{function}/versions";
    PublishLayerVersion = POST "/2018-10-31/layers/{layer}/versions";
    PublishVersion = POST "/2015-03-31/functions/{function}/versions";
    PutFunctionCodeSigningConfig = PUT "/2020-06-30/functions/{function}/code-signing-config";
    PutFunctionConcurrency = PUT "/2017-10-31/functions/{function}/concurrency";
    PutFunctionEventInvokeConfig = PUT "/2019-09-25/functions/{function}/event-invoke-config";
    PutFunctionRecursionConfig = PUT "/2024-08-31/functions/{function}/recursion-config";
    PutFunctionScalingConfig = PUT "/2025-11-30/functions/{function}/function-scaling-config";
    PutProvisionedConcurrencyConfig = PUT "/2019-09-30/functions/{function}/provisioned-concurrency";
    PutRuntimeManagementConfig = PUT "/2021-07-20/functions/{function}/runtime-management-config";
    RemoveLayerVersionPermission = DELETE "/2018-10-31/layers/{layer}/versions/{version}/policy/{statement}";
    RemovePermission = DELETE "/2015-03-31/functions/{function}/policy/{statement}";
    SendDurableExecutionCallbackFailure = POST "/2025-12-01/durable-execution-callbacks/{callback}/fail";
    SendDurableExecutionCallbackHeartbeat = POST "/2025-12-01/durable-execution-callbacks/{callback}/heartbeat";
    SendDurableExecutionCallbackSuccess = POST "/2025-12-01/durable-execution-callbacks/{callback}/succeed";
    StopDurableExecution = POST "/2025-12-01/durable-executions/{execution}/stop";
    TagResource = POST "/2017-03-31/tags/{resource}";
    UntagResource = DELETE "/2017-03-31/tags/{resource}";
    UpdateAlias = PUT "/2015-03-31/functions/{function}/aliases/{alias}";
    UpdateCapacityProvider = PUT "/2025-11-30/capacity-providers/{provider}";
    UpdateCodeSigningConfig = PUT "/2020-04-22/code-signing-configs/{config}";
    UpdateEventSourceMapping = PUT "/2015-03-31/event-source-mappings/{uuid}";
    UpdateFunctionCode = PUT "/2015-03-31/functions/{function}/code";
    UpdateFunctionConfiguration = PUT "/2015-03-31/functions/{function}/configuration";
    UpdateFunctionEventInvokeConfig = POST "/2019-09-25/functions/{function}/event-invoke-config";
    UpdateFunctionUrlConfig = PUT "/2021-10-31/functions/{function}/url";
}

/// Finds operations by method and path.
pub(crate) struct Operations(Router<Vec<(Method, Operation)>>);

/// What a path says.
#[derive(Debug)]
pub(crate) struct Matched {
    pub(crate) operation: Operation,
    /// Path parameters, decoded.
    pub(crate) parameters: HashMap<String, String>,
}

impl Operations {
    /// The table as a router.
    pub(crate) fn new() -> Self {
        let mut by_path: Vec<(&str, Vec<(Method, Operation)>)> = Vec::new();
        for (operation, method, path) in TABLE {
            match by_path.iter_mut().find(|(known, _)| known == path) {
                Some((_, methods)) => methods.push((method.clone(), *operation)),
                None => by_path.push((path, vec![(method.clone(), *operation)])),
            }
        }
        let mut router = Router::new();
        for (path, methods) in by_path {
            router
                .insert(path, methods)
                .expect("the paths of the table do not contradict each other");
        }
        Self(router)
    }

    /// The operation at a path as it stands on the wire; a slash at its end is what older SDKs send.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Matched> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let matched = self.0.at(path).ok()?;
        let (_, operation) = matched.value.iter().find(|(known, _)| known == method)?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let parameters = matched
            .params
            .iter()
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        Some(Matched {
            operation: *operation,
            parameters,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_at_its_own_path() {
        let operations = Operations::new();
        assert_eq!(TABLE.len(), 83, "85 operations, two of which share a path");
        for (operation, method, path) in TABLE {
            let path = path.replace('{', "x").replace('}', "");
            let found = operations.find(method, &path).map(|matched| matched.operation);
            assert_eq!(found, Some(*operation), "{method} {path}");
        }
    }

    #[test]
    fn names_arrive_percent_encoded_and_with_a_slash_at_the_end() {
        let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3A1/invocations/";
        let matched = Operations::new().find(&Method::POST, path).expect("an operation");
        assert_eq!(matched.operation, Operation::Invoke);
        assert_eq!(
            matched.parameters["function"],
            "arn:aws:lambda:us-east-1:000000000000:function:f:1"
        );
        assert!(Operations::new().find(&Method::PATCH, path).is_none());
    }
}
