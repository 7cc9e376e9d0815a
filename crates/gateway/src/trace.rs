//! `X-Amzn-Trace-Id`: the caller's where it sent one, else one of our own. Every invocation has one.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use squall_types::RequestId;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// A longer one is not taken over: it goes into the function's environment.
const BYTES_MAX: usize = 1024;

/// The trace that a request belongs to.
pub(crate) fn id(headers: &HeaderMap, request_id: RequestId) -> String {
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    match given.filter(|given| !given.is_empty() && given.len() <= BYTES_MAX) {
        Some(given) => given.to_owned(),
        None => fresh(request_id),
    }
}

/// Names the trace in an answer.
pub(crate) fn mark<B>(response: &mut Response<B>, trace_id: &str) {
    if let Ok(value) = HeaderValue::from_str(trace_id) {
        response.headers_mut().insert(HEADER, value);
    }
}

/// In X-Ray's form: nobody samples it.
fn fresh(request_id: RequestId) -> String {
    let mut id = [0; uuid::fmt::Simple::LENGTH];
    let id = request_id.0.simple().encode_lower(&mut id);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("Root=1-{:08x}-{};Sampled=0", since.as_secs(), &id[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, is_kept: bool) {
        let value = HeaderValue::from_str(given).expect("a header's value");
        let id = id(&HeaderMap::from_iter([(HEADER, value)]), RequestId::random());
        assert_eq!(id == given, is_kept, "{given} became {id}");
        assert!(is_kept || id.starts_with("Root=1-"), "{id}");
    }

    #[test]
    fn a_callers_trace_goes_on_unless_it_could_be_no_variable() {
        check("Root=1-00000000-000000000000000000000000;Sampled=1", true);
        check("Self=x", true);
        check("", false);
        check(&"x".repeat(BYTES_MAX + 1), false);
        check("Root=ü", false);
    }
}
