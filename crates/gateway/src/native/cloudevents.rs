//! CloudEvents over HTTP: `POST /squall/v1/cloudevents/FUNCTION` runs a function, and
//! `POST /squall/v1/cloudevents/buses/BUS` puts events on a bus.
//!
//! Both forms of the HTTP binding are read. A function sees the structured form, and what it answers goes out as an
//! event if it is one: in the form that `Accept` asks for, or else in that of the request. With `Event` as its
//! invocation type nobody waits. A batch is for buses alone: a function could fail on a part of it.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use squall_events::bus::{BusError, NewEvent};
use squall_events::cloudevent::{BATCH, CloudEvent, CloudEventError, HEADER_PREFIX, STRUCTURED};
use squall_types::{FunctionRef, Invocation, Outcome, RequestId};

use super::calls::decoded;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::lambda::query;
use crate::reply::{self, Body};
use crate::trace;

/// What an accepted event may have, and its attributes.
pub(super) const REQUEST_BYTES_MAX: usize = 6 * 1024 * 1024;
const INVOCATION_TYPE: &str = "x-amz-invocation-type";
/// The most events of a batch, and the most bytes of a bus's event.
const BATCH_MAX: usize = 100;
const BUS_EVENT_BYTES_MAX: usize = 256 * 1024;

/// How a request was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Structured,
    Batch,
    Binary,
}

/// Runs a function for an event.
pub(super) async fn run_function(
    gateway: &Gateway,
    head: &Parts,
    name: &str,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let (form, mut events) = read(head, body)?;
    if form == Form::Batch {
        return Err(ApiError::validation(
            "A batch of CloudEvents is not supported for a function; send each by itself, or all to a bus.",
        ));
    }
    let event = events.pop().expect("one event, since it is no batch");
    let mut target: FunctionRef = decoded(name).parse()?;
    if let Some(qualifier) = query(head).get("Qualifier") {
        target = target.with_qualifier(Some(qualifier))?;
    }
    let mut invocation = Invocation::new(target, event.to_structured().to_string().into());
    let request_id = invocation.request_id;
    invocation.trace_id = Some(trace::id(&head.headers, request_id));
    let mut response = match text(head, INVOCATION_TYPE).unwrap_or("RequestResponse") {
        "Event" => {
            gateway.invoke.accept(invocation).await?;
            reply::plain(StatusCode::ACCEPTED, Bytes::new())
        }
        "RequestResponse" => {
            let accept = text(head, header::ACCEPT.as_str()).unwrap_or("");
            let is_structured = form == Form::Structured || accept.contains(STRUCTURED);
            answer(gateway.invoke.invoke(invocation).await?, is_structured)
        }
        other => {
            return Err(ApiError::validation(format!(
                "The invocation type `{other}` is not Event or RequestResponse."
            )));
        }
    };
    reply::name_request(&mut response, request_id);
    Ok(response)
}

/// Puts events on a bus.
pub(super) async fn put_on_bus(
    gateway: &Gateway,
    head: &Parts,
    bus: &str,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let (_, events) = read(head, body)?;
    let bus = decoded(bus);
    let mut new = Vec::with_capacity(events.len());
    for event in &events {
        let event = bus_event(event);
        let bytes = event.detail.to_string().len();
        if bytes > BUS_EVENT_BYTES_MAX {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                format!("An event on a bus has at most {BUS_EVENT_BYTES_MAX} bytes; this one has {bytes}."),
            ));
        }
        new.push((bus.clone(), event));
    }
    let ids = gateway.engines.buses.put_events(&new).await.map_err(refused)?;
    let ids: Vec<String> = ids.iter().map(RequestId::to_string).collect();
    Ok(reply::json(StatusCode::ACCEPTED, &json!({ "event_ids": ids })))
}

