//! `squall keys`: named access keys with less power than the installation's own.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::env::exports;
use super::powers::{Powers, PowersArgs};
use super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs, Target, encode};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall keys create ci --allow deploy
  squall keys create shop --allow 'invoke:shop-*' --allow read-only
  squall keys create partner --account 111122223333 --allow invoke
  squall keys create narrow --policy @policy.json
  eval \"$(squall keys create me --allow deploy)\"      use it at once
  squall keys ls
  squall keys rotate ci --grace-secs 3600
  squall keys revoke ci";

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key, and print it for a shell. Its secret is not shown again.
    #[command(after_help = "\
What a key may do (--allow):
  admin             everything, also keys
  deploy            everything but keys and roles
  read-only         look at everything, also logs and state; call nothing
  invoke            call every function
  invoke:PATTERN    call the functions whose names fit, as in invoke:shop-*

Examples:
  squall keys create ci --allow deploy
  squall keys create narrow --policy @policy.json")]
    Create(CreateArgs),
    /// List keys.
    #[command(after_help = "Example:\n  squall keys ls --output json")]
    Ls(ListArgs),
    /// Replace a key's id and secret, and print the new ones for a shell.
    #[command(after_help = "Example:\n  squall keys rotate ci --grace-secs 3600")]
    Rotate(RotateArgs),
    /// Take keys away: what they sign is refused from now on.
    #[command(after_help = "Example:\n  squall keys revoke ci")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name.
    name: String,
    #[command(flatten)]
    powers: PowersArgs,
    /// The account of its holder, where it is not this installation's: then functions must allow it, too.
    #[arg(long)]
    account: Option<String>,
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
struct RotateArgs {
    /// Name.
    name: String,
    /// How long the old id and secret are still taken, in seconds.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    grace_secs: u64,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Made {
    access_key_id: String,
    secret_access_key: String,
    region: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Key {
    name: String,
    access_key_id: String,
    arn: String,
    #[serde(flatten)]
    powers: Powers,
}

fn path(name: &str) -> String {
    format!("/squall/v1/keys/{}", encode(name))
}

/// Runs the command.
///
/// # Errors
/// What the server refuses, in its words.
pub(super) async fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        KeysCommand::Create(args) => create(args).await?,
        KeysCommand::Ls(args) => list(&args).await?,
        KeysCommand::Rotate(args) => {
            let body = json!({ "grace_secs": args.grace_secs });
            let call = Call::new(Method::POST, format!("{}/rotate", path(&args.name))).json(&body);
            make(&args.server, call).await?;
        }
        KeysCommand::Revoke(args) => {
            let client = Client::connect(&args.server)?;
            for name in &args.names {
                client.send(Call::new(Method::DELETE, path(name))).await?;
                print::line(&format!("revoked {name}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let mut body = args.powers.body()?;
    body["account"] = json!(args.account);
    make(&args.server, Call::new(Method::PUT, path(&args.name)).json(&body)).await
}

/// Sends what makes a key, and prints the key as `squall env` does.
async fn make(server: &ServerArgs, call: Call) -> anyhow::Result<()> {
    let endpoint = Target::find(server)?.endpoint;
    let made: Made = Client::connect(server)?.send(call).await?.json()?;
    let target = Target {
        endpoint,
        access_key_id: made.access_key_id,
        secret_access_key: made.secret_access_key,
        region: made.region,
    };
    print::line(&exports(&target, std::env::var_os("AWS_SESSION_TOKEN").is_some()))
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let answer = client.send(Call::new(Method::GET, "/squall/v1/keys")).await?;
    if matches!(args.output, Output::Json) {
        return print::line(&serde_json::to_string_pretty(&answer.json::<Value>()?)?);
    }
    let keys = answer.json::<Listed>()?.keys;
    if keys.is_empty() {
        print::note("no keys but the installation's own: try `squall keys create NAME --allow deploy`");
        return Ok(());
    }
    let row = |key: Key| vec![key.name, key.access_key_id, key.powers.cell(), key.arn];
    let rows: Vec<Vec<String>> = keys.into_iter().map(row).collect();
    print::line(&print::table(&["NAME", "ID", "MAY", "ARN"], &rows))
}
