//! `squall queue send` and `squall queue receive`.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::seconds;
use crate::client::{Client, ServerArgs};
use crate::commands::print::{self, Output};

/// What to send where.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Queue.
    name: String,
    /// The message: text, @FILE, or - for stdin.
    #[arg(long, short, value_name = "TEXT|@FILE|-")]
    data: String,
    /// Hold it back for this long.
    #[arg(long, value_name = "DURATION", value_parser = crate::up::parse_duration)]
    delay: Option<Duration>,
    /// FIFO: the group in whose order it is.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// FIFO: a second message with this id is dropped, for five minutes.
    #[arg(long, value_name = "ID")]
    deduplication_id: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What to receive from where.
#[derive(Debug, Args)]
pub(super) struct ReceiveArgs {
    /// Queue.
    name: String,
    /// The most messages, up to 10.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10), value_name = "N")]
    max: u32,
    /// Wait for a message for up to this long, at most 20s.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = crate::up::parse_duration)]
    wait: Duration,
    /// Delete what was printed; else it can be received again after its visibility timeout.
    #[arg(long)]
    delete: bool,
    /// How to print: bodies, or all that is known.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn send(args: SendArgs) -> anyhow::Result<()> {
    let body = read(&args.data)?;
    let client = Client::connect(&args.server)?;
    let mut input = json!({ "QueueUrl": client.queue_url(&args.name).await?, "MessageBody": body });
    if let Some(delay) = args.delay {
        input["DelaySeconds"] = Value::from(seconds(delay)?);
    }
    if let Some(group) = args.group {
        input["MessageGroupId"] = Value::from(group);
    }
    if let Some(id) = args.deduplication_id {
        input["MessageDeduplicationId"] = Value::from(id);
    }
    let sent = client.sqs("SendMessage", &input).await;
    let sent = sent.with_context(|| format!("could not send to the queue `{}`", args.name))?;
    print::line(sent["MessageId"].as_str().unwrap_or_default())
}

fn read(data: &str) -> anyhow::Result<String> {
    if data == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read
            .map(|_| text)
            .context("could not read the message from stdin");
    }
    match data.strip_prefix('@') {
        None => Ok(data.to_owned()),
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("could not read the message from `{file}`"))
        }
    }
}

/// Exit code 1 where there was none.
pub(super) async fn receive(args: ReceiveArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let url = client.queue_url(&args.name).await?;
    let attempted = || format!("could not receive from the queue `{}`", args.name);
    let input = json!({
        "QueueUrl": url,
        "MaxNumberOfMessages": args.max,
        "WaitTimeSeconds": seconds(args.wait)?,
        "MessageSystemAttributeNames": ["All"],
        "MessageAttributeNames": ["All"],
    });
    let mut answer = client
        .sqs("ReceiveMessage", &input)
        .await
        .with_context(attempted)?;
    let Value::Array(messages) = answer["Messages"].take() else {
        print::note("no message");
        return Ok(ExitCode::FAILURE);
    };
    // Printed before they are deleted: what nobody read is not lost.
    match args.output {
        Output::Json => print::line(&serde_json::to_string_pretty(&messages)?)?,
        Output::Table => {
            for message in &messages {
                print::line(message["Body"].as_str().unwrap_or_default())?;
            }
        }
    }
    if args.delete {
        delete(&client, &url, &messages).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(client: &Client, url: &str, messages: &[Value]) -> anyhow::Result<()> {
    let entries = messages.iter().enumerate();
    let entries =
        entries.map(|(n, message)| json!({ "Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"] }));
    let input = json!({ "QueueUrl": url, "Entries": entries.collect::<Vec<_>>() });
    let attempted = "could not delete what was received";
    let answer = client
        .sqs("DeleteMessageBatch", &input)
        .await
        .context(attempted)?;
    match answer["Failed"].as_array().and_then(|failed| failed.first()) {
        None => Ok(()),
        Some(first) => bail!(
            "{attempted}: {}",
            first["Message"].as_str().unwrap_or("no reason given")
        ),
    }
}
