//! Cross-origin rules, answered by the platform for the function.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use squall_registry::Cors;

use crate::reply::{self, Body};

/// The origin that a browser says the request is from.
pub(super) fn origin(head: &Parts) -> Option<HeaderValue> {
    head.headers.get(header::ORIGIN).cloned()
}

/// The answer to a preflight; `None` where the request is not one (then the function answers OPTIONS itself).
pub(super) fn preflight(cors: &Cors, head: &Parts) -> Option<Response<Body>> {
    let origin = origin(head)?;
    head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut response = reply::plain(StatusCode::OK, "");
    let headers = response.headers_mut();
    if mark(cors, &origin, headers) {
        list(
            headers,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            cors.allow_methods.as_deref(),
        );
        list(
            headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            cors.allow_headers.as_deref(),
        );
        if let Some(secs) = cors.max_age_secs {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(secs));
        }
    }
    Some(response)
}

/// Marks an answer as one that `origin` may read; leaves it alone, and says no, where it may not.
pub(super) fn mark(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
    let origins = cors.allow_origins.as_deref().unwrap_or_default();
    let any = origins.iter().any(|allowed| allowed == "*");
    if !any
        && !origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    {
        return false;
    }
    let credentials = cors.allow_credentials == Some(true);
    // With credentials a browser accepts only the origin itself, not `*`.
    let shown = if any && !credentials {
        HeaderValue::from_static("*")
    } else {
        origin.clone()
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, shown);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if credentials {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    list(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        cors.expose_headers.as_deref(),
    );
    true
}

fn list(headers: &mut HeaderMap, name: HeaderName, items: Option<&[String]>) {
    let joined = items.unwrap_or_default().join(",");
    // What cannot stand in a header cannot be asked for by a browser either.
    if let Some(value) = HeaderValue::from_str(&joined)
        .ok()
        .filter(|value| !value.is_empty())
    {
        headers.insert(name, value);
    }
}
