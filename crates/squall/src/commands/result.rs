//! `squall result` and `squall explain`: what came of an asynchronous invocation, and what happened on the way.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::print::{self, moment};
use crate::client::{Call, Client, ServerArgs, encode};

/// Small at first, since most functions answer soon.
const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(2);

/// Which result.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// Request id, as `squall invoke --async` prints it.
    id: String,
    /// Wait until it has run to its end, through all its attempts.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is to be explained.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Request id, as `squall invoke --async` prints it.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// An invocation, as the server tells of it.
#[derive(Debug, Deserialize)]
struct Invocation {
    request_id: String,
    function: String,
    state: String,
    accepted_ms: i64,
    failures: u8,
    #[serde(default)]
    notes: Vec<Note>,
    #[serde(default)]
    targets: Vec<Target>,
    ended_ms: Option<i64>,
    due_ms: Option<i64>,
    refusal: Option<String>,
    condition: Option<String>,
    executed_version: Option<String>,
    kept_until_ms: Option<i64>,
    response: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Note {
    at_ms: i64,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Target {
    arn: String,
    error: String,
}

/// The function's answer to stdout; exit code 1 where it failed or has not ended.
pub(super) async fn result(args: ResultArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let mut pause = POLL_FIRST;
    let found = loop {
        let found = fetch(&client, &args.id).await?;
        if found.state != "waiting" || !args.wait {
            break found;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    };
    match (found.state.as_str(), &found.response) {
        ("succeeded", Some(response)) => {
            print::line(&serde_json::to_string_pretty(response)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        ("waiting", _) => print::note("it has not run to its end; --wait waits for that"),
        ("succeeded", None) => print::note("it succeeded, and its answer is kept no longer"),
        _ => print::note(&failure(&found)),
    }
    Ok(ExitCode::FAILURE)
}

fn failure(found: &Invocation) -> String {
    let why = found.condition.as_deref().unwrap_or("unknown");
    match &found.error {
        Some(error) => format!("error: it failed ({why}): {error}"),
        None => format!("error: it failed ({why})"),
    }
}

pub(super) async fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    print::line(&story(&fetch(&client, &args.id).await?))?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(client: &Client, id: &str) -> anyhow::Result<Invocation> {
    let path = format!("/squall/v1/invocations/{}", encode(id));
    let answer = client.send(Call::new(Method::GET, path)).await;
    let attempted = || format!("could not find the invocation `{id}`");
    answer.with_context(attempted)?.json()
}

/// What happened, in its order, and where it is now.
fn story(found: &Invocation) -> String {
    let id = &found.request_id;
    let name = found.function.rsplit("function:").next().unwrap_or("-");
    let mut lines = vec![
        format!("request     {id}"),
        format!("function    {}", found.function),
        format!("now         {}", now(found)),
        String::new(),
    ];
    lines.extend(steps(found));
    if !found.targets.is_empty() {
        lines.extend([String::new(), "not handed over yet:".to_owned()]);
    }
    for target in &found.targets {
        let why = if target.error.is_empty() {
            "not tried yet"
        } else {
            &target.error
        };
        lines.push(format!("  {}: {why}", target.arn));
    }
    lines.push(String::new());
    let function = name.split(':').next().unwrap_or(name);
    lines.push(format!("what it wrote: squall logs {function} --request-id {id}"));
    if let Some(until) = found.kept_until_ms {
        lines.push(format!(
            "its result, kept until {}: squall result {id}",
            moment(until)
        ));
    }
    lines.join("\n")
}

fn steps(found: &Invocation) -> Vec<String> {
    let mut steps = vec![(found.accepted_ms, "accepted".to_owned())];
    steps.extend(found.notes.iter().map(|note| (note.at_ms, note.text.clone())));
    if let Some(ended_ms) = found.ended_ms.filter(|_| found.state == "succeeded") {
        let version = found.executed_version.as_deref().unwrap_or("?");
        steps.push((ended_ms, format!("answered by version {version}")));
    }
    steps.sort_by_key(|(at_ms, _)| *at_ms);
    let steps = steps.into_iter();
    steps
        .map(|(at_ms, text)| format!("{}  {text}", moment(at_ms)))
        .collect()
}

fn now(found: &Invocation) -> String {
    if found.state != "waiting" {
        return match &found.condition {
            Some(condition) if found.state == "failed" => format!("failed: {condition}"),
            _ => found.state.clone(),
        };
    }
    let when = match found.due_ms {
        Some(due_ms) => format!("next attempt {}", moment(due_ms)),
        None => "runs, or is about to".to_owned(),
    };
    let why = match &found.refusal {
        Some(refusal) => format!("; the newest attempt did not begin: {refusal}"),
        None => String::new(),
    };
    format!("waiting after {} failures; {when}{why}", found.failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(more: Value) -> Invocation {
        let mut shape = serde_json::json!({
            "request_id": "8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11",
            "function": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
            "accepted_ms": 1_700_000_000_000_i64,
            "failures": 1,
            "notes": [{"at_ms": 1_700_000_001_000_i64, "text": "ValueError: no"}],
        });
        for (member, value) in more.as_object().expect("an object") {
            shape[member] = value.clone();
        }
        serde_json::from_value(shape).expect("the server's shape")
    }

    #[test]
    fn a_story_is_told_in_its_order() {
        let told = story(&invocation(serde_json::json!({
            "state": "succeeded", "ended_ms": 1_700_000_062_000_i64, "executed_version": "7",
            "notes": [
                {"at_ms": 1_700_000_001_000_i64, "text": "ValueError: no"},
                {"at_ms": 1_700_000_063_000_i64, "text": "handed over to q"},
            ],
        })));
        let told: Vec<&str> = told.lines().skip(2).collect();
        assert_eq!(
            told,
            [
                "now         succeeded",
                "",
                "2023-11-14 22:13:20  accepted",
                "2023-11-14 22:13:21  ValueError: no",
                "2023-11-14 22:14:22  answered by version 7",
                "2023-11-14 22:14:23  handed over to q",
                "",
                "what it wrote: squall logs f --request-id 8f5a3b1e-6c0e-4ac1-9a43-0d1f1f7a2b11",
            ]
        );
    }

    #[test]
    fn says_where_it_is_now() {
        for (more, expected) in [
            (
                serde_json::json!({"state": "waiting", "due_ms": 1_700_000_061_000_i64}),
                "waiting after 1 failures; next attempt 2023-11-14 22:14:21",
            ),
            (
                serde_json::json!({"state": "waiting", "refusal": "throttled"}),
                "waiting after 1 failures; runs, or is about to; the newest attempt did not begin: throttled",
            ),
            (
                serde_json::json!({"state": "failed", "condition": "EventAgeExceeded"}),
                "failed: EventAgeExceeded",
            ),
        ] {
            assert_eq!(now(&invocation(more)), expected);
        }
    }
}
