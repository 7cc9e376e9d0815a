//! `/squall/v1/…`: what Lambda has no name for. Health is open; everything else is signed.

mod buckets;
mod caches;
mod calls;
mod cloudevents;
mod dags;
mod events;
mod invocations;
mod keys;
mod logs;
mod roles;
mod state;

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use squall_types::Home;

use crate::authenticate::authenticate;
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::lambda::query;
use crate::reply::{self, Body};

const REQUEST_BYTES_MAX: usize = 64 * 1024;
const SERVICES: &[&str] = &["lambda", "squall"];

/// Answers a request to Squall's own API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_start_matches("/squall/v1/").to_owned();
    if path == "health" {
        return reply::json(StatusCode::OK, &json!({ "status": "ok" }));
    }
    let too_large = || ApiError::validation("the request has a body that is too large");
    let segments: Vec<&str> = path.split('/').collect();
    let bytes_max = request_bytes_max(&segments);
    let authentic = match authenticate(gateway, &head, body, SERVICES, bytes_max, too_large).await {
        Ok(authentic) => authentic,
        Err(error) => return error.into_response(),
    };
    if let (&Method::PUT, ["dags", _]) = (&head.method, segments.as_slice())
        && let Err(error) = dags::permit_functions(gateway, &authentic)
    {
        return error.into_response();
    }
    let body = match authentic.authorize(gateway, &asked(&gateway.config.home, &head.method, &segments)) {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let answer = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["functions", name, "logs"]) => logs::serve(gateway, name, head.uri.query()).await,
        (&Method::GET, ["packages", sha256_hex]) => package(gateway, sha256_hex).await,
        (&Method::GET, ["state", bucket]) => state::list(gateway, &head, bucket).await,
        (_, ["state", bucket, key @ ..]) => state::key(gateway, &head, bucket, key, body).await,
        (&Method::GET, ["caches"]) => caches::list(gateway),
        (&Method::DELETE, ["caches", number]) => caches::lose(gateway, number),
        (&Method::GET, ["buckets"]) => buckets::list(gateway),
        (&Method::GET | &Method::PUT | &Method::DELETE, ["buckets", name]) => {
            buckets::one(gateway, &head.method, name, &body).await
        }
        (&Method::PUT | &Method::DELETE, ["buckets", name, "functions", function]) => {
            buckets::bind(gateway, &head.method, name, function).await
        }
        (&Method::GET, ["functions", name, "buckets"]) => buckets::function_buckets(gateway, name),
        (&Method::GET, ["dags"]) => dags::serve(gateway, &head.method, None, body).await,
        (&Method::GET | &Method::PUT | &Method::DELETE, ["dags", name]) => {
            dags::serve(gateway, &head.method, Some(name), body).await
        }
        (&Method::POST, ["dags", name, "runs"]) => calls::run_dag(gateway, &head, name, body).await,
        (&Method::POST, ["calls", name]) => calls::call_function(gateway, &head, name, body).await,
        (&Method::POST, ["cloudevents", name]) => cloudevents::run_function(gateway, &head, name, body).await,
        (&Method::POST, ["cloudevents", "buses", bus]) => {
            cloudevents::put_on_bus(gateway, &head, bus, body).await
        }
        (&Method::GET, ["runs"]) => calls::runs(gateway),
        (&Method::GET | &Method::DELETE, ["runs", id]) => calls::run(gateway, &head, id).await,
        (&Method::GET, ["roles"]) => roles::list(gateway),
        (&Method::PUT | &Method::DELETE, ["roles", name]) => {
            roles::one(gateway, &head.method, name, &body).await
        }
        (&Method::GET, ["keys"]) => keys::list(gateway),
        (method, ["keys", name, rest @ ..]) => keys::one(gateway, method, name, rest, &body).await,
        (method, ["events", rest @ ..]) => events::serve(gateway, method, rest, &query(&head)).await,
        (&Method::GET, ["metrics"]) => Ok(metrics(gateway)),
        (&Method::GET, ["invocations", id]) => invocations::one(gateway, id).await,
        (method, _) => {
            let asked = format!("nothing answers {method} {}", head.uri.path());
            Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "UnknownOperationException",
                asked,
            ))
        }
    };
    answer.unwrap_or_else(ApiError::into_response)
}

