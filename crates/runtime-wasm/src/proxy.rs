//! A call of a component that handles HTTP requests: the event becomes a request, the response the answer.
//!
//! An event of the Lambda API becomes `POST /`, and the body of the response is its answer. A request of a function
//! URL arrives as it is, and its response leaves as it is made (`respond`).

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use squall_runtime::{Event, Exchange, Fault, LogCapture, Responder};
use squall_types::{Body, FunctionError};
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::{HyperIncomingBody, HyperOutgoingBody};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::call::{self, Ended, RESPONSE_BYTES_MAX};
use crate::host::Host;
use crate::instance::Loaded;
use crate::respond::{self, Flowing};
use crate::sandbox::{Kept, Sandbox};

/// What the host has of a response until the guest sets it.
type Promised = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;
/// What is passed to the guest's handler, and where its response will be.
type Made = (
    Resource<HostIncomingRequest>,
    Resource<HostResponseOutparam>,
    Promised,
);

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const INVOKED_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Why there is no whole response.
enum Missing {
    TooLarge,
    Cut(String),
}

/// Runs one event whose answer is wanted whole.
pub(crate) async fn call(
    loaded: &Loaded,
    proxy: &ProxyPre<Host>,
    kept: &mut Kept,
    event: &Event,
    log: &LogCapture,
) -> Ended {
    let mut sandbox = kept.take(loaded, log);
    sandbox.store.data_mut().answerer = event.host.clone();
    let (request, outparam, promised) = match made(&mut sandbox.store, payload(event)) {
        Ok(made) => made,
        Err(fault) => return Ended::fault(fault),
    };
    let second_call = sandbox.second_call(loaded, log);
    let handling = async move {
        let handled = handle(&mut sandbox, proxy, request, outparam).await;
        (handled, sandbox)
    };
    let collecting = collect(promised);
    tokio::pin!(handling, collecting);
    // Both at once: the guest waits while nobody reads its body.
    let (handled, sandbox, response) = tokio::select! {
        biased;
        (handled, sandbox) = &mut handling => (handled, sandbox, collecting.as_mut().now_or_never()),
        response = &mut collecting => {
            let (handled, sandbox) = handling.await;
            (handled, sandbox, Some(response))
        }
    };
    let memory_bytes = sandbox.memory_bytes();
    // What the guest has left open ends with its sandbox, so that nobody waits for it.
    if handled.is_ok() {
        kept.put(loaded, sandbox);
    } else {
        drop(sandbox);
    }
    let response = match response {
        Some(response) => response,
        None => collecting.await,
    };
    if let (Ok(()), Ok(_), Some(second_call)) = (&handled, &response, second_call) {
        second_call.answered();
    }
    let result = match (handled, response) {
        (_, Err(Missing::TooLarge)) => Err(call::too_large(RESPONSE_BYTES_MAX + 1)),
        (Err(trap), _) => Ok(Err(call::guest_error(&trap))),
        (Ok(()), Err(Missing::Cut(why))) => Ok(Err(FunctionError::new("Runtime.WasmError", &why))),
        (Ok(()), Ok(response)) => Ok(answer(response)),
    };
    Ended { result, memory_bytes }
}

/// Runs one event whose answer leaves as it is made.
pub(crate) async fn exchange(
    loaded: &Loaded,
    proxy: &ProxyPre<Host>,
    kept: &mut Kept,
    event: &Event,
    exchange: Exchange,
    log: &LogCapture,
) -> Ended {
    let mut sandbox = kept.take(loaded, log);
    sandbox.store.data_mut().answerer = event.host.clone();
    let request = match exchange.request {
        Some(request) => incoming(request, event),
        None => payload(event),
    };
    let request = match &loaded.reuse {
        Some(_) => request.map(|body| sandbox.store.data_mut().lend(body)),
        None => request,
    };
    let made = match made(&mut sandbox.store, request) {
        Ok(made) => made,
        Err(fault) => return Ended::fault(fault),
    };
    let second_call = sandbox.second_call(loaded, log);
    let ended = stream(&mut sandbox, proxy, made, exchange.responder).await;
    let memory_bytes = sandbox.memory_bytes();
    if ended.is_ok() {
        if let Some(second_call) = second_call {
            second_call.answered();
        }
        kept.put(loaded, sandbox);
    }
    Ended {
        result: Ok(ended.map(|()| Bytes::new())),
        memory_bytes,
    }
}

