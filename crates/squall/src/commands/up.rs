//! `squall up`: a server, until it is told to end.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::node;
use crate::up::UpArgs;

/// What is logged where `SQUALL_LOG` says nothing: our own changes of state, and the store's troubles. To `s3s` every
/// refusal is an error; what is one is logged by the gateway.
const LOG_DEFAULT: &str = "info,fjall=warn,lsm_tree=warn,s3s=off";

pub(super) fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let filter = std::env::var("SQUALL_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&filter).with_context(|| {
        format!("SQUALL_LOG=`{filter}` is not a filter; write info, debug, or squall_dispatcher=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(squall_runtime_process::help_on_this_thread)
        .on_thread_park(squall_runtime_process::worker_parks)
        .build()
        .context("could not start the threads of the server")?;
    runtime.block_on(node::run(args))?;
    Ok(ExitCode::SUCCESS)
}
