//! Greets over HTTP, and prints a line to the log: a component of the wasi:http proxy world.
//!
//! A call from the Lambda API arrives as `POST /` with the event as its body; the response's body is the answer.
//! A function URL's request arrives as it is.

use std::error::Error;
use std::io::{Read, Write};

use serde_json::{Value, json};
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let (status, answer) = match greet(&request) {
            Ok(answer) => (200, answer),
            Err(error) => (400, json!({ "error": error.to_string() })),
        };
        respond(response, status, &answer).expect("the host takes the response");
    }
}

fn greet(request: &IncomingRequest) -> Result<Value, Box<dyn Error>> {
    let event: Value = serde_json::from_slice(&body(request)?)?;
    let name = event["name"].as_str().ok_or("the event has no name")?;
    println!("greeting {name}");
    Ok(json!({ "greeting": format!("Hello, {name}!"), "path": request.path_with_query() }))
}

/// The request's whole body.
fn body(request: &IncomingRequest) -> Result<Vec<u8>, Box<dyn Error>> {
    let body = request.consume().map_err(|()| "the body is taken")?;
    let mut stream = body.stream().map_err(|()| "the body's stream is taken")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn respond(to: ResponseOutparam, status: u16, answer: &Value) -> Result<(), Box<dyn Error>> {
    let headers = Fields::from_list(&[("content-type".to_owned(), b"application/json".to_vec())])?;
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).map_err(|()| "no such status")?;
    let body = response.body().map_err(|()| "the body is taken")?;
    ResponseOutparam::set(to, Ok(response));
    let mut stream = body.write().map_err(|()| "the body's stream is taken")?;
    stream.write_all(answer.to_string().as_bytes())?;
    stream.flush()?;
    drop(stream);
    Ok(OutgoingBody::finish(body, None)?)
}
