//! `squall state bucket`, and which functions see a bucket.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs, encode};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall state bucket create shop
  squall state bucket create scratch --durability memory
  squall state bucket ls --output json
  squall state bucket rm scratch";

/// What to do with buckets.
#[derive(Debug, Args)]
pub(super) struct BucketArgs {
    #[command(subcommand)]
    command: BucketCommand,
}

#[derive(Debug, Subcommand)]
enum BucketCommand {
    /// Make a bucket. One that is there with the same settings is no error.
    #[command(after_help = "Example:\n  squall state bucket create shop --durability durable")]
    Create(CreateArgs),
    /// List buckets.
    #[command(after_help = "Example:\n  squall state bucket ls --output json")]
    Ls(ListArgs),
    /// Remove buckets with all that they hold.
    #[command(after_help = "Example:\n  squall state bucket rm scratch")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name.
    name: String,
    /// What an acknowledged write survives: `durable` (power loss), `buffered` (the server's end), `memory` (nothing).
    #[arg(long, default_value = "durable")]
    durability: String,
    /// Keep the changes of its keys, for those who follow them.
    #[arg(long)]
    keeps_changes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A bucket and a function.
#[derive(Debug, Args)]
pub(super) struct BindArgs {
    /// Bucket.
    bucket: String,
    /// Function.
    function: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    name: String,
    durability: String,
    keeps_changes: bool,
}

fn path(name: &str) -> String {
    format!("/squall/v1/buckets/{}", encode(name))
}

pub(super) async fn run(args: BucketArgs) -> anyhow::Result<()> {
    match args.command {
        BucketCommand::Create(args) => {
            let settings = json!({ "durability": args.durability, "keeps_changes": args.keeps_changes });
            let call = Call::new(Method::PUT, path(&args.name)).json(&settings);
            Client::connect(&args.server)?.send(call).await.map(drop)
        }
        BucketCommand::Ls(args) => list(&Client::connect(&args.server)?, args.output).await,
        BucketCommand::Rm(args) => {
            let client = Client::connect(&args.server)?;
            for name in &args.names {
                client.send(Call::new(Method::DELETE, path(name))).await?;
                print::line(&format!("removed {name}"))?;
            }
            Ok(())
        }
    }
}

pub(super) async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.send(Call::new(Method::GET, "/squall/v1/buckets")).await?;
    if matches!(output, Output::Json) {
        let buckets: Value = answer.json()?;
        return print::line(&serde_json::to_string_pretty(&buckets)?);
    }
    let buckets = answer.json::<Buckets>()?.buckets;
    if buckets.is_empty() {
        print::note("no buckets yet: try `squall state bucket create NAME`");
        return Ok(());
    }
    let row = |bucket: Bucket| {
        let changes = if bucket.keeps_changes { "kept" } else { "-" };
        vec![bucket.name, bucket.durability, changes.to_owned()]
    };
    let rows: Vec<Vec<String>> = buckets.into_iter().map(row).collect();
    print::line(&print::table(&["NAME", "DURABILITY", "CHANGES"], &rows))
}

/// Binds, or takes away.
pub(super) async fn bind(args: BindArgs, method: Method) -> anyhow::Result<()> {
    let path = format!("{}/functions/{}", path(&args.bucket), encode(&args.function));
    Client::connect(&args.server)?
        .send(Call::new(method, path))
        .await
        .map(drop)
}
