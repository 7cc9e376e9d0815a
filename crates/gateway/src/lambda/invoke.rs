//! Invoke: one event in, one answer out; or an event taken to run later.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::de::IgnoredAny;
use squall_types::{
    Encoding, First, IdempotencyKey, Invocation, NoIdempotencyKey, Outcome, Placement, SessionSeed,
};

use super::{Answer, Call, no_content};
use crate::error::ApiError;
use crate::reply::{self, Body};
use crate::trace;

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const LOG_TYPE: &str = "x-amz-log-type";
const CLIENT_CONTEXT: &str = "x-amz-client-context";
/// Lambda has no such thing for calls.
const IDEMPOTENCY_KEY: &str = "x-squall-idempotency-key";
const IDEMPOTENT_REPEAT: &str = "x-squall-idempotent-repeat";
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;

impl Call<'_> {
    pub(super) async fn invoke(&self) -> Answer {
        let kind = self.invocation_type()?;
        if kind == "DryRun" {
            self.gateway.invoke.dry_run(&self.target()?).await?;
            return Ok(no_content());
        }
        let invocation = self.invocation()?;
        if let Some(key) = self.idempotency_key()? {
            return self.invoke_once(kind, &key, invocation).await;
        }
        match kind {
            "RequestResponse" => Ok(answer(self.gateway.invoke.invoke(invocation).await?)),
            "Event" => {
                self.gateway.invoke.accept(invocation).await?;
                Ok(accepted())
            }
            other => Err(not_among(
                "invocationType",
                other,
                "[Event, RequestResponse, DryRun]",
            )),
        }
    }

    /// Makes a call that has a key, or answers what the first with this key came to.
    async fn invoke_once(&self, kind: &str, key: &IdempotencyKey, invocation: Invocation) -> Answer {
        let once = &self.gateway.engines.once;
        match kind {
            "RequestResponse" => Ok(first(once.invoke_once(key, invocation).await?, answer)),
            "Event" => Ok(first(once.accept_once(key, invocation).await?, |()| accepted())),
            other => Err(not_among(
                "invocationType",
                other,
                "[Event, RequestResponse, DryRun]",
            )),
        }
    }

    /// The caller's own name for this call, where it has one.
    pub(super) fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, ApiError> {
        let text = self.header(IDEMPOTENCY_KEY)?;
        let key = text.map(str::parse).transpose();
        key.map_err(|error: NoIdempotencyKey| {
            ApiError::invalid_parameter(format!("The header {IDEMPOTENCY_KEY} cannot be used: {error}."))
        })
    }

    pub(super) fn invocation_type(&self) -> Result<&str, ApiError> {
        Ok(self.header(INVOCATION_TYPE)?.unwrap_or("RequestResponse"))
    }

    /// The invocation that the request asks for.
    pub(super) fn invocation(&self) -> Result<Invocation, ApiError> {
        let log_tail = match self.header(LOG_TYPE)?.unwrap_or("None") {
            "None" => false,
            "Tail" => true,
            other => return Err(not_among("logType", other, "[None, Tail]")),
        };
        Ok(Invocation {
            request_id: self.request_id,
            target: self.target()?,
            revision: None,
            payload: payload(&self.body)?,
            client_context: self.client_context()?,
            trace_id: Some(trace::id(&self.head.headers, self.request_id)),
            log_tail,
            placement: Placement::Anywhere,
            encoding: Encoding::Json,
            session: SessionSeed::default(),
        })
    }

    /// The oldest way to invoke asynchronously; its answer has the status in its body too.
    pub(super) async fn invoke_async(&self) -> Answer {
        self.refuse_idempotency_key("InvokeAsync")?;
        let mut invocation = Invocation::new(self.target()?, payload(&self.body)?);
        invocation.request_id = self.request_id;
        invocation.trace_id = Some(trace::id(&self.head.headers, self.request_id));
        self.gateway.invoke.accept(invocation).await?;
        Ok(reply::json(StatusCode::ACCEPTED, &serde_json::json!({})))
    }

    /// Where a key would mean nothing, nobody is to rely on it.
    pub(super) fn refuse_idempotency_key(&self, operation: &str) -> Result<(), ApiError> {
        match self.idempotency_key()? {
            None => Ok(()),
            Some(_) => Err(ApiError::invalid_parameter(format!(
                "{operation} does not support {IDEMPOTENCY_KEY}; Invoke does."
            ))),
        }
    }

    fn header(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let Some(value) = self.head.headers.get(name) else {
            return Ok(None);
        };
        let text = value
            .to_str()
            .map_err(|_| ApiError::validation(format!("The header {name} is not text")))?;
        Ok(Some(text))
    }

    fn client_context(&self) -> Result<Option<Bytes>, ApiError> {
        let Some(text) = self.header(CLIENT_CONTEXT)? else {
            return Ok(None);
        };
        let refuse =
            |what: &str| ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequestContentException", what);
        if text.len() > CLIENT_CONTEXT_BYTES_MAX {
            return Err(refuse(
                "Client context must be no more than 3583 bytes when base64-encoded.",
            ));
        }
        let decoded = STANDARD
            .decode(text)
            .map_err(|_| refuse("Client context must be valid Base64-encoded JSON."))?;
        match serde_json::from_slice::<IgnoredAny>(&decoded) {
            Ok(_) => Ok(Some(decoded.into())),
            Err(_) => Err(refuse(
                "Client context must be a valid Base64-encoded JSON object.",
            )),
        }
    }
}

