//! `squall schedule`: schedules that run functions, through EventBridge Scheduler's API.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::print::{self, Output};
use crate::client::{Call, Client, ServerArgs, encode};

const SERVICE: &str = "scheduler";
const DEFAULT_GROUP: &str = "default";
/// Scheduler wants a role; nothing here assumes it.
const ROLE: &str = "arn:aws:iam::000000000000:role/squall";

pub(super) const EXAMPLES: &str = "\
Examples:
  squall schedule create tick 'rate(5 minutes)' --function hello
  squall schedule create morning 'cron(30 9 ? * MON-FRI *)' --zone Europe/Berlin --function hello --data '{\"name\": \"Ada\"}'
  squall schedule create once 'at(2030-01-01T00:00:00)' --function hello --delete-after
  squall schedule ls
  squall schedule show morning
  squall schedule rm morning";

/// What to do with schedules.
#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// List schedules.
    #[command(after_help = "Example:\n  squall schedule ls --output json")]
    Ls(LsArgs),
    /// Make a schedule: once with at(…), every so often with rate(…), by the calendar with cron(…).
    #[command(
        after_help = "Examples:\n  squall schedule create tick 'rate(5 minutes)' --function hello\n  squall schedule create morning 'cron(30 9 ? * MON-FRI *)' --zone Europe/Berlin --function hello --data '{\"name\": \"Ada\"}'"
    )]
    Create(Box<CreateArgs>),
    /// Show a schedule with all its settings.
    #[command(after_help = "Example:\n  squall schedule show morning")]
    Show(OneArgs),
    /// Remove schedules.
    #[command(after_help = "Example:\n  squall schedule rm morning tick")]
    Rm(RmArgs),
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Only those of one group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
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
    /// When: rate(5 minutes), cron(30 9 ? * MON-FRI *), at(2030-01-01T00:00:00).
    expression: String,
    /// The function to run.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    function: Option<String>,
    /// The ARN of what else to send to: a queue.
    #[arg(long, value_name = "ARN")]
    target: Option<String>,
    /// What the target gets, JSON for a function; an event that describes the schedule if nothing is said.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// The time zone of cron(…) and at(…), such as Europe/Berlin.
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Nothing fires before: 2030-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Nothing fires behind.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// The group to make it in.
    #[arg(long, default_value = DEFAULT_GROUP)]
    group: String,
    /// Spread firings over so many minutes behind their times.
    #[arg(long, value_name = "MINUTES")]
    window: Option<u32>,
    /// The queue for what could not be delivered.
    #[arg(long, value_name = "ARN")]
    dead_letter: Option<String>,
    /// Remove it behind its last time.
    #[arg(long)]
    delete_after: bool,
    /// Make it, and let it not fire yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Name.
    name: String,
    /// Its group.
    #[arg(long, default_value = DEFAULT_GROUP)]
    group: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RmArgs {
    /// Names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Their group.
    #[arg(long, default_value = DEFAULT_GROUP)]
    group: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ScheduleArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ScheduleCommand::Ls(args) => ls(args).await,
        ScheduleCommand::Create(args) => create(*args).await,
        ScheduleCommand::Show(args) => show(args).await,
        ScheduleCommand::Rm(args) => rm(args).await,
    }
}

