//! `squall roles`: what functions may do with the credentials that their instances have.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::powers::{Powers, PowersArgs};
use super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs, encode};

pub(super) const EXAMPLES: &str = "\
A function's instances have credentials that may do what the function's role allows. A role that was never put
allows nothing. Deploy a function with --role NAME to give it one.

Examples:
  squall roles put shop --allow 'invoke:cart-*'
  squall roles put reader --policy @policy.json
  squall roles ls
  squall roles rm shop";

/// What to do with roles.
#[derive(Debug, Args)]
pub(crate) struct RolesArgs {
    #[command(subcommand)]
    command: RolesCommand,
}

#[derive(Debug, Subcommand)]
enum RolesCommand {
    /// Make a role, or say anew what it allows.
    #[command(after_help = "\
Grants are those of `squall keys create`.

Examples:
  squall roles put shop --allow 'invoke:cart-*'
  squall roles put reader --policy @policy.json")]
    Put(PutArgs),
    /// List roles.
    #[command(after_help = "Example:\n  squall roles ls --output json")]
    Ls(ListArgs),
    /// Take roles away: functions that have them may do nothing from now on.
    #[command(after_help = "Example:\n  squall roles rm shop")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
struct PutArgs {
    /// Name: what stands at the end of the role's ARN.
    name: String,
    #[command(flatten)]
    powers: PowersArgs,
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

#[derive(Debug, Deserialize)]
struct Listed {
    roles: Vec<Role>,
}

#[derive(Debug, Deserialize)]
struct Role {
    name: String,
    arn: String,
    #[serde(flatten)]
    powers: Powers,
}

fn path(name: &str) -> String {
    format!("/squall/v1/roles/{}", encode(name))
}

/// Runs the command.
///
/// # Errors
/// What the server refuses, in its words.
pub(super) async fn run(args: RolesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RolesCommand::Put(args) => {
            let call = Call::new(Method::PUT, path(&args.name)).json(&args.powers.body()?);
            Client::connect(&args.server)?.send(call).await?;
        }
        RolesCommand::Ls(args) => list(&args).await?,
        RolesCommand::Rm(args) => {
            let client = Client::connect(&args.server)?;
            for name in &args.names {
                client.send(Call::new(Method::DELETE, path(name))).await?;
                print::line(&format!("removed {name}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let answer = client.send(Call::new(Method::GET, "/squall/v1/roles")).await?;
    if matches!(args.output, Output::Json) {
        return print::line(&serde_json::to_string_pretty(&answer.json::<Value>()?)?);
    }
    let roles = answer.json::<Listed>()?.roles;
    if roles.is_empty() {
        print::note("no roles yet: try `squall roles put NAME --allow 'invoke:shop-*'`");
        return Ok(());
    }
    let row = |role: Role| vec![role.name, role.powers.cell(), role.arn];
    let rows: Vec<Vec<String>> = roles.into_iter().map(row).collect();
    print::line(&print::table(&["NAME", "MAY", "ARN"], &rows))
}
