//! `squall state`: look into the functions' state, change it, and say which functions see which buckets.

mod bucket;
mod cache;

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::print::{self, Output};
use crate::client::{Call, Client, Refusal, ServerArgs, encode};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall state bucket create shop
  squall state bind shop my-function
  squall state put shop greeting '{\"hello\": \"world\"}'
  squall state get shop greeting
  squall state ls shop --prefix gr
  squall state ask shop hits '{\"method\": \"counter.add\", \"by\": 1}'
  squall state rm shop greeting";

/// What to do with state.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// List buckets, or the keys of one.
    #[command(after_help = "\
Examples:
  squall state ls
  squall state ls shop --prefix user/ --output json")]
    Ls(ListArgs),
    /// Print what a key holds: a value as it was written, another lattice as JSON.
    #[command(after_help = "Example:\n  squall state get shop greeting")]
    Get(KeyArgs),
    /// Write a value: JSON where it is JSON, else text.
    #[command(after_help = "\
Examples:
  squall state put shop greeting '{\"hello\": \"world\"}'
  squall state put shop logo @logo.png --bytes
  date | squall state put shop today -")]
    Put(PutArgs),
    /// Ask a lattice, in JSON: counter, set, ordered, map, max, min, flag.
    #[command(after_help = "\
Examples:
  squall state ask shop hits '{\"method\": \"counter.add\", \"by\": 1}'
  squall state ask shop tags '{\"method\": \"set.get\"}'")]
    Ask(AskArgs),
    /// Remove keys.
    #[command(after_help = "Example:\n  squall state rm shop greeting today")]
    Rm(RemoveArgs),
    /// Make, list and remove buckets.
    #[command(after_help = bucket::EXAMPLES)]
    Bucket(bucket::BucketArgs),
    /// See what is in memory, and empty it.
    #[command(after_help = cache::EXAMPLES)]
    Cache(cache::CacheArgs),
    /// Let a function see a bucket beside the one of its own name.
    #[command(after_help = "Example:\n  squall state bind shop my-function")]
    Bind(bucket::BindArgs),
    /// Take a bucket away from a function.
    #[command(after_help = "Example:\n  squall state unbind shop my-function")]
    Unbind(bucket::BindArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Bucket; without one, the buckets are listed.
    bucket: Option<String>,
    /// Only keys that start with this.
    #[arg(long, default_value = "")]
    prefix: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// Bucket.
    bucket: String,
    /// Key.
    key: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct PutArgs {
    /// Bucket.
    bucket: String,
    /// Key.
    key: String,
    /// The value; `@FILE` reads it from a file, `-` from standard input.
    value: String,
    /// Write it as bytes, whatever it looks like.
    #[arg(long)]
    bytes: bool,
    /// Level of consistency.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct AskArgs {
    /// Bucket.
    bucket: String,
    /// Key.
    key: String,
    /// The question, JSON.
    question: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Bucket.
    bucket: String,
    /// Keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize, Serialize)]
struct Page {
    keys: Vec<String>,
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Said {
    result: serde_json::Value,
}

pub(super) async fn run(args: StateArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        StateCommand::Ls(args) => list(args).await?,
        StateCommand::Get(args) => get(args).await?,
        StateCommand::Put(args) => put(args).await?,
        StateCommand::Ask(args) => ask(args).await?,
        StateCommand::Rm(args) => remove(args).await?,
        StateCommand::Bucket(args) => bucket::run(args).await?,
        StateCommand::Cache(args) => cache::run(args).await?,
        StateCommand::Bind(args) => bucket::bind(args, Method::PUT).await?,
        StateCommand::Unbind(args) => bucket::bind(args, Method::DELETE).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(bucket: &str, key: &str) -> String {
    format!("/squall/v1/state/{}/{}", encode(bucket), encode(key))
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let Some(bucket) = &args.bucket else {
        return bucket::list(&client, args.output).await;
    };
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut call = Call::new(Method::GET, format!("/squall/v1/state/{}", encode(bucket)))
            .query("prefix", args.prefix.clone());
        if let Some(after) = after.take() {
            call = call.query("after", after);
        }
        let page: Page = client.send(call).await?.json()?;
        keys.extend(page.keys);
        match page.after {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    match args.output {
        Output::Json => print::line(&json!({ "keys": keys }).to_string()),
        Output::Table if keys.is_empty() => {
            print::note(&format!("no such keys in `{bucket}`"));
            Ok(())
        }
        Output::Table => print::line(&keys.join("\n")),
    }
}

async fn get(args: KeyArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let path = path(&args.bucket, &args.key);
    let answer = match client.send(Call::new(Method::GET, path.clone())).await {
        Ok(answer) => answer,
        Err(error) if is_other_lattice(&error) => {
            let question = Call::new(Method::POST, path).json(&json!({ "method": "get" }));
            let said: Said = client.send(question).await?.json()?;
            return print::line(&said.result["content"].to_string());
        }
        Err(error) => return Err(error),
    };
    print::bytes(&answer.body)?;
    let is_text = answer.header("x-squall-encoding") == Some("json");
    if is_text || (print::is_terminal() && !answer.body.ends_with(b"\n")) {
        print::line("")?;
    }
    Ok(())
}

fn is_other_lattice(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::CONFLICT && refusal.kind == "OtherLattice")
}

async fn put(args: PutArgs) -> anyhow::Result<()> {
    let body = read_value(&args.value)?;
    let is_json = !args.bytes && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let content_type = if is_json {
        "application/json"
    } else {
        "application/octet-stream"
    };
    let mut call = Call::new(Method::PUT, path(&args.bucket, &args.key)).header("content-type", content_type);
    if let Some(level) = args.consistency {
        call = call.header("x-squall-consistency", level);
    }
    call.body = body;
    Client::connect(&args.server)?.send(call).await.map(drop)
}

fn read_value(value: &str) -> anyhow::Result<Bytes> {
    let bytes = match (value, value.strip_prefix('@')) {
        ("-", _) => {
            let mut read = Vec::new();
            std::io::stdin()
                .read_to_end(&mut read)
                .context("could not read the value from standard input")?;
            read
        }
        (_, Some(file)) => {
            std::fs::read(file).with_context(|| format!("could not read the value from `{file}`"))?
        }
        _ => value.as_bytes().to_vec(),
    };
    Ok(bytes.into())
}

async fn ask(args: AskArgs) -> anyhow::Result<()> {
    let question: serde_json::Value = serde_json::from_str(&args.question)
        .context("the question is not JSON: try '{\"method\": \"counter.get\"}'")?;
    let call = Call::new(Method::POST, path(&args.bucket, &args.key)).json(&question);
    let said: Said = Client::connect(&args.server)?.send(call).await?.json()?;
    print::line(&said.result.to_string())
}

async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    for key in &args.keys {
        client
            .send(Call::new(Method::DELETE, path(&args.bucket, key)))
            .await
            .with_context(|| format!("could not remove `{key}`"))?;
    }
    Ok(())
}