/// The event as rules see it: the whole CloudEvent is the detail, so that nothing of it is lost.
fn bus_event(event: &CloudEvent) -> NewEvent {
    let text = |name: &str| event.text(name).unwrap_or_default().to_owned();
    let time = event.text("time").and_then(|time| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(time, format).ok()
    });
    NewEvent {
        source: text("source"),
        detail_type: text("type"),
        detail: event.to_structured(),
        resources: event.text("subject").map(str::to_owned).into_iter().collect(),
        time_ms: time.map(|time| time.unix_timestamp() * 1000 + i64::from(time.millisecond())),
    }
}

fn read(head: &Parts, body: Bytes) -> Result<(Form, Vec<CloudEvent>), ApiError> {
    let content_type = text(head, header::CONTENT_TYPE.as_str());
    let kind = content_type
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    let refuse =
        |error: CloudEventError| ApiError::validation(format!("The request cannot be taken, {error}."));
    let parse = |body: &[u8]| {
        let document: Result<Value, _> = serde_json::from_slice(body);
        document.map_err(|error| ApiError::validation(format!("The request is not JSON: {error}.")))
    };
    match kind {
        Some(STRUCTURED) => {
            let event = CloudEvent::from_structured(parse(&body)?).map_err(refuse)?;
            Ok((Form::Structured, vec![event]))
        }
        Some(BATCH) => {
            let documents = match parse(&body)? {
                Value::Array(documents) if documents.len() <= BATCH_MAX => documents,
                _ => {
                    return Err(ApiError::validation(format!(
                        "A batch of CloudEvents is a JSON array of at most {BATCH_MAX} events."
                    )));
                }
            };
            let events = documents.into_iter().map(CloudEvent::from_structured);
            let events = events.collect::<Result<_, _>>().map_err(refuse)?;
            Ok((Form::Batch, events))
        }
        Some(other) if other.starts_with("application/cloudevents") => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaTypeException",
            format!(
                "CloudEvents in the format {other} are not supported; send {STRUCTURED} or the binary form."
            ),
        )),
        _ => {
            let headers = head.headers.iter().filter_map(|(name, value)| {
                let name = name.as_str().strip_prefix(HEADER_PREFIX)?;
                // What is no text is no attribute: then a required one is missing, or nothing is lost.
                Some((name, value.to_str().ok()?))
            });
            let event = CloudEvent::from_binary(headers, content_type, body).map_err(refuse)?;
            Ok((Form::Binary, vec![event]))
        }
    }
}

/// A function's answer. Senders of events look at the status alone, so a function that fails is an error here.
fn answer(outcome: Outcome, is_structured: bool) -> Response<Body> {
    let body = match outcome.result {
        Ok(body) => body,
        Err(error) => {
            let mut response = reply::plain(StatusCode::BAD_GATEWAY, error.body);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
            return response;
        }
    };
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    if document.is_null() {
        return reply::plain(StatusCode::NO_CONTENT, Bytes::new());
    }
    let event = match CloudEvent::is_meant(&document) {
        true => CloudEvent::from_structured(document).ok(),
        false => None,
    };
    match event {
        Some(event) if is_structured => typed(event.to_structured().to_string(), STRUCTURED),
        Some(event) => binary(&event),
        None => typed(body, "application/json"),
    }
}

fn typed(body: impl Into<Bytes>, kind: &'static str) -> Response<Body> {
    let mut response = reply::plain(StatusCode::OK, body);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn binary(event: &CloudEvent) -> Response<Body> {
    let (headers, body) = event.to_binary();
    let mut response = reply::plain(StatusCode::OK, body);
    for (name, value) in headers {
        // A content type that is no header value is the function's mistake; the data goes without it.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refused(error: BusError) -> ApiError {
    let text = error.to_string();
    match error {
        BusError::NotFound(_) => ApiError::not_found(text),
        BusError::Full => ApiError::throttled(text),
        BusError::Store(error) => ApiError::platform(error),
        _ => ApiError::validation(text),
    }
}

fn text<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}
