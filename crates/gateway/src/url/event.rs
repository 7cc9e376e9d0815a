//! The event of a function URL: payload format 2.0.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>.

use std::net::SocketAddr;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use squall_access::Principal;
use squall_registry::FunctionUrl;
use squall_types::{Home, RequestId};

use crate::clock;
use crate::scheme::Scheme;

/// All that an event is made of, but its body.
pub(super) struct Seen<'a> {
    pub(super) url: &'a FunctionUrl,
    pub(super) home: &'a Home,
    pub(super) head: &'a Parts,
    pub(super) path: &'a str,
    pub(super) peer: SocketAddr,
    /// The key that signed and who holds it, for URLs that ask for one.
    pub(super) caller: Option<(String, Principal)>,
    pub(super) trace_id: &'a str,
    pub(super) at: SystemTime,
}

/// The event as JSON.
pub(super) fn event(seen: &Seen<'_>, body: &Bytes, request_id: RequestId) -> Bytes {
    let head = seen.head;
    let query = head.uri.query().unwrap_or("");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": seen.path,
        "rawQueryString": query,
        "headers": headers(seen),
        "requestContext": context(seen, request_id),
        "isBase64Encoded": false,
    });
    let cookies: Vec<&str> = head
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';').map(str::trim))
        .filter(|cookie| !cookie.is_empty())
        .collect();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query.is_empty() {
        event["queryStringParameters"] = Value::Object(query_parameters(query));
    }
    if !body.is_empty() {
        match std::str::from_utf8(body).ok().filter(|_| is_text(&head.headers)) {
            Some(text) => event["body"] = Value::from(text),
            None => {
                event["body"] = Value::from(STANDARD.encode(body));
                event["isBase64Encoded"] = Value::from(true);
            }
        }
    }
    event.to_string().into()
}

/// Lower-case names; what came several times is joined by commas; cookies have a place of their own.
fn headers(seen: &Seen<'_>) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    for (name, value) in &seen.head.headers {
        if name == header::COOKIE {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match joined.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => {
                joined.insert(name.as_str().to_owned(), Value::from(value));
            }
        }
    }
    let mut set = |name: &str, value: String| joined.insert(name.to_owned(), Value::from(value));
    set("x-forwarded-for", seen.peer.ip().to_string());
    let scheme = Scheme::of(&seen.head.extensions);
    set("x-forwarded-proto", scheme.as_str().to_owned());
    set("x-amzn-trace-id", seen.trace_id.to_owned());
    let host = seen
        .head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    let port = host.rsplit_once(':').map_or(scheme.port(), |(_, port)| port);
    set("x-forwarded-port", port.to_owned());
    joined
}

fn context(seen: &Seen<'_>, request_id: RequestId) -> Value {
    let head = seen.head;
    let since = seen.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let agent = head
        .headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or("");
    let account = seen.caller.as_ref();
    let account = account.map_or("anonymous", |(_, principal)| principal.account.as_str());
    let mut context = json!({
        "accountId": account,
        "apiId": seen.url.id,
        "domainName": format!("{}.lambda-url.{}.localhost", seen.url.id, seen.home.region),
        "domainPrefix": seen.url.id,
        "http": {
            "method": head.method.as_str(),
            "path": seen.path,
            "protocol": format!("{:?}", head.version),
            "sourceIp": seen.peer.ip().to_string(),
            "userAgent": agent,
        },
        "requestId": request_id.to_string(),
        "routeKey": "$default",
        "stage": "$default",
        "time": clock::common_log(seen.at),
        "timeEpoch": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    });
    if let Some((key, principal)) = &seen.caller {
        context["authorizer"] = json!({ "iam": {
            "accessKey": key,
            "accountId": principal.account,
            "callerId": principal.account,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": principal.arn,
            "userId": principal.account,
        }});
    }
    context
}

/// Decoded; what came several times is joined by commas.
fn query_parameters(query: &str) -> Map<String, Value> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let mut parameters: Map<String, Value> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name), decode(value));
        match parameters.get_mut(&name) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => {
                parameters.insert(name, Value::from(value));
            }
        }
    }
    parameters
}

/// Whether a body of this type stays text: text, JSON, XML, JavaScript. Everything else arrives in base64.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return true;
    };
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || ["json", "xml", "javascript"]
            .iter()
            .any(|text| kind.ends_with(text))
}
