//! Function URLs: an HTTP request becomes an event of payload format 2.0, and the function's answer a response;
//! a component gets the request as it is (`component`).
//!
//! A URL is found by its host name, `ID.lambda-url.REGION.…`, or at `/lambda-url/FUNCTION/…`.

mod component;
mod cors;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use squall_access::Principal;
use squall_registry::{FunctionUrl, UrlAuthType};
use squall_types::{AliasName, FunctionName, FunctionRef, Invocation, InvokeError, Qualifier};

use crate::authenticate::authenticate;
use crate::authorize::Asked;
use crate::body;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};
use crate::trace;

/// The largest request, as on Lambda: its event may be larger, by base64.
const REQUEST_BYTES_MAX: usize = 6_291_456;

/// The id in a host name `ID.lambda-url.REGION.…`, where it is one.
pub(crate) fn id_of_host(host: &str) -> Option<&str> {
    let (id, rest) = host.split_once('.')?;
    rest.starts_with("lambda-url.").then_some(id)
}

/// Answers a request that came to a URL's own host name.
pub(crate) async fn serve_host(
    gateway: &Arc<Gateway>,
    id: &str,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    match gateway.registry.url_by_id(id) {
        Some(url) => {
            let path = request.uri().path().to_owned();
            serve(gateway, &url, request, path, peer).await
        }
        None => unknown(),
    }
}

/// Answers a request to `/lambda-url/FUNCTION/…`; the function sees the path behind its name.
pub(crate) async fn serve_path(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let path = request.uri().path();
    let rest = path.strip_prefix("/lambda-url/").unwrap_or(path);
    let (name, path) = match rest.find('/') {
        Some(end) => (&rest[..end], rest[end..].to_owned()),
        None => (rest, "/".to_owned()),
    };
    let Ok(name) = percent_decode_str(name)
        .decode_utf8_lossy()
        .parse::<FunctionName>()
    else {
        return unknown();
    };
    match gateway.registry.url(&name, None) {
        Ok(url) => serve(gateway, &url, request, path, peer).await,
        Err(_) => unknown(),
    }
}

async fn serve(
    gateway: &Arc<Gateway>,
    url: &FunctionUrl,
    request: Request<Incoming>,
    path: String,
    peer: SocketAddr,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let origin = cors::origin(&head);
    if head.method == Method::OPTIONS
        && let Some(preflight) = url.cors.as_ref().and_then(|cors| cors::preflight(cors, &head))
    {
        return preflight;
    }
    let mut response = call(gateway, url, head, body, path, peer).await;
    if let (Some(cors), Some(origin)) = (&url.cors, origin) {
        cors::mark(cors, &origin, response.headers_mut());
    }
    response
}

async fn call(
    gateway: &Arc<Gateway>,
    url: &FunctionUrl,
    head: http::request::Parts,
    body: Incoming,
    path: String,
    peer: SocketAddr,
) -> Response<Body> {
    let target = FunctionRef {
        name: url.function.clone(),
        qualifier: url.alias.clone().map(Qualifier::Alias),
    };
    let takes_http = gateway.invoke.takes_http(&target).await;
    if matches!(takes_http, Ok(true)) {
        return component::call(gateway, url, target, head, body, path, peer).await;
    }
    let (caller, body) = match Box::pin(read(gateway, url, &head, body)).await {
        Ok(read) => read,
        Err(error) => return error.into_response(),
    };
    // Only now, since it says what state the function is in. An event would be the wrong thing for a component.
    if let Err(error) = takes_http {
        return ApiError::from(error).into_response();
    }
    let mut invocation = Invocation::new(target, Bytes::new());
    let trace_id = trace::id(&head.headers, invocation.request_id);
    let seen = event::Seen {
        url,
        home: gateway.registry.home(),
        head: &head,
        path: &path,
        peer,
        caller,
        trace_id: &trace_id,
        at: SystemTime::now(),
    };
    invocation.payload = event::event(&seen, &body, invocation.request_id);
    let request_id = invocation.request_id;
    invocation.trace_id = Some(trace_id.clone());
    let mut response = match gateway.invoke.invoke(invocation).await {
        Ok(outcome) => match outcome.result {
            Ok(answer) => response::from_answer(&answer),
            Err(_) => internal_error(StatusCode::BAD_GATEWAY),
        },
        Err(InvokeError::Platform(details)) => ApiError::platform(details).into_response(),
        Err(error) => ApiError::from(error).into_response(),
    };
    reply::name_request(&mut response, request_id);
    trace::mark(&mut response, &trace_id);
    response
}

/// Who calls (where the URL asks), and the body.
async fn read(
    gateway: &Gateway,
    url: &FunctionUrl,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<(Option<(String, Principal)>, Bytes), ApiError> {
    let too_large = || {
        let text = format!(
            "Request must be smaller than {REQUEST_BYTES_MAX} bytes for the InvokeFunctionUrl operation"
        );
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            text,
        )
    };
    match url.auth_type {
        UrlAuthType::None => match body::read(body, REQUEST_BYTES_MAX, &gateway.room).await {
            Ok(body) => Ok((None, body)),
            Err(body::BodyError::TooLarge) => Err(too_large()),
            Err(error) => Err(error.into()),
        },
        UrlAuthType::AwsIam => {
            let authentic =
                authenticate(gateway, head, body, &["lambda"], REQUEST_BYTES_MAX, too_large).await;
            // A visitor of a page is told no more than that.
            let authentic = authentic.map_err(ApiError::unsigned_is_forbidden)?;
            let (home, alias) = (&gateway.config.home, url.alias.as_ref().map(AliasName::as_str));
            let asked = Asked {
                context: &[
                    ("lambda:FunctionUrlAuthType", "AWS_IAM"),
                    ("lambda:InvokedViaFunctionUrl", "true"),
                ],
                ..Asked::on_function("lambda:InvokeFunctionUrl", home, url.function.as_str(), alias)
            };
            let caller = (
                authentic.access_key_id.clone(),
                authentic.caller.principal().clone(),
            );
            Ok((Some(caller), authentic.authorize(gateway, &asked)?))
        }
    }
}

/// A URL that is not there looks like one that may not be called.
fn unknown() -> Response<Body> {
    let mut response = reply::json(StatusCode::FORBIDDEN, &serde_json::json!({ "Message": null }));
    let name = http::HeaderValue::from_static("AccessDeniedException");
    response.headers_mut().insert("x-amzn-errortype", name);
    response
}

fn internal_error(status: StatusCode) -> Response<Body> {
    reply::plain(status, "Internal Server Error")
}
