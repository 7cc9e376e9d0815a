//! Runs: of a DAG (`POST /squall/v1/dags/NAME/runs`), of one function (`POST /squall/v1/calls/NAME`), and what became
//! of them (`/squall/v1/runs/ID`).
//!
//! A body of the type [`ARGUMENTS`] has arguments in the form that `workflow` defines; a JSON body is a function's
//! event, and for a DAG an array of the only source's arguments or an object of such arrays by function.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use squall_types::{Encoding, FunctionError, FunctionRef, RequestId};
use squall_workflow::dag::{
    Argument, DagError, Dags, Ending, Inputs, Options, Plan, Reference, RunId, RunState, Takes, Value,
    read_inputs,
};

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::reply::{self, Body};
use crate::trace;

/// What a call may carry: as much as an invocation, and room for the arguments' heads.
pub(super) const REQUEST_BYTES_MAX: usize = 6 * 1024 * 1024 + 64 * 1024;
/// The media type of arguments.
const ARGUMENTS: &str = "application/vnd.squall.arguments";
const PICKLE: &str = "application/x-python-pickle";
const NDARRAY: &str = "application/vnd.squall.ndarray";
const RUN_ID: &str = "squall-run-id";
const FUNCTION: &str = "squall-function";
/// The longest that a question for a result is kept waiting; whoever asks asks again.
const WAIT_MAX: Duration = Duration::from_secs(30);

type Query = HashMap<String, String>;

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

pub(super) fn engine(gateway: &Gateway) -> Result<&Dags, ApiError> {
    let absent = || ApiError::not_found("this server runs no DAGs");
    gateway.engines.dags.as_ref().ok_or_else(absent)
}

/// Starts a run of a DAG.
pub(super) async fn run_dag(
    gateway: &Gateway,
    head: &Parts,
    name: &str,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let inputs = match is_arguments(head) {
        true => read_inputs(body)?,
        false => json_inputs(&body)?,
    };
    start(gateway, head, Plan::Dag(decoded(name)), inputs).await
}

/// Starts a run of one function.
pub(super) async fn call_function(
    gateway: &Gateway,
    head: &Parts,
    name: &str,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let target: FunctionRef = decoded(name).parse()?;
    let (takes, inputs) = match is_arguments(head) {
        true => (Takes::Arguments, read_inputs(body)?),
        false => (
            Takes::Event,
            vec![(String::new(), vec![json_argument(&check_json(&body)?)])],
        ),
    };
    // A function that is not there is the caller's mistake, and not the run's end.
    gateway
        .registry
        .function(&FunctionRef::unqualified(target.name.clone()))?;
    start(gateway, head, Plan::Function(target, takes), inputs).await
}

async fn start(
    gateway: &Gateway,
    head: &Parts,
    plan: Plan,
    inputs: Inputs,
) -> Result<Response<Body>, ApiError> {
    let dags = engine(gateway)?;
    let query = query(head);
    let id = parameter(&query, "id")?.unwrap_or_else(RunId::random);
    let options = options(&query)?;
    let trace_id = Some(trace::id(&head.headers, RequestId(id.0)));
    if parameter(&query, "direct")?.unwrap_or(true) {
        let ending = dags.call(plan, inputs, options, id, trace_id).await?;
        return Ok(ended(id, &ending));
    }
    match dags.submit(plan, inputs, options, id, trace_id).await {
        // Asked twice, taken once.
        Ok(_) | Err(DagError::Exists(_)) => Ok(under_way(id)),
        Err(error) => Err(error.into()),
    }
}

/// Answers `GET` and `DELETE /squall/v1/runs/ID`.
pub(super) async fn run(gateway: &Gateway, head: &Parts, id: &str) -> Result<Response<Body>, ApiError> {
    let dags = engine(gateway)?;
    let refuse = |_| ApiError::validation(format!("`{id}` is not the id of a run"));
    let id: RunId = id.parse().map_err(refuse)?;
    let state = if head.method == Method::DELETE {
        dags.cancel(id).await?
    } else {
        let wait = parameter(&query(head), "wait_ms")?.map_or(Duration::ZERO, Duration::from_millis);
        tokio::select! {
            state = dags.state(id, wait.min(WAIT_MAX)) => state?,
            () = gateway.stop.cancelled() => RunState::Running,
        }
    };
    Ok(match state {
        RunState::Running => under_way(id),
        RunState::Ended(ending) => ended(id, &ending),
    })
}

/// Answers `GET /squall/v1/runs`.
pub(super) fn runs(gateway: &Gateway) -> Result<Response<Body>, ApiError> {
    let runs = engine(gateway)?.runs();
    let shape = |(id, dag, is_recorded): &(RunId, Option<String>, bool)| json!({ "run_id": id, "dag": dag, "recorded": is_recorded });
    let runs: Vec<Json> = runs.iter().map(shape).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "runs": runs })))
}

