//! `squall invoke`: one event to a function; its answer on stdout, its logs and its cost on stderr.

mod report;

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use self::report::Report;
use super::print;
use crate::client::lambda::InvokeCall;
use crate::client::{Answer, Client, Refusal, ServerArgs};

/// Which function, with what.
#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// Function: its name, NAME:QUALIFIER or its ARN.
    name: String,
    /// The event: JSON, @FILE, or - for stdin [default: {}].
    #[arg(long, short, value_name = "JSON|@FILE|-")]
    data: Option<String>,
    /// Have it accepted and run later; prints the request id.
    #[arg(long = "async")]
    asynchronous: bool,
    /// Print the last 4 KB of what it wrote.
    #[arg(long, conflicts_with = "asynchronous")]
    logs: bool,
    /// Make this call once: whoever repeats it with the same key has the first answer.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// A version or an alias.
    #[arg(long, value_name = "Q")]
    qualifier: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: InvokeArgs) -> anyhow::Result<ExitCode> {
    let payload = read_event(args.data.as_deref())?;
    let client = Client::connect(&args.server)?;
    let request = InvokeCall {
        payload,
        asynchronous: args.asynchronous,
        qualifier: args.qualifier.clone(),
        idempotency_key: args.idempotency_key.clone(),
    };
    let answer = client
        .invoke(&args.name, request)
        .await
        .map_err(|error| explain(error, &args.name))?;
    if args.asynchronous {
        print_accepted(&args.name, &answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let tail = log_tail(&answer)?;
    if args.logs {
        print::note(tail.trim_end());
    }
    let code = print_outcome(&args.name, &answer)?;
    if std::io::stderr().is_terminal()
        && let Some(report) = Report::find(&tail)
    {
        print::dim(&report.to_string());
    }
    Ok(code)
}

/// The event's bytes. A function that is called without one gets `{}`, as the consoles and tools of Lambda do.
fn read_event(data: Option<&str>) -> anyhow::Result<Bytes> {
    let event = match data {
        None => return Ok(Bytes::from_static(b"{}")),
        Some("-") => {
            let mut event = Vec::new();
            std::io::stdin()
                .read_to_end(&mut event)
                .context("could not read the event from stdin")?;
            event
        }
        Some(data) => match data.strip_prefix('@') {
            Some(file) => {
                std::fs::read(file).with_context(|| format!("could not read the event from `{file}`"))?
            }
            None => data.as_bytes().to_vec(),
        },
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(&event)
        .context("the event is not JSON (text needs its quotes: --data '\"text\"')")?;
    Ok(event.into())
}

fn explain(error: anyhow::Error, name: &str) -> anyhow::Error {
    let hint = match error
        .downcast_ref::<Refusal>()
        .map(|refusal| refusal.kind.as_str())
    {
        Some("ResourceNotFoundException") => "; `squall ls` lists what there is",
        Some("TooManyRequestsException") => "; it is safe to try again",
        _ => "",
    };
    error.context(format!("could not invoke `{name}`{hint}"))
}

fn print_accepted(name: &str, answer: &Answer) -> anyhow::Result<()> {
    let request_id = answer.header("x-amzn-requestid").unwrap_or_default();
    print::line(request_id)?;
    if print::is_terminal() {
        print::dim(&format!(
            "accepted for `{name}`; squall result --wait {request_id}"
        ));
    }
    Ok(())
}

fn log_tail(answer: &Answer) -> anyhow::Result<String> {
    let Some(encoded) = answer.header("x-amz-log-result") else {
        return Ok(String::new());
    };
    let tail = BASE64_STANDARD
        .decode(encoded)
        .context("the log tail is not base64")?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

/// The result to stdout, or what the function failed with to stderr.
fn print_outcome(name: &str, answer: &Answer) -> anyhow::Result<ExitCode> {
    if answer.header("x-amz-function-error").is_some() {
        print::note(&describe_failure(name, &answer.body));
        if let Some(request_id) = answer.header("x-amzn-requestid") {
            print::dim(&format!("squall logs {name} --request-id {request_id}"));
        }
        return Ok(ExitCode::FAILURE);
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(value) if print::is_terminal() => print::line(&serde_json::to_string_pretty(&value)?)?,
        _ => print::bytes(&answer.body)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Type, message and stack of a function's error; its payload as it is, where that is of no known shape.
fn describe_failure(name: &str, payload: &[u8]) -> String {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let (Some(kind), Some(message)) = (text("errorType"), text("errorMessage")) else {
        return format!("error: `{name}` failed: {}", String::from_utf8_lossy(payload));
    };
    let stack = value.get("stackTrace").or_else(|| value.get("trace"));
    let lines = stack.and_then(Value::as_array).into_iter().flatten();
    lines.filter_map(Value::as_str).fold(
        format!("error: `{name}` failed: {kind}: {message}"),
        |mut all, line| {
            all.push('\n');
            all.push_str(line.trim_end());
            all
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_from_the_word_or_a_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("event.json");
        std::fs::write(&file, "[1]").expect("writable");
        let at_file = format!("@{}", file.display());
        let check = |data, expected: Option<&'static str>| {
            assert_eq!(
                read_event(data).ok().as_deref(),
                expected.map(str::as_bytes),
                "{data:?}"
            );
        };
        check(None, Some("{}"));
        check(Some("{\"a\": 1}"), Some("{\"a\": 1}"));
        check(Some(&at_file), Some("[1]"));
        check(Some("hello"), None);
        check(Some("@/no/such/file"), None);
    }

    #[test]
    fn a_failure_is_told_in_lambdas_own_fields() {
        let told = describe_failure(
            "f",
            br#"{"errorMessage":"boom","errorType":"ValueError","stackTrace":["  line 1\n","  line 2\n"]}"#,
        );
        assert_eq!(told, "error: `f` failed: ValueError: boom\n  line 1\n  line 2");
        assert_eq!(describe_failure("f", b"odd"), "error: `f` failed: odd");
    }
}
