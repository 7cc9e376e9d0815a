//! Runs of a DAG: start one, wait for one, end one.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde::Deserialize;

use super::dag_path;
use crate::client::{Answer, Call, Client, ServerArgs, encode};
use crate::commands::print;

/// How long the server may keep a question for a result waiting.
const WAIT_MS: &str = "20000";

/// Which DAG, with what.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// DAG.
    name: String,
    /// Arguments: a JSON array for the only source, or an object of arrays by function; @FILE or - read them.
    #[arg(long, default_value = "[]", value_name = "JSON|@FILE|-")]
    data: String,
    /// Level of consistency of the whole run, such as causal or atomic.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<String>,
    /// Keep the run and print its id instead of waiting: it survives the server.
    #[arg(long = "async")]
    is_async: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which run.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Run.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct UnderWay {
    run_id: String,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(rename = "errorType", default)]
    kind: String,
    #[serde(rename = "errorMessage", default)]
    message: String,
    #[serde(rename = "stackTrace", default)]
    trace: Vec<String>,
}

pub(super) async fn call(args: CallArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let mut call = Call::new(Method::POST, format!("{}/runs", dag_path(&args.name)));
    call.body = read_data(&args.data)?;
    call.timeout = None;
    call = call.header("content-type", "application/json");
    if let Some(level) = &args.consistency {
        call = call.query("consistency", level);
    }
    if args.is_async {
        call = call.query("direct", "false");
    }
    let attempted = || format!("could not run the DAG `{}`", args.name);
    let answer = client.send(call).await.with_context(attempted)?;
    if args.is_async {
        print::line(&answer.json::<UnderWay>()?.run_id)?;
        return Ok(ExitCode::SUCCESS);
    }
    show(&answer)
}

pub(super) async fn result(args: RunArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    loop {
        let call = Call::new(Method::GET, run_path(&args.id)).query("wait_ms", WAIT_MS);
        let answer = client
            .send(call)
            .await
            .with_context(|| format!("could not read the run `{}`", args.id))?;
        if answer.header("squall-run-id").is_some() {
            return show(&answer);
        }
    }
}

pub(super) async fn cancel(args: RunArgs) -> anyhow::Result<ExitCode> {
    let call = Call::new(Method::DELETE, run_path(&args.id));
    let attempted = || format!("could not end the run `{}`", args.id);
    Client::connect(&args.server)?
        .send(call)
        .await
        .with_context(attempted)?;
    Ok(ExitCode::SUCCESS)
}

fn run_path(id: &str) -> String {
    format!("/squall/v1/runs/{}", encode(id))
}

/// Prints a result, or fails as the run did.
fn show(answer: &Answer) -> anyhow::Result<ExitCode> {
    if answer.header("x-amz-function-error").is_some() {
        let failure: Failure = answer.json()?;
        for line in &failure.trace {
            print::note(line.trim_end());
        }
        match answer
            .header("squall-function")
            .filter(|function| !function.is_empty())
        {
            Some(function) => bail!("`{function}` failed: {}: {}", failure.kind, failure.message),
            None => bail!("{}: {}", failure.kind, failure.message),
        }
    }
    match answer.header("content-type") {
        Some("application/json") => print::bytes(&answer.body)?,
        Some("application/octet-stream") => print::bytes(&answer.body)?,
        kind => print::note(&format!(
            "the result is {} bytes of {}, which the Python client reads",
            answer.body.len(),
            kind.unwrap_or("an unknown type")
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn read_data(data: &str) -> anyhow::Result<Bytes> {
    if let Some(file) = data.strip_prefix('@') {
        let read = std::fs::read(file).with_context(|| format!("could not read `{file}`"))?;
        return Ok(read.into());
    }
    if data == "-" {
        let mut read = Vec::new();
        std::io::stdin()
            .read_to_end(&mut read)
            .context("could not read standard input")?;
        return Ok(read.into());
    }
    Ok(Bytes::copy_from_slice(data.as_bytes()))
}
