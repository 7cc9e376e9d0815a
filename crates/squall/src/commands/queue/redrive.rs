//! `squall queue redrive`: a message move task, followed to its end.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ServerArgs};
use crate::commands::print::{self, Progress};

const POLL: Duration = Duration::from_millis(100);

/// What to move where.
#[derive(Debug, Args)]
pub(super) struct RedriveArgs {
    /// Dead-letter queue.
    name: String,
    /// Move to this queue instead.
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// The most messages in a second, up to 500.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    per_second: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: RedriveArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let attempted = || format!("could not redrive the queue `{}`", args.name);
    let source = client.queue_arn(&args.name).await?;
    let mut input = json!({ "SourceArn": source });
    if let Some(to) = &args.to {
        input["DestinationArn"] = Value::from(client.queue_arn(to).await?);
    }
    if let Some(per_second) = args.per_second {
        input["MaxNumberOfMessagesPerSecond"] = Value::from(per_second);
    }
    client
        .sqs("StartMessageMoveTask", &input)
        .await
        .with_context(attempted)?;
    let progress = Progress::start("moving");
    loop {
        let answer = client
            .sqs("ListMessageMoveTasks", &json!({ "SourceArn": source }))
            .await?;
        let task = &answer["Results"][0];
        let moved = task["ApproximateNumberOfMessagesMoved"].as_u64().unwrap_or(0);
        match task["Status"].as_str() {
            Some("RUNNING" | "CANCELLING") => progress.step(format!("moved {moved}")),
            Some("COMPLETED") => {
                drop(progress);
                return print::line(&format!("moved {moved} messages"));
            }
            other => {
                let why = task["FailureReason"].as_str().unwrap_or("no reason given");
                bail!(
                    "the move ended as {} after {moved} messages: {why}",
                    other.unwrap_or("unknown")
                );
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
