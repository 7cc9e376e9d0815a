//! `squall queue connect`: an event source mapping from a queue to a function.

use anyhow::Context;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Call, Client, ServerArgs};
use crate::commands::print;

/// Which function takes from which queue.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// Queue.
    queue: String,
    /// Function: its name, NAME:QUALIFIER or its ARN.
    function: String,
    /// The most messages of one event.
    #[arg(long, value_name = "N", default_value_t = 10)]
    batch: u32,
    /// The function answers with `batchItemFailures`; what it does not name is done.
    #[arg(long)]
    partial_failures: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ConnectArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let mut input = json!({
        "EventSourceArn": client.queue_arn(&args.queue).await?,
        "FunctionName": args.function,
        "BatchSize": args.batch,
    });
    if args.partial_failures {
        input["FunctionResponseTypes"] = json!(["ReportBatchItemFailures"]);
    }
    let call = Call::new(Method::POST, "/2015-03-31/event-source-mappings").json(&input);
    let answer = client.send(call).await;
    let attempted = || {
        format!(
            "could not connect the queue `{}` to `{}`",
            args.queue, args.function
        )
    };
    let mapping: Value = answer.with_context(attempted)?.json()?;
    print::line(mapping["UUID"].as_str().unwrap_or_default())
}