/// What a request is in the language of policies. A path that is not here may be asked by those who may do everything.
fn asked(home: &Home, method: &Method, segments: &[&str]) -> Asked<'static> {
    let of = |kind: &str, name: &str| {
        let (region, account, name) = (&home.region, &home.account, calls::decoded(name));
        format!("arn:aws:squall:{region}:{account}:{kind}/{name}")
    };
    let function = |action, name: &str| Asked::on_function(action, home, &calls::decoded(name), None);
    let by_method = |get, put, delete| match *method {
        Method::GET | Method::HEAD => get,
        Method::DELETE => delete,
        _ => put,
    };
    match segments {
        ["functions", name, "logs"] => function("squall:GetLogs", name),
        ["functions", name, "buckets"] => function("squall:ListFunctionBuckets", name),
        ["packages", _] => Asked::of("squall:GetPackage"),
        ["state", bucket] => Asked::on("squall:ListState", of("bucket", bucket)),
        ["state", bucket, ..] => Asked::on(
            by_method("squall:GetState", "squall:PutState", "squall:DeleteState"),
            of("bucket", bucket),
        ),
        ["buckets"] => Asked::of("squall:ListBuckets"),
        ["buckets", name] => Asked::on(
            by_method("squall:GetBucket", "squall:CreateBucket", "squall:DeleteBucket"),
            of("bucket", name),
        ),
        ["buckets", name, "functions", _] => Asked::on(
            by_method("squall:GetBucket", "squall:BindBucket", "squall:UnbindBucket"),
            of("bucket", name),
        ),
        ["dags"] => Asked::of("squall:ListDags"),
        ["dags", name] => {
            let action = by_method("squall:GetDag", "squall:PutDag", "squall:DeleteDag");
            Asked::on(action, of("dag", name))
        }
        ["dags", name, "runs"] => Asked::on("squall:RunDag", of("dag", name)),
        ["calls", name] => function("lambda:InvokeFunction", name),
        ["cloudevents", name] => function("lambda:InvokeFunction", name),
        ["cloudevents", "buses", bus] => {
            let (region, account, bus) = (&home.region, &home.account, calls::decoded(bus));
            let arn = format!("arn:aws:events:{region}:{account}:event-bus/{bus}");
            Asked::on("events:PutEvents", arn)
        }
        ["runs"] => Asked::of("squall:ListRuns"),
        ["runs", id] => Asked::on(
            by_method("squall:GetRun", "squall:RunDag", "squall:CancelRun"),
            of("run", id),
        ),
        ["events"] => Asked::of("squall:ListEvents"),
        ["events", id, ..] => {
            let action = by_method("squall:GetEvent", "squall:RedriveEvent", "squall:DiscardEvent");
            Asked::on(action, of("event", id))
        }
        ["invocations", id] => Asked::on("squall:GetResult", of("invocation", id)),
        ["caches"] => Asked::of("squall:ListCaches"),
        ["caches", number] => Asked::on("squall:DropCache", of("cache", number)),
        ["roles"] => Asked::of("squall:ListRoles"),
        ["roles", name] => {
            let action = by_method("squall:ListRoles", "squall:PutRole", "squall:DeleteRole");
            Asked::on(action, of("role", name))
        }
        ["metrics"] => Asked::of("squall:GetMetrics"),
        ["keys"] => Asked::of("squall:ListKeys"),
        ["keys", name, "rotate"] => Asked::on("squall:RotateKey", of("key", name)),
        ["keys", name] => {
            let action = by_method("squall:ListKeys", "squall:CreateKey", "squall:RevokeKey");
            Asked::on(action, of("key", name))
        }
        _ => Asked::of("squall:Other"),
    }
}

/// Most requests have no body to speak of.
fn request_bytes_max(segments: &[&str]) -> usize {
    match segments {
        ["dags", _, "runs"] | ["calls", _] => calls::REQUEST_BYTES_MAX,
        ["dags", _] => dags::REQUEST_BYTES_MAX,
        ["cloudevents", ..] => cloudevents::REQUEST_BYTES_MAX,
        ["state", ..] => state::REQUEST_BYTES_MAX,
        _ => REQUEST_BYTES_MAX,
    }
}

/// What all engines count, for Prometheus.
fn metrics(gateway: &Gateway) -> Response<Body> {
    let mut response = reply::plain(StatusCode::OK, (gateway.engines.metrics)());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A function's package, as it was uploaded.
async fn package(gateway: &Gateway, sha256_hex: &str) -> Result<Response<Body>, ApiError> {
    let absent = || ApiError::not_found("no function has this package");
    let path = gateway.registry.package(sha256_hex).ok_or_else(absent)?;
    let zip = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let zip = zip.map_err(ApiError::platform)?.map_err(ApiError::platform)?;
    let mut response = reply::plain(StatusCode::OK, zip);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    Ok(response)
}