fn call(method: Method, name: &str) -> Call {
    Call {
        service: SERVICE,
        ..Call::new(method, format!("/schedules/{}", encode(name)))
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let arn = match (&args.function, &args.target) {
        (Some(name), _) => {
            let found = client.function(name).await?;
            let absent = || format!("there is no function `{name}`: see `squall ls`");
            found.with_context(absent)?.function_arn
        }
        (None, target) => target.clone().unwrap_or_default(),
    };
    let request = request(&args, &arn)?;
    let answer = client.send(call(Method::POST, &args.name).json(&request)).await;
    answer.with_context(|| format!("could not make the schedule `{}`", args.name))?;
    print::line(&format!("{} is scheduled: {}", args.name, args.expression))?;
    Ok(ExitCode::SUCCESS)
}

/// CreateSchedule's body.
fn request(args: &CreateArgs, arn: &str) -> anyhow::Result<Value> {
    let mut target = json!({ "Arn": arn, "RoleArn": ROLE });
    if let Some(data) = &args.data {
        target["Input"] = json!(data);
    }
    if let Some(queue) = &args.dead_letter {
        target["DeadLetterConfig"] = json!({ "Arn": queue });
    }
    let mut request = json!({
        "GroupName": args.group,
        "ScheduleExpression": args.expression,
        "ScheduleExpressionTimezone": args.zone,
        "State": if args.disabled { "DISABLED" } else { "ENABLED" },
        "ActionAfterCompletion": if args.delete_after { "DELETE" } else { "NONE" },
        "FlexibleTimeWindow": match args.window {
            None => json!({ "Mode": "OFF" }),
            Some(minutes) => json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes }),
        },
        "Target": target,
    });
    for (member, text) in [("StartDate", &args.start), ("EndDate", &args.end)] {
        if let Some(text) = text {
            let at = OffsetDateTime::parse(text, &Rfc3339)
                .with_context(|| format!("`{text}` is not a time such as 2030-01-01T00:00:00Z"))?;
            request[member] = json!(at.unix_timestamp());
        }
    }
    Ok(request)
}

async fn ls(args: LsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let mut call = Call {
            service: SERVICE,
            ..Call::new(Method::GET, "/schedules")
        };
        if let Some(group) = &args.group {
            call = call.query("ScheduleGroup", group);
        }
        if let Some(token) = next {
            call = call.query("NextToken", token);
        }
        let answer = client.send(call).await.context("could not list schedules")?;
        let page: Value = answer.json()?;
        all.extend(page["Schedules"].as_array().cloned().unwrap_or_default());
        next = page["NextToken"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    match args.output {
        Output::Json => print::line(&serde_json::to_string_pretty(&all)?)?,
        Output::Table if all.is_empty() => print::note("there are no schedules"),
        Output::Table => print::line(&rows(&all))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(all: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows = all.iter().map(|one| {
        let target = text(&one["Target"]["Arn"]);
        vec![
            text(&one["Name"]),
            text(&one["GroupName"]),
            text(&one["State"]).to_lowercase(),
            moment(&one["LastModificationDate"]),
            target.splitn(6, ':').last().unwrap_or(&target).to_owned(),
        ]
    });
    let head = ["NAME", "GROUP", "STATE", "CHANGED", "TARGET"];
    print::table(&head, &rows.collect::<Vec<_>>())
}

/// Seconds are enough for people; UTC, as in logs.
fn moment(seconds: &Value) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let at = seconds
        .as_f64()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds as i64).ok());
    at.and_then(|at| at.format(form).ok())
        .unwrap_or_else(|| "-".to_owned())
}

async fn show(args: OneArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let call = call(Method::GET, &args.name).query("groupName", &args.group);
    let answer = client.send(call).await;
    let schedule: Value = answer
        .with_context(|| format!("could not show the schedule `{}`", args.name))?
        .json()?;
    print::line(&serde_json::to_string_pretty(&schedule)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn rm(args: RmArgs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&args.server)?;
    let mut failures = 0;
    for name in &args.names {
        let call = call(Method::DELETE, name).query("groupName", &args.group);
        match client.send(call).await {
            Ok(_) => print::line(&format!("{name} is removed"))?,
            Err(error) => {
                failures += 1;
                print::failure(&error.context(format!("the schedule `{name}`")));
            }
        }
    }
    if failures > 0 {
        bail!(
            "{failures} of {} schedules could not be removed",
            args.names.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_one_looks_for() {
        let schedule = json!({
            "Name": "tick", "GroupName": "default", "State": "ENABLED", "LastModificationDate": 1_700_000_000.5,
            "Target": { "Arn": "arn:aws:lambda:us-east-1:000000000000:function:hello" },
        });
        let text = rows(&[schedule]);
        let row = text.lines().nth(1).expect("a row");
        let cells: Vec<&str> = row
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "tick",
                "default",
                "enabled",
                "2023-11-14 22:13:20",
                "function:hello"
            ]
        );
    }
}
