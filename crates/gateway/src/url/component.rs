//! A function URL of a component: the request goes in as it is, and the response comes out as it is made.
//!
//! Neither body is held here; who reads slowly makes who writes wait. A client that leaves does not stop the call.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use squall_registry::{FunctionUrl, UrlAuthType};
use squall_types::{FunctionRef, Invocation, InvokeError, Streamed};

use super::{internal_error, read};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};
use crate::scheme::Scheme;
use crate::trace;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// How many headers a component sees beside those that were sent: these three, and those of the invocation.
const HEADERS_ADDED: usize = 6;

/// Runs the component on one request.
pub(super) async fn call(
    gateway: &Arc<Gateway>,
    url: &FunctionUrl,
    target: FunctionRef,
    head: Parts,
    body: Incoming,
    path: String,
    peer: SocketAddr,
) -> Response<Body> {
    let body = match url.auth_type {
        UrlAuthType::None => body.map_err(Into::into).boxed_unsync(),
        // A signature is over the whole body.
        UrlAuthType::AwsIam => match Box::pin(read(gateway, url, &head, body)).await {
            Ok((_, body)) => reply::full(body),
            Err(error) => return error.into_response(),
        },
    };
    let mut invocation = Invocation::new(target, Bytes::new());
    let trace_id = trace::id(&head.headers, invocation.request_id);
    let Some(request) = request(head, body, path, peer) else {
        return reply::plain(StatusCode::BAD_REQUEST, "the path cannot be read");
    };
    let request_id = invocation.request_id;
    invocation.trace_id = Some(trace_id.clone());
    let mut response = match gateway.invoke.stream(invocation, Some(request)).await {
        Ok(Streamed::Begun(begun)) => begun.response,
        Ok(Streamed::Whole(_)) => internal_error(StatusCode::BAD_GATEWAY),
        Err(InvokeError::Platform(details)) => ApiError::platform(details).into_response(),
        Err(error) => ApiError::from(error).into_response(),
    };
    reply::name_request(&mut response, request_id);
    trace::mark(&mut response, &trace_id);
    response
}

/// The request as the component sees it: the path behind the function's name, and who sent it in the headers that
/// proxies use. `None` where the path is none.
fn request(head: Parts, body: Body, path: String, peer: SocketAddr) -> Option<Request<Body>> {
    let mut request = Request::new(body);
    let path_and_query = match head.uri.query() {
        None => PathAndQuery::try_from(path),
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
    };
    *request.uri_mut() = Uri::from(path_and_query.ok()?);
    *request.method_mut() = head.method;
    *request.version_mut() = head.version;
    let scheme = Scheme::of(&head.extensions);
    let mut headers = head.headers;
    // Grown once, with room for what a runtime adds.
    headers.reserve(HEADERS_ADDED);
    let port = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.rsplit_once(':'))
        .and_then(|(_, port)| HeaderValue::from_str(port).ok())
        .unwrap_or(HeaderValue::from_static(scheme.port()));
    headers.insert(FORWARDED_PORT, port);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    if let Ok(value) = HeaderValue::try_from(peer.ip().to_string()) {
        headers.insert(FORWARDED_FOR, value);
    }
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, path: &str, expected: &str) {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = uri.parse().expect("a URI");
        head.headers.insert(HOST, HeaderValue::from_static("h:81"));
        head.headers
            .insert(FORWARDED_FOR, HeaderValue::from_static("forged"));
        let peer = SocketAddr::from(([10, 0, 0, 7], 1));
        let request = request(head, reply::full(""), path.to_owned(), peer).expect("a request");
        assert_eq!(request.uri(), expected);
        assert_eq!(
            request.headers()[FORWARDED_FOR],
            "10.0.0.7",
            "not the client's own word"
        );
        assert_eq!(request.headers()[FORWARDED_PORT], "81");
    }

    #[test]
    fn a_component_sees_the_path_behind_its_name_and_who_asks() {
        check("/lambda-url/f/a%20b?q=1&r", "/a%20b", "/a%20b?q=1&r");
        check("/x?y", "/x", "/x?y");
        check("/lambda-url/f", "/", "/");
    }
}
