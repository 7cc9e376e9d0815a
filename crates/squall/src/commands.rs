//! The subcommands: each parses its own arguments, does its work, prints, and says how it went.
//!
//! All but `up` and `env` are clients of a running server and know nothing that another client could not.

mod dag;
pub(crate) mod deploy;
mod env;
mod events;
mod invoke;
mod keys;
mod logs;
mod ls;
mod metrics;
mod powers;
pub(crate) mod print;
mod queue;
mod result;
mod rm;
mod roles;
mod schedule;
mod state;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server: everything in one process.
    #[command(after_help = "\
Examples:
  squall up
  squall up --listen 127.0.0.1:0 --data-dir /tmp/try     a free port, a directory of its own")]
    Up(Box<crate::up::UpArgs>),

    /// Print what makes boto3, aws, SDKs and this command talk to a running server.
    #[command(after_help = "\
Examples:
  eval \"$(squall env)\"
  eval \"$(squall env --data-dir /tmp/try)\" && aws lambda list-functions")]
    Env(env::EnvArgs),

    /// Create a function from code, or update it.
    #[command(after_help = deploy::EXAMPLES)]
    Deploy(Box<deploy::DeployArgs>),

    /// Call a function and print its answer.
    #[command(after_help = "\
Examples:
  squall invoke hello --data '{\"name\": \"world\"}'
  squall invoke hello --data @event.json --logs
  echo '{}' | squall invoke hello --data - | jq .
  squall invoke hello --async
  squall invoke hello --idempotency-key order-17         made once, however often it is repeated")]
    Invoke(invoke::InvokeArgs),

    /// Show what a function wrote.
    #[command(after_help = "\
Examples:
  squall logs hello
  squall logs hello -f
  squall logs hello --since 10m
  squall logs hello --request-id 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Logs(logs::LogsArgs),

    /// Look after accepted events: those that were given up, and those on their way.
    #[command(after_help = "\
Examples:
  squall events ls
  squall events show 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11
  squall events redrive --all --function hello")]
    Events(events::EventsArgs),

    /// Look after queues: make them, send to them, receive from them.
    #[command(after_help = queue::EXAMPLES)]
    Queue(Box<queue::QueueArgs>),

    /// Print what an asynchronous invocation answered.
    #[command(after_help = "\
Examples:
  squall result 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11
  squall result --wait \"$(squall invoke hello --async)\"")]
    Result(result::ResultArgs),

    /// Tell what happened to an asynchronous invocation, and where it is now.
    #[command(after_help = "\
Example:
  squall explain 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Explain(result::ExplainArgs),

    /// List functions.
    #[command(after_help = "\
Examples:
  squall ls
  squall ls --output json | jq -r '.[].FunctionName'")]
    Ls(ls::LsArgs),

    /// Print what the server counts, as Prometheus reads it.
    #[command(after_help = "\
Examples:
  squall metrics
  squall metrics > /var/lib/node_exporter/squall.prom     for its textfile collector")]
    Metrics(metrics::MetricsArgs),

    /// Remove functions, with their versions, logs and URLs.
    #[command(after_help = "\
Examples:
  squall rm hello
  squall rm hello resize")]
    Rm(rm::RmArgs),

    /// Compose functions: results go from one to the next inside the server.
    #[command(after_help = dag::EXAMPLES)]
    Dag(Box<dag::DagArgs>),

    /// Look into the functions' shared state, and say who sees it.
    #[command(after_help = state::EXAMPLES)]
    State(Box<state::StateArgs>),

    /// Run functions at their times.
    #[command(after_help = schedule::EXAMPLES)]
    Schedule(schedule::ScheduleArgs),

    /// Give others keys of their own, which may do less than yours.
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::KeysArgs),

    /// Say what functions may do.
    #[command(after_help = roles::EXAMPLES)]
    Roles(roles::RolesArgs),

    /// Compile WebAssembly into machine code: `squall up` starts this for each deployment, nobody else needs it.
    #[command(hide = true, name = COMPILE_WASM, after_help = "\
Example:
  squall compile-wasm hello.wasm hello.cwasm")]
    CompileWasm(CompileWasmArgs),
}

/// The hidden command by which a server compiles in a process of its own.
pub(crate) const COMPILE_WASM: &str = "compile-wasm";

/// What to compile, and where to.
#[derive(Debug, Args)]
pub(crate) struct CompileWasmArgs {
    input: PathBuf,
    output: PathBuf,
}

/// Runs one command to its end.
///
/// # Errors
/// What went wrong, for `main` to print.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(*args),
        Command::Env(args) => env::run(&args),
        Command::Deploy(args) => block_on(deploy::run(*args)),
        Command::Invoke(args) => block_on(invoke::run(args)),
        Command::Logs(args) => block_on(logs::run(args)),
        Command::Events(args) => block_on(events::run(args)),
        Command::Queue(args) => block_on(queue::run(*args)),
        Command::Result(args) => block_on(result::result(args)),
        Command::Explain(args) => block_on(result::explain(args)),
        Command::Ls(args) => block_on(ls::run(args)),
        Command::Metrics(args) => block_on(metrics::run(args)),
        Command::Rm(args) => block_on(rm::run(args)),
        Command::Dag(args) => block_on(dag::run(*args)),
        Command::State(args) => block_on(state::run(*args)),
        Command::Roles(args) => block_on(roles::run(args)),
        Command::Schedule(args) => block_on(schedule::run(args)),
        Command::Keys(args) => block_on(keys::run(args)),
        Command::CompileWasm(args) => compile_wasm(&args),
    }
}

/// What is wrong is for the server, which reads it and tells the function's owner: no prefix, no colour.
#[expect(clippy::print_stderr, reason = "the server reads the complaint there")]
fn compile_wasm(args: &CompileWasmArgs) -> anyhow::Result<ExitCode> {
    let Err(complaint) = squall_runtime_wasm::compile_in_child(&args.input, &args.output) else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("{complaint}");
    Ok(ExitCode::FAILURE)
}

/// A client needs one thread.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?
        .block_on(work)
}