fn accepted() -> Response<Body> {
    reply::plain(StatusCode::ACCEPTED, Bytes::new())
}

/// The answer that all calls with a key have: the first one's, under the first one's request id.
fn first<T>(first: First<T>, answer: impl FnOnce(T) -> Response<Body>) -> Response<Body> {
    let mut response = answer(first.answer);
    reply::name_request(&mut response, first.request_id);
    if first.is_repeat {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENT_REPEAT, HeaderValue::from_static("true"));
    }
    response
}

/// The event: checked to be JSON without building it; nothing at all counts as `{}`.
fn payload(body: &Bytes) -> Result<Bytes, ApiError> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let refuse = |error: &dyn std::fmt::Display| {
        let text =
            format!("Could not parse request body into json: Could not parse payload into json: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequestContentException", text)
    };
    // A value that is ignored is not checked to be UTF-8, and a runtime would fail on what is not.
    let text = std::str::from_utf8(body).map_err(|error| refuse(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| refuse(&error))?;
    Ok(body.clone())
}

fn answer(outcome: Outcome) -> Response<Body> {
    let failed = outcome.result.is_err();
    let body = outcome.result.unwrap_or_else(|error| error.body);
    let mut response = reply::plain(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let version = HeaderValue::from_str(&outcome.executed_version.to_string());
    headers.insert(
        "x-amz-executed-version",
        version.expect("`$LATEST` and numbers are header values"),
    );
    if failed {
        headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
    }
    if let Some(tail) = outcome.log_tail {
        let tail = HeaderValue::from_str(&STANDARD.encode(tail));
        headers.insert("x-amz-log-result", tail.expect("base64 is a header value"));
    }
    response
}

pub(super) fn not_among(member: &str, value: &str, allowed: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: \
         Member must satisfy enum value set: {allowed}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &'static [u8], expected: Option<&[u8]>) {
        let taken = payload(&Bytes::from_static(body)).ok();
        assert_eq!(taken.as_deref(), expected, "{}", body.escape_ascii());
    }

    #[test]
    fn an_event_is_json_and_nothing_counts_as_an_empty_object() {
        check(b"", Some(b"{}"));
        check(b" null ", Some(b" null "));
        check(b"{\"a\":[1,\"\xc3\xbc\"]}", Some(b"{\"a\":[1,\"\xc3\xbc\"]}"));
        check(b"{\"a\":1} trailing", None);
        check(b"[1,]", None);
        check(b"\"\xff\"", None);
    }
}
