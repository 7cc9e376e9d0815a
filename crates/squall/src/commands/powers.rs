//! What a key or a role may do, as `squall keys` and `squall roles` are told it and show it.

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

/// The flags that say it.
#[derive(Debug, Args)]
pub(super) struct PowersArgs {
    /// What it may do: admin, deploy, read-only, invoke, invoke:PATTERN. May be given several times.
    #[arg(long, value_name = "GRANT")]
    allow: Vec<String>,
    /// A policy in IAM's language, beside the grants: JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    policy: Option<String>,
}

impl PowersArgs {
    /// The members of a request that say it.
    ///
    /// # Errors
    /// When the policy's file cannot be read, or it is not JSON.
    pub(super) fn body(&self) -> anyhow::Result<Value> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        Ok(json!({ "allow": self.allow, "policy": policy }))
    }
}

fn read_policy(given: &str) -> anyhow::Result<Value> {
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("could not read `{file}`"))?,
        None => given.to_owned(),
    };
    serde_json::from_str(&text).context("the policy is not JSON")
}

/// The same in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Powers {
    allow: Vec<String>,
    policy: Option<String>,
    /// Of a role, the names of further policies of its own, and the ARNs of those that it shares.
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    attached: Vec<String>,
}

impl Powers {
    /// In a cell of a table.
    pub(super) fn cell(self) -> String {
        let mut may = self.allow;
        may.extend(self.policy.map(|_| "policy".to_owned()));
        may.extend(self.policies);
        let name = |arn: String| arn.rsplit('/').next().map(str::to_owned);
        may.extend(self.attached.into_iter().filter_map(name));
        may.join(" ")
    }
}