/// Runs the guest. Its answer begins when the guest has ended, and then it is whole; or, where that takes longer than
/// until its head is there, with the head.
async fn stream(
    sandbox: &mut Sandbox,
    proxy: &ProxyPre<Host>,
    (request, outparam, mut promised): Made,
    responder: Responder,
) -> Result<(), FunctionError> {
    let handling = handle(sandbox, proxy, request, outparam);
    tokio::pin!(handling);
    let promised = tokio::select! {
        biased;
        handled = &mut handling => {
            handled.map_err(|trap| call::guest_error(&trap))?;
            let response = set(promised.try_recv().ok())?;
            responder.begin(respond::whole(response));
            return Ok(());
        }
        promised = &mut promised => promised.ok(),
    };
    let response = match set(promised) {
        Ok(response) => response,
        // It answered with an error, or with nothing, and may go on all the same.
        Err(error) => {
            handling.await.map_err(|trap| call::guest_error(&trap))?;
            return Err(error);
        }
    };
    let (flowing, response) = Flowing::begin(response);
    responder.begin(response);
    match flowing.alongside(handling).await {
        Ok(()) => Ok(()),
        Err(trap) => Err(call::guest_error(&trap)),
    }
}

/// The response that the guest has set.
fn set(
    promised: Option<Result<Response<HyperOutgoingBody>, ErrorCode>>,
) -> Result<Response<HyperOutgoingBody>, FunctionError> {
    let why = match promised {
        Some(Ok(response)) => return Ok(response),
        Some(Err(code)) => format!("the component answered with the error {code:?}"),
        None => "the component ended without a response".to_owned(),
    };
    Err(FunctionError::new("Runtime.WasmError", &why))
}

async fn handle(
    sandbox: &mut Sandbox,
    proxy: &ProxyPre<Host>,
    request: Resource<HostIncomingRequest>,
    outparam: Resource<HostResponseOutparam>,
) -> wasmtime::Result<()> {
    let (guest, store) = sandbox.guest(proxy).await?;
    let handler = guest.wasi_http_incoming_handler();
    handler.call_handle(store, request, outparam).await
}

fn made(store: &mut Store<Host>, request: Request<HyperIncomingBody>) -> Result<Made, Fault> {
    let failed = |error: wasmtime::Error| Fault::Protocol(format!("could not make the request: {error:#}"));
    let (sender, promised) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request).map_err(failed)?;
    let outparam = http.new_response_outparam(sender).map_err(failed)?;
    Ok((request, outparam, promised))
}

/// `POST /` with the payload.
fn payload(event: &Event) -> Request<HyperIncomingBody> {
    let body = Full::new(event.payload.clone()).map_err(never as fn(Infallible) -> Error);
    let mut request = Request::new(body.boxed_unsync());
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(event.payload.len()));
    name(request, event)
}

/// The request as it came. A client that stops sending is an error that the guest reads.
fn incoming(request: Request<Body>, event: &Event) -> Request<HyperIncomingBody> {
    let request = request.map(|body| {
        body.map_err(|error| Error::InternalError(Some(error.to_string())))
            .boxed_unsync()
    });
    name(request, event)
}

/// Adds what an invocation brings beside its event.
fn name(mut request: Request<HyperIncomingBody>, event: &Event) -> Request<HyperIncomingBody> {
    let headers = request.headers_mut();
    headers
        .entry(header::HOST)
        .or_insert(HeaderValue::from_static("function.local"));
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id: &str = event.request_id.0.hyphenated().encode_lower(&mut id);
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    add(REQUEST_ID, id);
    add(INVOKED_ARN, &event.invoked_function_arn);
    if let Some(trace_id) = &event.trace_id {
        add(TRACE_ID, trace_id);
    }
    request
}

fn never(never: Infallible) -> Error {
    match never {}
}

async fn collect(promised: Promised) -> Result<Response<Bytes>, Missing> {
    let response = match promised.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => {
            return Err(Missing::Cut(format!(
                "the component answered with the error {code:?}"
            )));
        }
        Err(_) => return Err(Missing::Cut("the component ended without a response".to_owned())),
    };
    let (head, body) = response.into_parts();
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Missing::TooLarge),
        Err(error) => Err(Missing::Cut(format!(
            "the component did not finish its response: {error}"
        ))),
    }
}

/// 2xx is an answer; anything else is the function's error.
fn answer(response: Response<Bytes>) -> Result<Bytes, FunctionError> {
    let status = response.status();
    if status.is_success() {
        return Ok(call::json_or_text(response.into_body()));
    }
    let body = String::from_utf8_lossy(response.body()).into_owned();
    let message = format!("the component answered {status}: {body}");
    Err(FunctionError::new("Function.HttpError", &message))
}
