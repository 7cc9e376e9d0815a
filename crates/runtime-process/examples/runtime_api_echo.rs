//! Runs a runtime client against the Runtime API: `runtime_api_echo FOLDER COMMAND…`.
//!
//! For a person who wants to know whether a client works. Starts COMMAND in FOLDER, gives it two events,
//! one of which its handler is expected to refuse, and prints the answers. The events are bounded in time.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::time::{Duration, SystemTime};

use squall_runtime::Event;
use squall_runtime_process::runtime_api::RuntimeApi;
use squall_types::{Encoding, RequestId};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: runtime_api_echo FOLDER COMMAND…")?;
    let program = args.next().ok_or("usage: runtime_api_echo FOLDER COMMAND…")?;
    let mut api = RuntimeApi::bind().await?;
    let _process = tokio::process::Command::new(program)
        .args(args)
        .current_dir(&folder)
        .env("AWS_LAMBDA_RUNTIME_API", api.addr().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "echo")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("LAMBDA_TASK_ROOT", &folder)
        .kill_on_drop(true)
        .spawn()?;
    match tokio::time::timeout(PATIENCE, api.ready()).await? {
        Ok(()) => println!("ready"),
        Err(error) => return Err(String::from_utf8_lossy(&error.body).into()),
    }
    for payload in [r#"{"name":"Ada"}"#, "{}"] {
        let event = Event {
            request_id: RequestId::random(),
            payload: payload.into(),
            deadline: SystemTime::now() + PATIENCE,
            invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:echo".into(),
            trace_id: None,
            client_context: None,
            encoding: Encoding::Json,
            host: None,
        };
        match tokio::time::timeout(PATIENCE, api.call(&event)).await?? {
            Ok(body) => println!("{payload} -> {}", String::from_utf8_lossy(&body)),
            Err(error) => println!("{payload} -> error {}", String::from_utf8_lossy(&error.body)),
        }
    }
    Ok(())
}
