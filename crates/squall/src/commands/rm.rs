//! `squall rm`: removes functions.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::print;
use crate::client::{Client, ServerArgs};

/// Which functions, on which server.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Functions, by name or ARN.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Goes on to the next name when one is not there, and fails in the end.
pub(super) async fn run(args: RmArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let removed = client
            .delete_function(name)
            .await
            .with_context(|| format!("could not remove `{name}`"))?;
        if removed {
            print::line(&format!("removed {name}"))?;
        } else {
            print::note(&format!(
                "error: there is no function `{name}`: `squall ls` lists what there is"
            ));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
