//! Checks and chores of the project: `cargo xtask tidy` and `cargo xtask test`.

mod test;
mod tidy;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks and chores of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the rules of the tree: arrows between crates, what each file may hold.
    Tidy,
    /// Run everything that must pass: format, lints, tidy, unit tests, end-to-end tests.
    Test,
}

fn main() -> ExitCode {
    let root = root();
    let done = match Cli::parse().command {
        Command::Tidy => tidy::run(&root),
        Command::Test => test::run(&root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder. Cargo says at run time where the sources are; the place of the build may be gone.
fn root() -> PathBuf {
    let xtask = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&xtask).parent().map(Path::to_owned).unwrap_or_default()
}

/// Writes a line to stdout, where the reader may have gone.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
