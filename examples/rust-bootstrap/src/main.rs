//! A Rust function: greets, and says how much time it had left.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    let name = event["name"].as_str().ok_or("the event has no `name`")?;
    println!("greeting {name}");
    Ok(json!({ "greeting": format!("Hello, {name}!"), "request_id": context.request_id }))
}
