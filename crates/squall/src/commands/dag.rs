//! `squall dag`: keep compositions of functions, run them, and ask what became of runs.

mod run;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs, encode};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall dag create compose increment square --edge increment:square
  squall dag call compose --data '[3]'
  squall dag call compose --data '[3]' --consistency causal --async
  squall dag result 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11
  squall dag ls --output json";

/// What to do with DAGs.
#[derive(Debug, Args)]
pub(crate) struct DagArgs {
    #[command(subcommand)]
    command: DagCommand,
}

#[derive(Debug, Subcommand)]
enum DagCommand {
    /// Keep a DAG of deployed functions under a name, in the place of one that was there.
    #[command(after_help = "\
Example:
  squall dag create report fetch count render --edge fetch:count --edge count:render")]
    Create(CreateArgs),
    /// List DAGs.
    #[command(after_help = "Example:\n  squall dag ls --output json | jq -r '.dags[].name'")]
    Ls(ListArgs),
    /// List runs that have not ended.
    #[command(after_help = "Example:\n  squall dag runs")]
    Runs(ListArgs),
    /// Run a DAG and print its sink's result.
    #[command(after_help = "\
Examples:
  squall dag call compose --data '[3]'
  squall dag call join --data '{\"left\": [1], \"right\": [2]}'
  squall dag call compose --data @arguments.json --async")]
    Call(run::CallArgs),
    /// Print the result of a run, waiting for it.
    #[command(after_help = "Example:\n  squall dag result 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Result(run::RunArgs),
    /// End a run: no further function of it starts.
    #[command(after_help = "Example:\n  squall dag cancel 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Cancel(run::RunArgs),
    /// Forget DAGs. Their runs go on.
    #[command(after_help = "Example:\n  squall dag rm compose")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name.
    name: String,
    /// Functions, which take JSON events; `NODE=FUNCTION` names a node differently.
    #[arg(required = true, value_name = "FUNCTION")]
    functions: Vec<String>,
    /// Whose result goes to whom, as `FROM:TO`.
    #[arg(long = "edge", value_name = "FROM:TO")]
    edges: Vec<String>,
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
struct Dags {
    dags: Vec<Dag>,
}

#[derive(Debug, Deserialize)]
struct Dag {
    name: String,
    functions: Vec<Node>,
    edges: Vec<(String, String)>,
    fused: Option<Fused>,
}

#[derive(Debug, Deserialize)]
struct Fused {
    function: String,
    current: bool,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    run_id: String,
    dag: Option<String>,
    recorded: bool,
}

pub(super) async fn run(args: DagArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DagCommand::Create(args) => create(args).await,
        DagCommand::Ls(args) => list(args).await,
        DagCommand::Runs(args) => runs(args).await,
        DagCommand::Call(args) => run::call(args).await,
        DagCommand::Result(args) => run::result(args).await,
        DagCommand::Cancel(args) => run::cancel(args).await,
        DagCommand::Rm(args) => remove(args).await,
    }
}

fn dag_path(name: &str) -> String {
    format!("/squall/v1/dags/{}", encode(name))
}

async fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    let node = |text: &String| match text.split_once('=') {
        Some((name, function)) => json!({ "name": name, "function": function }),
        None => json!({ "name": text }),
    };
    let functions: Vec<_> = args.functions.iter().map(node).collect();
    let mut edges = Vec::new();
    for edge in &args.edges {
        let Some(ends) = edge.split_once(':') else {
            bail!("`{edge}` is not an edge: write FROM:TO");
        };
        edges.push(ends);
    }
    let call =
        Call::new(Method::PUT, dag_path(&args.name)).json(&json!({ "functions": functions, "edges": edges }));
    let attempted = || format!("could not keep the DAG `{}`", args.name);
    Client::connect(&args.server)?
        .send(call)
        .await
        .with_context(attempted)?;
    print::note(&format!("`{0}` is kept: squall dag call {0}", args.name));
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(&args.server)?
        .send(Call::new(Method::GET, "/squall/v1/dags"))
        .await?;
    let Dags { dags } = match args.output {
        Output::Json => {
            print::line(&serde_json::to_string_pretty(
                &answer.json::<serde_json::Value>()?,
            )?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Output::Table => answer.json()?,
    };
    if dags.is_empty() {
        print::note("no DAGs yet: try `squall dag create --help`");
        return Ok(ExitCode::SUCCESS);
    }
    print::line(&rows(&dags))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(dags: &[Dag]) -> String {
    let row = |dag: &Dag| {
        let functions: Vec<&str> = dag.functions.iter().map(|node| node.name.as_str()).collect();
        let edges: Vec<String> = dag
            .edges
            .iter()
            .map(|(from, to)| format!("{from}:{to}"))
            .collect();
        let fused = match &dag.fused {
            None => "-".to_owned(),
            Some(fused) if fused.current => fused.function.clone(),
            Some(fused) => format!("{} (out of date)", fused.function),
        };
        vec![dag.name.clone(), functions.join(" "), edges.join(" "), fused]
    };
    let rows: Vec<Vec<String>> = dags.iter().map(row).collect();
    print::table(&["NAME", "FUNCTIONS", "EDGES", "FUSED TO"], &rows)
}

async fn runs(args: ListArgs) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(&args.server)?
        .send(Call::new(Method::GET, "/squall/v1/runs"))
        .await?;
    if args.output == Output::Json {
        print::line(&serde_json::to_string_pretty(
            &answer.json::<serde_json::Value>()?,
        )?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Runs { runs } = answer.json()?;
    let row = |run: &Run| {
        let dag = run.dag.clone().unwrap_or_else(|| "-".to_owned());
        let kind = if run.recorded { "recorded" } else { "direct" };
        vec![run.run_id.clone(), dag, kind.to_owned()]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    print::line(&print::table(&["RUN", "DAG", "KIND"], &rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: RemoveArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    for name in &args.names {
        // Who may only forget it is not told what was made for it.
        let dag = client.send(Call::new(Method::GET, dag_path(name))).await;
        let dag: Option<Dag> = dag.ok().and_then(|answer| answer.json().ok());
        let call = Call::new(Method::DELETE, dag_path(name));
        let attempted = || format!("could not forget the DAG `{name}`");
        client.send(call).await.with_context(attempted)?;
        if let Some(Fused { function, .. }) = dag.and_then(|dag| dag.fused) {
            print::note(&format!(
                "it was fused to `{function}`, which is not removed with it; where nothing else calls that: \
                 squall rm {function}"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_shape() {
        let dags: Dags = serde_json::from_str(
            r#"{"dags":[{"name":"c","functions":[{"name":"a","takes":"event"},{"name":"b","takes":"event"}],"edges":[["a","b"]]},
                {"name":"d","functions":[{"name":"a","takes":"arguments"}],"edges":[],"fused":{"function":"d","current":false}}]}"#,
        )
        .expect("the API's form");
        let expected = "\
NAME  FUNCTIONS  EDGES  FUSED TO
c     a b        a:b    -
d     a                 d (out of date)";
        assert_eq!(rows(&dags.dags), expected);
    }
}
