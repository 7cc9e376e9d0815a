//! `squall events`: accepted events that were given up or are on their way, and having them run again.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::print::{self, Output, moment};
use crate::client::{Call, Client, ServerArgs, encode};

const PAGE: &str = "1000";

/// What to do with events.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List the events that were given up, or with --waiting those that are on their way.
    #[command(after_help = "Example:\n  squall events ls --function hello")]
    Ls(LsArgs),
    /// Show one event: its payload, what happened to it, who has yet to take it.
    #[command(after_help = "Example:\n  squall events show 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Show(OneArgs),
    /// Have events that were given up run again, with all their attempts.
    #[command(
        after_help = "Examples:\n  squall events redrive 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11\n  squall events redrive --all --function hello"
    )]
    Redrive(ManyArgs),
    /// Forget events that were given up.
    #[command(after_help = "Example:\n  squall events rm 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11")]
    Rm(ManyArgs),
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Only those of one function.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Those on their way instead: waiting for an attempt, running, or being handed over.
    #[arg(long)]
    waiting: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Request id, as the invocation's answer carried it.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ManyArgs {
    /// Request ids.
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// All that were given up.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// With --all: only those of one function.
    #[arg(long, value_name = "NAME", requires = "all")]
    function: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    events: Vec<Event>,
    next: Option<String>,
}

/// What a list says of an event.
#[derive(Debug, Serialize, Deserialize)]
struct Event {
    request_id: String,
    function: String,
    state: String,
    accepted_ms: i64,
    failures: u8,
    condition: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

pub(super) async fn run(args: EventsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        EventsCommand::Ls(args) => ls(args).await,
        EventsCommand::Show(args) => show(args).await,
        EventsCommand::Redrive(args) => {
            let again = |id: &str| Call::new(Method::POST, format!("{}/redrive", path(id)));
            each(args, again, "runs again").await
        }
        EventsCommand::Rm(args) => {
            let forget = |id: &str| Call::new(Method::DELETE, path(id));
            each(args, forget, "forgotten").await
        }
    }
}

fn path(id: &str) -> String {
    format!("/squall/v1/events/{}", encode(id))
}

async fn ls(args: LsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let state = if args.waiting { "waiting" } else { "failed" };
    let events = all(&client, state, args.function.as_deref()).await?;
    match args.output {
        Output::Json => print::line(&serde_json::to_string_pretty(&events)?)?,
        Output::Table if events.is_empty() && args.waiting => print::note("no events are on their way"),
        Output::Table if events.is_empty() => print::note("no events were given up"),
        Output::Table => print::line(&rows(&events))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn all(client: &Client, state: &str, function: Option<&str>) -> anyhow::Result<Vec<Event>> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let mut call = Call::new(Method::GET, "/squall/v1/events")
            .query("state", state)
            .query("limit", PAGE);
        if let Some(function) = function {
            call = call.query("function", function);
        }
        if let Some(after) = after {
            call = call.query("after", after);
        }
        let answer = client.send(call).await.context("could not list events")?;
        let page: Page = answer.json()?;
        events.extend(page.events);
        match page.next {
            None => return Ok(events),
            next => after = next,
        }
    }
}

fn rows(events: &[Event]) -> String {
    let head = ["REQUEST ID", "FUNCTION", "ACCEPTED", "STATE", "FAILURES", "WHY"];
    let rows = events.iter().map(|event| {
        vec![
            event.request_id.clone(),
            event
                .function
                .rsplit("function:")
                .next()
                .unwrap_or("-")
                .to_owned(),
            moment(event.accepted_ms),
            event.state.clone(),
            event.failures.to_string(),
            event.condition.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    print::table(&head, &rows.collect::<Vec<_>>())
}

async fn show(args: OneArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let answer = client.send(Call::new(Method::GET, path(&args.id))).await;
    let event: Value = answer
        .with_context(|| format!("could not show the event `{}`", args.id))?
        .json()?;
    print::line(&serde_json::to_string_pretty(&event)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn each(args: ManyArgs, call: impl Fn(&str) -> Call, done: &str) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let ids = if args.all {
        let events = all(&client, "failed", args.function.as_deref()).await?;
        events.into_iter().map(|event| event.request_id).collect()
    } else {
        args.ids
    };
    let mut failures = 0;
    for id in &ids {
        match client.send(call(id)).await {
            Ok(_) => print::line(&format!("{id} {done}"))?,
            Err(error) => {
                failures += 1;
                print::failure(&error.context(format!("the event `{id}`")));
            }
        }
    }
    if failures > 0 {
        bail!("{failures} of {} events could not be handled", ids.len());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_one_looks_for() {
        let event = Event {
            request_id: "8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11".to_owned(),
            function: "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST".to_owned(),
            state: "failed".to_owned(),
            accepted_ms: 1_700_000_000_000,
            failures: 3,
            condition: Some("RetriesExhausted".to_owned()),
            rest: serde_json::Map::new(),
        };
        let text = rows(&[event]);
        let row = text.lines().nth(1).expect("a row");
        let cells: Vec<&str> = row.split("  ").filter(|cell| !cell.is_empty()).collect();
        let expected = [
            "8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11",
            "f:$LATEST",
            "2023-11-14 22:13:20",
            "failed",
            "3",
            "RetriesExhausted",
        ];
        assert_eq!(cells.iter().map(|cell| cell.trim()).collect::<Vec<_>>(), expected);
    }
}
