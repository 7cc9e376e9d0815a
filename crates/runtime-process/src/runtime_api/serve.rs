//! The Runtime API's paths: reads requests within bounds, asks the [`Machine`], writes AWS's answers.
//!
//! Statuses and texts are those of AWS's emulator, which has no SnapStart either:
//! the restore and credentials paths are not found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use squall_types::FunctionError;

use super::RESPONSE_BYTES_MAX;
use super::machine::{Machine, Refusal};

/// How much of a refused body is read and thrown away: a client that is still writing
/// does not see an answer, and takes the closed connection for a crash of the platform.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";

const INVOCATION_RESPONSE: &str = "InvocationResponse";
const INVOCATION_ERROR: &str = "InvocationErrorResponse";

type Reply = Response<Full<Bytes>>;

/// Answers one request; never fails, since every failure is an answer.
pub(super) async fn serve(machine: &Machine, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let Some(rest) = path.strip_prefix("/2018-06-01/") else {
        return not_found();
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let (allowed, route) = match segments[..] {
        ["ping"] => (Method::GET, Route::Ping),
        ["runtime", "invocation", "next"] => (Method::GET, Route::Next),
        ["runtime", "invocation", id, "response"] => (Method::POST, Route::Response(id)),
        ["runtime", "invocation", id, "error"] => (Method::POST, Route::Error(id)),
        ["runtime", "init", "error"] => (Method::POST, Route::InitError),
        _ => return not_found(),
    };
    if request.method() != allowed {
        return method_not_allowed(&allowed);
    }
    match route {
        Route::Ping => text(StatusCode::OK, "pong"),
        Route::Next => next(machine).await,
        Route::Response(id) => response(machine, id, request).await,
        Route::Error(id) => error(machine, id, request).await,
        Route::InitError => init_error(machine, request).await,
    }
}

enum Route<'a> {
    Ping,
    Next,
    Response(&'a str),
    Error(&'a str),
    InitError,
}

async fn next(machine: &Machine) -> Reply {
    match machine.next().await {
        Ok(event) => {
            let mut reply = Response::new(Full::new(event.payload.clone()));
            *reply.headers_mut() = event.headers.clone();
            reply
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn response(machine: &Machine, id: &str, request: Request<Incoming>) -> Reply {
    if let Err(refusal) = machine.may_answer(id, INVOCATION_RESPONSE) {
        discard(request.into_body()).await;
        return refused(&refusal);
    }
    let mode = request.headers().get(RESPONSE_MODE).map(HeaderValue::as_bytes);
    if !matches!(mode, None | Some(b"" | b"streaming")) {
        let fault = FunctionError::new(
            "Runtime.InvalidResponseModeHeader",
            "Invalid function response mode",
        );
        let result = machine.answer(id, INVOCATION_RESPONSE, Err(fault));
        discard(request.into_body()).await;
        return match result {
            Ok(()) => failed(
                StatusCode::BAD_REQUEST,
                "InvalidFunctionResponseMode",
                "Invalid function response mode",
            ),
            Err(refusal) => refused(&refusal),
        };
    }
    let mut body = request.into_body();
    match read(&mut body).await {
        Ok(Posted { data, trailers }) => {
            let answer = trailers
                .as_ref()
                .and_then(error_in_trailers)
                .map_or(Ok(data), Err);
            accepted(machine.answer(id, INVOCATION_RESPONSE, answer))
        }
        Err(ReadError::TooLarge) => too_large(machine, id, INVOCATION_RESPONSE, body).await,
        Err(ReadError::Truncated) => truncated(),
    }
}

async fn error(machine: &Machine, id: &str, request: Request<Incoming>) -> Reply {
    if let Err(refusal) = machine.may_answer(id, INVOCATION_ERROR) {
        discard(request.into_body()).await;
        return refused(&refusal);
    }
    let error_type = error_type(request.headers(), "Function.Unknown");
    let mut body = request.into_body();
    match read(&mut body).await {
        Ok(Posted { data, .. }) => {
            let error = function_error(data, &error_type);
            accepted(machine.answer(id, INVOCATION_ERROR, Err(error)))
        }
        Err(ReadError::TooLarge) => too_large(machine, id, INVOCATION_ERROR, body).await,
        Err(ReadError::Truncated) => truncated(),
    }
}

async fn init_error(machine: &Machine, request: Request<Incoming>) -> Reply {
    let error_type = error_type(request.headers(), "Runtime.Unknown");
    let mut body = request.into_body();
    match read(&mut body).await {
        Ok(Posted { data, .. }) => accepted(machine.fail_init(function_error(data, &error_type))),
        Err(ReadError::TooLarge) => {
            let result = machine.fail_init(response_too_large());
            discard(body).await;
            result.map_or_else(|refusal| refused(&refusal), |()| entity_too_large())
        }
        Err(ReadError::Truncated) => truncated(),
    }
}

/// Tells the caller what Lambda tells it, then the function.
async fn too_large(machine: &Machine, id: &str, to: &'static str, body: Incoming) -> Reply {
    let result = machine.answer(id, to, Err(response_too_large()));
    discard(body).await;
    result.map_or_else(|refusal| refused(&refusal), |()| entity_too_large())
}

fn response_too_large() -> FunctionError {
    FunctionError::new(
        "Function.ResponseSizeTooLarge",
        &format!("Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."),
    )
}

struct Posted {
    data: Bytes,
    /// A streamed answer ends with them where it failed midway.
    trailers: Option<HeaderMap>,
}

enum ReadError {
    TooLarge,
    Truncated,
}

/// Reads a body whole, whatever its declared type, and no more of it than may be.
async fn read(body: &mut Incoming) -> Result<Posted, ReadError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > RESPONSE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    let mut data = Vec::with_capacity(expected);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadError::Truncated)?;
        match frame.into_data() {
            Ok(piece) if data.len() + piece.remaining() > RESPONSE_BYTES_MAX => {
                return Err(ReadError::TooLarge);
            }
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Posted {
        data: data.into(),
        trailers,
    })
}

async fn discard(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}

/// The header, where it is one of Lambda's categories: `Runtime.Name` or `Function.Name`.
fn error_type(headers: &HeaderMap, otherwise: &str) -> String {
    let given = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    let is_category = |text: &&str| {
        let name = text
            .strip_prefix("Runtime.")
            .or_else(|| text.strip_prefix("Function."))
            .unwrap_or_default();
        name.len() > 1
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    given.filter(is_category).unwrap_or(otherwise).to_owned()
}

/// The error as it was posted. What is not JSON is put into Lambda's form, since callers parse it.
fn function_error(posted: Bytes, error_type: &str) -> FunctionError {
    if serde_json::from_slice::<serde::de::IgnoredAny>(&posted).is_ok() {
        return FunctionError { body: posted };
    }
    FunctionError::new(error_type, &String::from_utf8_lossy(&posted))
}

fn error_in_trailers(trailers: &HeaderMap) -> Option<FunctionError> {
    let error_type = trailers.get(ERROR_TYPE)?;
    let body = trailers
        .get(ERROR_BODY)
        .and_then(|body| STANDARD.decode(body.as_bytes()).ok());
    let error_type = String::from_utf8_lossy(error_type.as_bytes());
    Some(function_error(body.unwrap_or_default().into(), &error_type))
}

fn accepted(result: Result<(), Refusal>) -> Reply {
    match result {
        Ok(()) => json(StatusCode::ACCEPTED, &serde_json::json!({ "status": "OK" })),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Reply {
    let message = refusal.to_string();
    match refusal {
        Refusal::InvalidRequestId => failed(StatusCode::BAD_REQUEST, "InvalidRequestID", &message),
        Refusal::InvalidStateTransition { .. } => {
            failed(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
        }
    }
}

fn truncated() -> Reply {
    failed(
        StatusCode::BAD_REQUEST,
        "TruncatedHTTPRequest",
        "HTTP request detected as truncated",
    )
}

fn entity_too_large() -> Reply {
    let message = format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
    failed(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

fn failed(status: StatusCode, error_type: &str, message: &str) -> Reply {
    json(
        status,
        &serde_json::json!({ "errorMessage": message, "errorType": error_type }),
    )
}

fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn method_not_allowed(allowed: &Method) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "");
    let allowed = HeaderValue::from_str(allowed.as_str()).expect("a method is a valid header value");
    reply.headers_mut().insert(ALLOW, allowed);
    reply
}

fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, "application/json", body.to_string().into())
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    reply(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
