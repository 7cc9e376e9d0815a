//! `squall deploy`: code in, a function that can be called out.
//!
//! Finds out what the code is (`infer`), packs it (`package`), and creates or updates only what differs.

mod handlers;
mod infer;
mod network;
mod package;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::infer::{Plan, Wish};
use self::network::NetworkArgs;
use self::package::Package;
use super::print::{self, Output, Progress};
use crate::client::lambda::FunctionConfiguration;
use crate::client::{Client, Refusal, ServerArgs};

/// The role of functions that are given none, or `auto`: it is always there, and allows nothing until somebody says what.
const ROLE: &str = "arn:aws:iam::000000000000:role/squall";
/// What stands for it.
const AUTO: &str = "auto";

/// Shown below `squall deploy --help`.
pub(crate) const EXAMPLES: &str = "\
What PATH can be, and what is taken from it where no flag says otherwise:
  a folder          packed without .git, .squall, .venv, __pycache__ and node_modules/.cache
    bootstrap                                   runtime provided.al2023
    lambda_function.py, app.py, main.py,        this machine's python3.x, and its lambda_handler,
    handler.py, or the only .py file            handler or main of two arguments
    package.json's main, index, app or          this machine's nodejsN.x, and its exported
    handler .mjs/.js/.cjs, or the only one      handler or lambdaHandler
  a .zip            the same, taken as it is
  one .py, .mjs, .js or .cjs file
  one .wasm file: a component or a module       runtime wasm
  an executable     becomes the package's bootstrap

Examples:
  squall deploy ./hello
  squall deploy ./thumbnail --memory 512 --timeout 30 --env BUCKET=pictures
  squall deploy ./target/release/resize --name resize --url
  squall deploy ./mirror --egress api.example.com:443,*.example.org
  squall deploy resize.wasm --memory 256
  squall deploy function.zip --name report --runtime python3.11 --handler report.main";

/// What to deploy, and how.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A folder, a .zip, a .py, .js or .wasm file, or an executable.
    path: PathBuf,
    /// Name of the function [default: that of the folder or file].
    #[arg(long, short)]
    name: Option<String>,
    /// Such as python3.11, nodejs20.x or provided.al2023 [default: what is deployed, else what the code is].
    #[arg(long, value_name = "R")]
    runtime: Option<String>,
    /// FILE.FUNCTION [default: what is deployed, else found in the code].
    #[arg(long, value_name = "H")]
    handler: Option<String>,
    /// Memory in MB [default: what is deployed, else 128].
    #[arg(long, value_name = "MB")]
    memory: Option<u32>,
    /// Seconds until an invocation is ended [default: what is deployed, else 3].
    #[arg(long, value_name = "S")]
    timeout: Option<u32>,
    /// A variable of its environment; when any is given, they replace all that are deployed.
    #[arg(long, value_name = "K=V", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Its role, by name or ARN: what it may do, as `squall roles` says [default: what is deployed, else auto: the role
    /// `squall`, which is always there].
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Give it a URL that anybody who reaches the server can call (AuthType NONE).
    #[arg(long)]
    url: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a variable: write NAME=VALUE")),
    }
}

/// What became of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Created,
    Updated,
    Unchanged,
}

