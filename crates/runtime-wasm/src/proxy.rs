//! A call of a component that handles HTTP requests: the event becomes `POST /`, the response's body is the answer.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use squall_runtime::{Event, Fault, LogCapture};
use squall_types::FunctionError;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::call::{self, Ended, RESPONSE_BYTES_MAX};
use crate::host::Host;
use crate::instance::Loaded;
use crate::output::Output;

/// What the host has of a response until all of it is there.
type Promised = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// Why there is no whole response.
enum Missing {
    TooLarge,
    Cut(String),
}

/// Runs one event.
pub(crate) async fn call(loaded: &Loaded, proxy: &ProxyPre<Host>, event: &Event, log: &LogCapture) -> Ended {
    let mut store = call::component_store(loaded, Bytes::new(), Output::Log(log.clone()), log);
    let (request, outparam, promised) = match request(&mut store, event) {
        Ok(made) => made,
        Err(error) => {
            return Ended {
                result: Err(Fault::Protocol(format!("could not make the request: {error:#}"))),
                memory_bytes: 0,
            };
        }
    };
    // It owns the store: what the guest has left open ends with the guest, so that nobody waits for it.
    let handling = async move {
        let handled = async {
            let instance = proxy.instantiate_async(&mut store).await?;
            let handler = instance.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, outparam).await
        };
        let handled = handled.await;
        (handled, store.data().limits.memory_bytes())
    };
    // Both at once: the guest waits while nobody reads its body.
    let ((handled, memory_bytes), response) = tokio::join!(handling, collect(promised));
    let result = match (handled, response) {
        (_, Err(Missing::TooLarge)) => Err(call::too_large(RESPONSE_BYTES_MAX + 1)),
        (Err(trap), _) => Ok(Err(call::guest_error(&trap))),
        (Ok(()), Err(Missing::Cut(why))) => Ok(Err(FunctionError::new("Runtime.WasmError", &why))),
        (Ok(()), Ok(response)) => Ok(answer(response)),
    };
    Ended { result, memory_bytes }
}

type Made = (
    Resource<HostIncomingRequest>,
    Resource<HostResponseOutparam>,
    Promised,
);

fn request(store: &mut Store<Host>, event: &Event) -> wasmtime::Result<Made> {
    let body = Full::new(event.payload.clone()).map_err(never as fn(Infallible) -> Error);
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://function.local/")
        .header(header::HOST, "function.local")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, event.payload.len())
        .header("lambda-runtime-aws-request-id", event.request_id.to_string())
        .header("lambda-runtime-invoked-function-arn", &event.invoked_function_arn)
        .body(body)?;
    let (sender, promised) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let outparam = http.new_response_outparam(sender)?;
    Ok((request, outparam, promised))
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