fn under_way(id: RunId) -> Response<Body> {
    reply::json(StatusCode::ACCEPTED, &json!({ "run_id": id, "state": "running" }))
}

/// A result as it is; a failure as Lambda's Invoke has it.
fn ended(id: RunId, ending: &Ending) -> Response<Body> {
    let (encoding, body, failed) = match ending {
        Ending::Done(value) => (value.encoding, value.bytes.clone(), None),
        Ending::Failed { function, error } => (Encoding::Json, error.clone(), Some(function.as_str())),
        Ending::Cancelled => {
            let error = FunctionError::new("Squall.RunCancelled", "the run was cancelled");
            (Encoding::Json, error.body, Some(""))
        }
    };
    let mut response = reply::plain(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(encoding)),
    );
    let id = HeaderValue::from_str(&id.to_string()).expect("a UUID is a header value");
    headers.insert(RUN_ID, id);
    if let Some(function) = failed {
        headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
        if let Ok(function) = HeaderValue::from_str(function) {
            headers.insert(FUNCTION, function);
        }
    }
    response
}

fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Bytes => "application/octet-stream",
        Encoding::Pickle => PICKLE,
        Encoding::Ndarray => NDARRAY,
    }
}

fn is_arguments(head: &Parts) -> bool {
    head.headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == ARGUMENTS)
}

fn options(query: &Query) -> Result<Options, ApiError> {
    let mut options = Options {
        level: query.get("consistency").cloned(),
        output: output(query)?,
        ..Options::default()
    };
    if let Some(timeout_ms) = parameter(query, "timeout_ms")? {
        options.timeout_ms = timeout_ms;
    }
    if let Some(keep_ms) = parameter(query, "keep_ms")? {
        options.keep_ms = keep_ms;
    }
    Ok(options)
}

fn output(query: &Query) -> Result<Option<Reference>, ApiError> {
    let Some(key) = query.get("output_key") else {
        return Ok(None);
    };
    let bucket = query.get("output_bucket").cloned();
    let bucket =
        bucket.ok_or_else(|| ApiError::validation("`output_key` needs `output_bucket`: where the key is"))?;
    Ok(Some(Reference {
        bucket,
        key: key.clone(),
    }))
}

fn parameter<T: std::str::FromStr>(query: &Query, name: &str) -> Result<Option<T>, ApiError> {
    let refuse = |text: &String| ApiError::validation(format!("`{text}` is not a value for `{name}`"));
    let parse = |text: &String| text.parse().map_err(|_| refuse(text));
    query.get(name).map(parse).transpose()
}

fn query(head: &Parts) -> Query {
    let pairs = head.uri.query().unwrap_or("").split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn check_json(body: &Bytes) -> Result<Box<RawValue>, ApiError> {
    if body.is_empty() {
        return Ok(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::validation(format!("the body is neither JSON nor arguments: {error}")))
}

fn json_argument(document: &RawValue) -> Argument {
    Argument::Value(Value {
        encoding: Encoding::Json,
        bytes: Bytes::copy_from_slice(document.get().as_bytes()),
    })
}

/// Arguments of a DAG, as people write them.
fn json_inputs(body: &Bytes) -> Result<Inputs, ApiError> {
    let document = check_json(body)?;
    let arguments = |documents: Vec<Box<RawValue>>| {
        let arguments = documents.iter().map(|document| json_argument(document));
        arguments.collect::<Vec<_>>()
    };
    if let Ok(list) = serde_json::from_str::<Vec<Box<RawValue>>>(document.get()) {
        return Ok(vec![(String::new(), arguments(list))]);
    }
    let by_name = serde_json::from_str::<HashMap<String, Vec<Box<RawValue>>>>(document.get());
    let by_name = by_name.map_err(|_| {
        ApiError::validation(
            "arguments of a DAG are a JSON array for its only source, or an object of such arrays by function",
        )
    })?;
    Ok(by_name
        .into_iter()
        .map(|(name, list)| (name, arguments(list)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &'static str, expected: Option<&[(&str, &[&str])]>) {
        let read = json_inputs(&Bytes::from_static(body.as_bytes())).ok();
        let expected = expected.map(|expected| {
            let argument = |text: &&str| {
                Argument::Value(Value {
                    encoding: Encoding::Json,
                    bytes: Bytes::copy_from_slice(text.as_bytes()),
                })
            };
            let by_name = expected
                .iter()
                .map(|(name, list)| ((*name).to_owned(), list.iter().map(argument).collect()));
            by_name.collect::<Inputs>()
        });
        assert_eq!(read, expected, "{body}");
    }

    #[test]
    fn arguments_as_people_write_them() {
        check("[3, {\"a\": 1}]", Some(&[("", &["3", "{\"a\": 1}"])]));
        check("{\"f\": [1]}", Some(&[("f", &["1"])]));
        check("", Some(&[]));
        check("3", None);
        check("{\"f\": 1}", None);
        check("[", None);
    }
}