pub(super) async fn run(args: DeployArgs) -> anyhow::Result<ExitCode> {
    args.network.check()?;
    let client = Client::connect(&args.server)?;
    let progress = Progress::start(format!("reading {}", args.path.display()));
    let package = Package::open(&args.path)?;
    let name = match args.name.clone().or_else(|| package.name().map(str::to_owned)) {
        Some(name) => name,
        None => bail!(
            "`{}` gives no name to the function: say it with --name",
            args.path.display()
        ),
    };
    let deployed = client.function(&name).await?;
    let plan = plan(&args, &package, deployed.as_ref())?;
    progress.step(format!("packing {}", args.path.display()));
    let zip = package.into_zip()?;
    progress.step(format!("uploading {name} ({})", print::size(zip.len() as u64)));
    let change = match deployed {
        None => create(&client, &name, &args, &plan, &zip).await?,
        Some(_) => update(&client, &name, &args, &plan, &zip, &progress).await?,
    };
    progress.step(format!("preparing {name}"));
    let function = client.wait_until_ready(&name).await?;
    let url = match client.function_url(&name).await? {
        None if args.url => Some(client.create_function_url(&name).await?),
        url => url,
    };
    drop(progress);
    print_result(&args, change, &function, url.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// A function keeps its runtime and handler as long as the code still has that handler's file.
fn plan(
    args: &DeployArgs,
    package: &Package,
    deployed: Option<&FunctionConfiguration>,
) -> anyhow::Result<Plan> {
    let wish = Wish {
        runtime: args.runtime.clone(),
        handler: args.handler.clone(),
    };
    if wish == Wish::default()
        && let Some(kept) = deployed.and_then(|function| infer::keep(package, function))
    {
        return Ok(kept);
    }
    infer::infer(package, wish, infer::host_runtime)
        .with_context(|| format!("could not tell what to run in `{}`", args.path.display()))
}

async fn create(
    client: &Client,
    name: &str,
    args: &DeployArgs,
    plan: &Plan,
    zip: &[u8],
) -> anyhow::Result<Change> {
    let mut request = json!({
        "FunctionName": name,
        "Role": ROLE,
        "Code": {"ZipFile": BASE64_STANDARD.encode(zip)},
    });
    if let Some(fields) = request.as_object_mut() {
        fields.extend(changes(args, plan, &FunctionConfiguration::default()));
    }
    client
        .create_function(&request)
        .await
        .map_err(|error| explain(error, args))
        .with_context(|| format!("could not create `{name}`"))?;
    Ok(Change::Created)
}

/// First the configuration, then the code: Lambda takes one at a time, and each must be through before the next.
async fn update(
    client: &Client,
    name: &str,
    args: &DeployArgs,
    plan: &Plan,
    zip: &[u8],
    progress: &Progress,
) -> anyhow::Result<Change> {
    let mut change = Change::Unchanged;
    let deployed = client.wait_until_settled(name).await?;
    let fields = changes(args, plan, &deployed);
    if !fields.is_empty() {
        client
            .update_configuration(name, &Value::Object(fields))
            .await
            .map_err(|error| explain(error, args))
            .with_context(|| format!("could not update the configuration of `{name}`"))?;
        progress.step(format!("preparing {name}"));
        client.wait_until_ready(name).await?;
        change = Change::Updated;
    }
    let failed = deployed.state.as_deref() == Some("Failed");
    if failed || deployed.code_sha256 != BASE64_STANDARD.encode(Sha256::digest(zip)) {
        client
            .update_code(name, &json!({"ZipFile": BASE64_STANDARD.encode(zip)}))
            .await
            .map_err(|error| explain(error, args))
            .with_context(|| format!("could not update the code of `{name}`"))?;
        change = Change::Updated;
    }
    Ok(change)
}

/// The configuration fields that a deployment asks for and the function does not have.
fn changes(args: &DeployArgs, plan: &Plan, deployed: &FunctionConfiguration) -> Map<String, Value> {
    let mut fields = Map::new();
    if deployed.runtime.as_deref() != Some(&plan.runtime) {
        fields.insert("Runtime".to_owned(), json!(plan.runtime));
    }
    if deployed.handler.as_deref() != Some(&plan.handler) {
        fields.insert("Handler".to_owned(), json!(plan.handler));
    }
    if let Some(memory) = args.memory.filter(|memory| *memory != deployed.memory_size) {
        fields.insert("MemorySize".to_owned(), json!(memory));
    }
    if let Some(timeout) = args.timeout.filter(|timeout| *timeout != deployed.timeout) {
        fields.insert("Timeout".to_owned(), json!(timeout));
    }
    let role = args.role.as_deref().map(role_arn);
    if let Some(role) = role.filter(|role| deployed.role.as_ref() != Some(role)) {
        fields.insert("Role".to_owned(), json!(role));
    }
    let there = deployed.environment.as_ref().map(|there| there.variables.clone());
    if let Some(variables) = variables(args, there.as_ref()).filter(|wanted| there.as_ref() != Some(wanted)) {
        fields.insert("Environment".to_owned(), json!({"Variables": variables}));
    }
    fields
}

/// The variables that are asked for; `None` leaves those that are there.
fn variables(
    args: &DeployArgs,
    there: Option<&BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let mut wanted = match (args.env.is_empty(), args.network.is_given()) {
        (true, false) => return None,
        (true, true) => there.cloned().unwrap_or_default(),
        (false, _) => args.env.iter().cloned().collect(),
    };
    args.network.apply(&mut wanted, there);
    Some(wanted)
}

/// The server reads the name at the end of the ARN.
fn role_arn(given: &str) -> String {
    if given == AUTO {
        ROLE.to_owned()
    } else if given.starts_with("arn:") {
        given.to_owned()
    } else {
        format!("arn:aws:iam::000000000000:role/{given}")
    }
}

/// A runtime that was found on this machine may not be on the server's; its refusal says which are.
fn explain(error: anyhow::Error, args: &DeployArgs) -> anyhow::Error {
    let about_runtime = error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.message.contains("runtime"));
    if about_runtime && args.runtime.is_none() {
        return error.context("the runtime found for the code was refused (name another with --runtime)");
    }
    error
}

fn print_result(
    args: &DeployArgs,
    change: Change,
    function: &FunctionConfiguration,
    url: Option<&str>,
) -> anyhow::Result<()> {
    if args.output == Output::Json {
        let mut result = serde_json::to_value(function)?;
        result["FunctionUrl"] = json!(url);
        return print::line(&serde_json::to_string_pretty(&result)?);
    }
    let name = &function.function_name;
    let done = match change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Unchanged => "unchanged:",
    };
    print::line(&format!("{done} {name}"))?;
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    print::line(&format!("  runtime  {}", dash(&function.runtime)))?;
    print::line(&format!("  handler  {}", dash(&function.handler)))?;
    print::line(&format!("  code     {}", print::size(function.code_size)))?;
    print::line(&format!("  version  {}", function.version))?;
    if let Some(url) = url {
        print::line(&format!("  url      {url}"))?;
    }
    print::line("")?;
    print::line(&format!("squall invoke {name} --data '{{}}'"))
}

#[cfg(test)]
mod tests;
