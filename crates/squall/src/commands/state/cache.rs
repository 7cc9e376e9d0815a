//! `squall state cache`: what the caches of the functions' state hold, and emptying one.

use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall state cache ls
  squall state cache drop 0";

/// What to do with caches.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Say how much each cache holds.
    #[command(after_help = "Example:\n  squall state cache ls --output json")]
    Ls(ListArgs),
    /// Make a cache lose everything, as if it had died. No write is lost; runs that had read there start again.
    #[command(after_help = "Example:\n  squall state cache drop 0")]
    Drop(DropArgs),
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
struct DropArgs {
    /// The number of the cache.
    cache: u16,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize, Serialize)]
struct Caches {
    caches: Vec<Held>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Held {
    cache: u16,
    keys: u64,
    bytes: u64,
}

pub(super) async fn run(args: CacheArgs) -> anyhow::Result<()> {
    match args.command {
        CacheCommand::Ls(args) => list(args).await,
        CacheCommand::Drop(args) => {
            let call = Call::new(Method::DELETE, format!("/squall/v1/caches/{}", args.cache));
            Client::connect(&args.server)?.send(call).await.map(drop)
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let call = Call::new(Method::GET, "/squall/v1/caches".to_owned());
    let found: Caches = Client::connect(&args.server)?.send(call).await?.json()?;
    match args.output {
        Output::Json => print::line(&json!(found).to_string()),
        Output::Table => {
            let rows: Vec<Vec<String>> = found
                .caches
                .iter()
                .map(|held| {
                    vec![
                        held.cache.to_string(),
                        held.keys.to_string(),
                        held.bytes.to_string(),
                    ]
                })
                .collect();
            print::line(&print::table(&["CACHE", "KEYS", "BYTES"], &rows))
        }
    }
}
