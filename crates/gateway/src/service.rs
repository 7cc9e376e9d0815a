//! Which AWS service a request is for, when neither its host nor its path has said so already.
//!
//! Called once per request by `Gateway::answer`. It decides on what the client claims; each service then verifies that
//! claim, since it takes only signatures that are scoped to it.

use http::Request;
use http::header::{AUTHORIZATION, HOST};
use percent_encoding::percent_decode_str;

use crate::s3;

/// The services that one port answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Also what nothing else claims: its paths say what they are.
    Lambda,
    /// Queues.
    Sqs,
    /// EventBridge's buses and rules.
    Events,
    /// EventBridge Scheduler.
    Scheduler,
    /// What functions wrote.
    Logs,
    /// Roles and policies.
    Iam,
    /// Who calls, and credentials of roles.
    Sts,
    /// Objects.
    S3,
}

/// The first that names a service: the signature's scope (of the header or of a presigned query), `X-Amz-Target`, the
/// path.
pub(crate) fn of<B>(request: &Request<B>) -> Service {
    if let Some(scope) = credential(request) {
        // KEY/DATE/REGION/SERVICE/aws4_request
        match scope.split('/').nth(3) {
            Some("sqs") => return Service::Sqs,
            Some("events") => return Service::Events,
            Some("scheduler") => return Service::Scheduler,
            Some("logs") => return Service::Logs,
            Some("iam") => return Service::Iam,
            Some("sts") => return Service::Sts,
            Some("s3") => return Service::S3,
            Some("lambda") => return Service::Lambda,
            _ => {}
        }
    }
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if target.starts_with("AmazonSQS.") {
        return Service::Sqs;
    }
    if target.starts_with("AWSEvents.") {
        return Service::Events;
    }
    if target.starts_with("Logs_20140328.") {
        return Service::Logs;
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let is_of_s3 =
        host.is_some_and(|host| host.contains(".s3.")) || request.uri().query().is_some_and(s3::is_link_v2);
    // Version 2 of signatures: S3 says what it thinks of them.
    let authorization = request.headers().get(AUTHORIZATION);
    if is_of_s3 || authorization.is_some_and(|value| value.as_bytes().starts_with(b"AWS ")) {
        return Service::S3;
    }
    let path = request.uri().path();
    if path.starts_with("/schedules") || path.starts_with("/schedule-groups") {
        return Service::Scheduler;
    }
    Service::Lambda
}

fn credential<B>(request: &Request<B>) -> Option<String> {
    if let Some(value) = request.headers().get(AUTHORIZATION) {
        let (_, rest) = value.to_str().ok()?.split_once("Credential=")?;
        return rest.split([',', ' ']).next().map(str::to_owned);
    }
    let pairs = request.uri().query()?.split('&');
    let value = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == "X-Amz-Credential")
        .map(|(_, value)| value)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, headers: &[(&str, &str)], expected: Service) {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        assert_eq!(of(&request), expected, "{uri} {headers:?}");
    }

    #[test]
    fn the_signature_names_the_service_before_anything_else_does() {
        let signed = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=K/20261125/us-east-1/{service}/aws4_request, SignedHeaders=host"
            )
        };
        for (service, expected) in [
            ("sqs", Service::Sqs),
            ("events", Service::Events),
            ("scheduler", Service::Scheduler),
            ("logs", Service::Logs),
            ("iam", Service::Iam),
            ("sts", Service::Sts),
            ("lambda", Service::Lambda),
            ("s3", Service::S3),
            ("dynamodb", Service::Lambda),
        ] {
            check("/", &[("authorization", &signed(service))], expected);
        }
        let target = ("x-amz-target", "AmazonSQS.SendMessage");
        check(
            "/",
            &[("authorization", &signed("lambda")), target],
            Service::Lambda,
        );
        check("/", &[target], Service::Sqs);
        check("/", &[("x-amz-target", "AWSEvents.PutRule")], Service::Events);
    }

    #[test]
    fn the_host_of_a_bucket_names_it() {
        check("/k", &[("host", "photos.s3.localhost:9400")], Service::S3);
        check("/k", &[("host", "photos.localhost:9400")], Service::Lambda);
        check("/b/k?AWSAccessKeyId=K&Signature=S&Expires=1", &[], Service::S3);
        check("/b/k", &[("authorization", "AWS K:S")], Service::S3);
    }

    #[test]
    fn a_presigned_query_and_a_path_name_it_too() {
        let query = "/?X-Amz-Credential=K%2F20261125%2Fus-east-1%2Fsqs%2Faws4_request&Action=ListQueues";
        check(query, &[], Service::Sqs);
        check("/schedules/one", &[], Service::Scheduler);
        check("/2015-03-31/functions", &[], Service::Lambda);
        check("/", &[("authorization", "Credential=")], Service::Lambda);
    }
}
