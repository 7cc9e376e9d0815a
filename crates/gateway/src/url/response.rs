//! What a function's answer means as an HTTP response.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::internal_error;
use crate::reply::{self, Body};

/// An object with `statusCode` says what to send; every other answer is sent as it is, as JSON with status 200.
pub(super) fn from_answer(answer: &Bytes) -> Response<Body> {
    match serde_json::from_slice(answer) {
        Ok(Value::Object(members)) if members.contains_key("statusCode") => {
            from_members(&members).unwrap_or_else(|| internal_error(StatusCode::BAD_GATEWAY))
        }
        // A bare string is sent without its quotes.
        Ok(Value::String(text)) => json(StatusCode::OK, text.into()),
        _ => json(StatusCode::OK, answer.clone()),
    }
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = reply::plain(status, body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `None` where a member is not what it must be: a status that is none, a header that cannot be sent, bad base64.
fn from_members(members: &Map<String, Value>) -> Option<Response<Body>> {
    let status = match &members["statusCode"] {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| status.as_u16() >= 200)?;
    let base64 = members
        .get("isBase64Encoded")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let body: Bytes = match members.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) if base64 => STANDARD.decode(text).ok()?.into(),
        Some(Value::String(text)) => text.clone().into(),
        Some(other) => other.to_string().into(),
    };
    let mut response = json(status, body);
    let headers = response.headers_mut();
    if let Some(Value::Object(given)) = members.get("headers") {
        for (name, value) in given {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            // How the message is framed is the connection's business.
            if name == header::CONTENT_LENGTH
                || name == header::TRANSFER_ENCODING
                || name == header::CONNECTION
            {
                continue;
            }
            headers.insert(name, HeaderValue::from_str(&text(value)?).ok()?);
        }
    }
    if let Some(Value::Array(cookies)) = members.get("cookies") {
        for cookie in cookies {
            headers.append(header::SET_COOKIE, HeaderValue::from_str(&text(cookie)?).ok()?);
        }
    }
    Some(response)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
