//! `squall logs`: what a function wrote, kept or as it comes.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use bytes::{Buf, BytesMut};
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::print;
use crate::client::{Call, Client, ServerArgs, encode};

/// Batches per page; a batch is an invocation's lines.
const PAGE: &str = "500";
/// A line of the stream is one batch, which the server bounds well below this.
const STREAM_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whose lines, and which.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Function.
    name: String,
    /// Go on with new lines as they come.
    #[arg(long, short)]
    follow: bool,
    /// Only the lines of one invocation.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only lines as young as this, such as 30s, 10m, 2h or 7d.
    #[arg(long, value_name = "DURATION", value_parser = crate::up::parse_duration)]
    since: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    batches: Vec<Batch>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Batch {
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    at_ms: i64,
    message: String,
}

pub(super) async fn run(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let attempted = || format!("could not read the logs of `{}`", args.name);
    if args.follow {
        follow(&client, &args).await.with_context(attempted)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut cursor: Option<String> = None;
    loop {
        let mut call = question(&args).query("limit", PAGE);
        if let Some(cursor) = cursor.take() {
            call = call.query("after", cursor);
        }
        let page: Page = client.send(call).await.with_context(attempted)?.json()?;
        page.batches.iter().try_for_each(print_batch)?;
        match page.cursor {
            None => return Ok(ExitCode::SUCCESS),
            next => cursor = next,
        }
    }
}

fn question(args: &LogsArgs) -> Call {
    let path = format!("/squall/v1/functions/{}/logs", encode(&args.name));
    let mut call = Call::new(Method::GET, path);
    if let Some(request_id) = &args.request_id {
        call = call.query("request_id", request_id);
    }
    if let Some(since) = args.since {
        call = call.query("since_ms", since_ms(SystemTime::now(), since).to_string());
    }
    call
}

/// Milliseconds since 1970, `since` before `now`; 0 for all there is.
fn since_ms(now: SystemTime, since: Duration) -> u128 {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(since).as_millis()
}

/// Prints batches, one JSON document per line of the stream, until the server ends it.
async fn follow(client: &Client, args: &LogsArgs) -> anyhow::Result<()> {
    let mut body = client.stream(question(args).query("follow", "true")).await?;
    let gone = || format!("the server at `{}` went away", client.endpoint());
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!(error)).with_context(gone)?;
        buffer.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            print_stream_line(&buffer.split_to(end))?;
            buffer.advance(1);
        }
        if buffer.len() > STREAM_LINE_BYTES_MAX {
            bail!("the server sent a line of more than {STREAM_LINE_BYTES_MAX} bytes");
        }
    }
    bail!(gone())
}

fn print_stream_line(line: &[u8]) -> anyhow::Result<()> {
    if line.trim_ascii().is_empty() {
        return Ok(()); // Sent to keep the connection alive.
    }
    let batch =
        serde_json::from_slice(line).context("could not read the server's answer: it is not a log batch")?;
    print_batch(&batch)
}

fn print_batch(batch: &Batch) -> anyhow::Result<()> {
    batch
        .events
        .iter()
        .try_for_each(|event| print::line(&format!("{}  {}", clock(event.at_ms), event.message.trim_end())))
}

/// `2026-01-02T03:04:05.678Z`.
fn clock(at_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&format).ok())
        .unwrap_or_else(|| at_ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_millisecond() {
        assert_eq!(clock(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
        assert_eq!(clock(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn since_never_goes_before_1970() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(since_ms(now, Duration::from_secs(40)), 60_000);
        assert_eq!(since_ms(now, Duration::from_secs(400)), 0);
    }

    #[test]
    fn a_stream_line_that_is_no_batch_is_an_error() {
        assert!(print_stream_line(b"").is_ok());
        assert!(print_stream_line(br#"{"batch":1}"#).is_err());
    }
}
