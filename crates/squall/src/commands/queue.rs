//! `squall queue`: queues as SQS's API has them, from the command line.

mod connect;
mod messages;
mod redrive;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::print::{self, Output};
use crate::client::{Client, ServerArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  squall queue create letters
  squall queue create orders --dead-letter letters --max-receives 3
  squall queue send orders --data '{\"order\": 17}'
  squall queue receive orders --wait 5s --delete
  squall queue ls
  squall queue redrive letters";

/// What to do with queues.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// List queues, with how many messages they hold.
    #[command(after_help = "Examples:\n  squall queue ls\n  squall queue ls --output json")]
    Ls(LsArgs),
    /// Make a queue; a name that ends in .fifo makes it FIFO.
    #[command(
        after_help = "Examples:\n  squall queue create orders.fifo --content-deduplication\n  squall queue create orders --dead-letter letters --max-receives 3"
    )]
    Create(Box<CreateArgs>),
    /// Show a queue's attributes.
    #[command(after_help = "Example:\n  squall queue show orders")]
    Show(OneArgs),
    /// Send a message.
    #[command(
        after_help = "Examples:\n  squall queue send orders --data '{\"order\": 17}'\n  squall queue send orders.fifo --data @order.json --group ada"
    )]
    Send(messages::SendArgs),
    /// Receive messages and print their bodies.
    #[command(
        after_help = "Examples:\n  squall queue receive orders\n  squall queue receive orders --max 10 --wait 20s --delete"
    )]
    Receive(messages::ReceiveArgs),
    /// Have a function run for what a queue receives; prints the mapping's id.
    #[command(after_help = "Example:\n  squall queue connect orders take-orders --partial-failures")]
    Connect(connect::ConnectArgs),
    /// Remove all messages of a queue.
    #[command(after_help = "Example:\n  squall queue purge orders")]
    Purge(OneArgs),
    /// Remove queues with all their messages.
    #[command(after_help = "Example:\n  squall queue rm orders letters")]
    Rm(ManyArgs),
    /// Move a dead-letter queue's messages back to where they came from.
    #[command(
        after_help = "Examples:\n  squall queue redrive letters\n  squall queue redrive letters --to orders --per-second 10"
    )]
    Redrive(redrive::RedriveArgs),
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Only those whose name starts with this.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name.
    name: String,
    /// How long a message that was received stays hidden from others, in whole seconds.
    #[arg(long, value_name = "DURATION", value_parser = crate::up::parse_duration)]
    visibility: Option<Duration>,
    /// How long a message is held back at first.
    #[arg(long, value_name = "DURATION", value_parser = crate::up::parse_duration)]
    delay: Option<Duration>,
    /// How long a message is kept.
    #[arg(long, value_name = "DURATION", value_parser = crate::up::parse_duration)]
    retention: Option<Duration>,
    /// The queue that takes what was received too often.
    #[arg(long, value_name = "QUEUE", requires = "max_receives")]
    dead_letter: Option<String>,
    /// How often a message may be received before it goes there.
    #[arg(long, value_name = "N", requires = "dead_letter")]
    max_receives: Option<u32>,
    /// FIFO: a message with the same body as one of the last five minutes is the same message.
    #[arg(long)]
    content_deduplication: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Queue.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ManyArgs {
    /// Queues.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: QueueArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        QueueCommand::Ls(args) => ls(args).await,
        QueueCommand::Create(args) => create(*args).await,
        QueueCommand::Show(args) => show(args).await,
        QueueCommand::Send(args) => messages::send(args).await,
        QueueCommand::Receive(args) => return messages::receive(args).await,
        QueueCommand::Connect(args) => connect::run(args).await,
        QueueCommand::Purge(args) => purge(args).await,
        QueueCommand::Rm(args) => rm(args).await,
        QueueCommand::Redrive(args) => redrive::run(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn ls(args: LsArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let mut queues = Vec::new();
    for url in urls(&client, &args.prefix).await? {
        let name = url.rsplit('/').next().unwrap_or(&url).to_owned();
        queues.push((name, client.queue_attributes(&url).await?));
    }
    match args.output {
        Output::Json => {
            let queues: Map<String, Value> = queues.into_iter().collect();
            print::line(&serde_json::to_string_pretty(&queues)?)
        }
        Output::Table if queues.is_empty() => {
            print::note("no queues: try `squall queue create NAME`");
            Ok(())
        }
        Output::Table => print::line(&rows(&queues)),
    }
}

async fn urls(client: &Client, prefix: &str) -> anyhow::Result<Vec<String>> {
    let (mut urls, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut input = json!({ "QueueNamePrefix": prefix, "MaxResults": 1000 });
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let answer = client.sqs("ListQueues", &input).await;
        let mut answer = answer.context("could not list queues")?;
        let page = answer["QueueUrls"].as_array().into_iter().flatten();
        urls.extend(page.filter_map(Value::as_str).map(str::to_owned));
        token = answer["NextToken"].take();
        if token.is_null() {
            return Ok(urls);
        }
    }
}

fn rows(queues: &[(String, Value)]) -> String {
    let rows: Vec<Vec<String>> = queues
        .iter()
        .map(|(name, attributes)| {
            let text = |of: &str| attributes[of].as_str().unwrap_or("-").to_owned();
            let policy: Value = serde_json::from_str(&text("RedrivePolicy")).unwrap_or_default();
            let dead_letter = policy["deadLetterTargetArn"]
                .as_str()
                .and_then(|arn| arn.rsplit(':').next());
            vec![
                name.clone(),
                text("ApproximateNumberOfMessages"),
                text("ApproximateNumberOfMessagesNotVisible"),
                text("ApproximateNumberOfMessagesDelayed"),
                dead_letter.unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    print::table(
        &["NAME", "WAITING", "RECEIVED", "DELAYED", "DEAD LETTERS TO"],
        &rows,
    )
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let attempted = || format!("could not create the queue `{}`", args.name);
    let mut attributes = json!({});
    for (name, duration) in [
        ("VisibilityTimeout", args.visibility),
        ("DelaySeconds", args.delay),
        ("MessageRetentionPeriod", args.retention),
    ] {
        if let Some(duration) = duration {
            attributes[name] = Value::from(seconds(duration)?.to_string());
        }
    }
    if args.name.ends_with(".fifo") {
        attributes["FifoQueue"] = Value::from("true");
    }
    if args.content_deduplication {
        attributes["ContentBasedDeduplication"] = Value::from("true");
    }
    if let (Some(dead_letter), Some(max)) = (&args.dead_letter, args.max_receives) {
        let arn = client.queue_arn(dead_letter).await?;
        let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max });
        attributes["RedrivePolicy"] = Value::from(policy.to_string());
    }
    let input = json!({ "QueueName": args.name, "Attributes": attributes });
    let answer = client.sqs("CreateQueue", &input).await.with_context(attempted)?;
    print::line(answer["QueueUrl"].as_str().unwrap_or_default())
}

/// SQS counts in whole seconds.
fn seconds(duration: Duration) -> anyhow::Result<u64> {
    match duration.subsec_nanos() {
        0 => Ok(duration.as_secs()),
        _ => bail!("queues know whole seconds only, not {duration:?}"),
    }
}

async fn show(args: OneArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let attributes = client
        .queue_attributes(&client.queue_url(&args.name).await?)
        .await?;
    print::line(&serde_json::to_string_pretty(&attributes)?)
}

async fn purge(args: OneArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let url = client.queue_url(&args.name).await?;
    let purged = client.sqs("PurgeQueue", &json!({ "QueueUrl": url })).await;
    purged.with_context(|| format!("could not purge the queue `{}`", args.name))?;
    print::line(&format!("purged {}", args.name))
}

async fn rm(args: ManyArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    for name in &args.names {
        let url = client.queue_url(name).await?;
        let removed = client.sqs("DeleteQueue", &json!({ "QueueUrl": url })).await;
        removed.with_context(|| format!("could not remove the queue `{name}`"))?;
        print::line(&format!("removed {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_a_queue_holds_and_where_its_dead_letters_go() {
        let attributes = json!({
            "ApproximateNumberOfMessages": "3",
            "ApproximateNumberOfMessagesNotVisible": "1",
            "ApproximateNumberOfMessagesDelayed": "0",
            "RedrivePolicy": "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:letters\",\"maxReceiveCount\":3}",
        });
        let text = rows(&[("orders".to_owned(), attributes)]);
        let cells: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(cells, ["orders", "3", "1", "0", "letters"]);
    }

    #[test]
    fn parts_of_seconds_are_refused() {
        assert_eq!(seconds(Duration::from_secs(7)).ok(), Some(7));
        assert!(seconds(Duration::from_millis(1500)).is_err());
    }
}
