//! The squall binary: one process that takes functions and runs each event in an instance of its function.
//!
//! Here: the command line, the exit code (0 done, 1 failed, 2 wrong usage), and errors told once, on stderr.

mod client;
mod commands;
mod credentials;
mod endpoint;
mod events;
mod listen;
mod metrics;
mod node;
mod objects;
mod runtimes;
mod signals;
mod state;
mod tls;
mod up;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// A call makes some hundred small objects, and glibc's allocator is an eighth of the CPU that a component's call takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Squall runs functions: it answers AWS Lambda's API, and keeps what they share beside them.
#[derive(Debug, Parser)]
#[command(
    name = "squall",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Start here:
  squall up                               a server, in one terminal
  squall deploy ./hello                   a folder with app.py, in another
  squall invoke hello --data '{\"name\": \"world\"}'

`eval \"$(squall env)\"` makes boto3, aws and every AWS SDK talk to the same server.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) if commands::print::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            commands::print::failure(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name().to_owned();
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains(&format!("squall {name}")),
                "`squall {name} --help` has no example"
            );
        }
    }
}
