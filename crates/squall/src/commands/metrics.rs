//! `squall metrics`: what a server counts, as Prometheus reads it.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http::Method;

use super::print;
use crate::client::{Call, Client, ServerArgs};

/// Whose.
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: MetricsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let answer = client.send(Call::new(Method::GET, "/squall/v1/metrics")).await;
    print::bytes(&answer.context("could not read the metrics")?.body)?;
    Ok(ExitCode::SUCCESS)
}
