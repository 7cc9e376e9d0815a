//! `squall ls`: all functions of the server.

use std::process::ExitCode;

use clap::Args;

use super::print::{self, Output};
use crate::client::lambda::FunctionConfiguration;
use crate::client::{Client, ServerArgs};

/// Which server, and how to print.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: LsArgs) -> anyhow::Result<ExitCode> {
    let mut functions = Client::connect(&args.server)?.functions().await?;
    functions.sort_by(|a, b| a.function_name.cmp(&b.function_name));
    match args.output {
        Output::Json => print::line(&serde_json::to_string_pretty(&functions)?)?,
        Output::Table if functions.is_empty() => print::note("no functions yet: try `squall deploy PATH`"),
        Output::Table => print::line(&rows(&functions))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(functions: &[FunctionConfiguration]) -> String {
    let head = [
        "NAME", "RUNTIME", "MEMORY", "TIMEOUT", "SIZE", "MODIFIED", "STATE",
    ];
    let rows: Vec<Vec<String>> = functions.iter().map(row).collect();
    print::table(&head, &rows)
}

fn row(function: &FunctionConfiguration) -> Vec<String> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    // Lambda writes `2026-01-01T00:00:00.000+0000`, always UTC; people need the seconds at most.
    let modified = function.last_modified.split('.').next().unwrap_or_default();
    vec![
        function.function_name.clone(),
        dash(&function.runtime),
        format!("{} MB", function.memory_size),
        format!("{} s", function.timeout),
        print::size(function.code_size),
        modified.replace('T', " "),
        dash(&function.state),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_one_looks_for() {
        let function = FunctionConfiguration {
            function_name: "hello".to_owned(),
            runtime: Some("python3.11".to_owned()),
            memory_size: 128,
            timeout: 3,
            code_size: 300,
            last_modified: "2026-01-02T03:04:05.000+0000".to_owned(),
            ..FunctionConfiguration::default()
        };
        assert_eq!(
            rows(&[function]),
            "NAME   RUNTIME     MEMORY  TIMEOUT  SIZE   MODIFIED             STATE\n\
             hello  python3.11  128 MB  3 s      300 B  2026-01-02 03:04:05  -"
        );
    }
}
