//! The variables that say what a function may reach, from flags and from what is deployed.

use std::collections::BTreeMap;

use clap::Args;

/// The variable that carries the rule, and the one that carries the list of `egress`.
const RULE: &str = "SQUALL_NETWORK";
const LIST: &str = "SQUALL_EGRESS";

/// What it may reach.
#[derive(Debug, Clone, Args)]
pub(super) struct NetworkArgs {
    /// What it may reach: `none` is the platform's API alone, `egress` is that and the internet's ports 80 and 443 or
    /// what --egress lists, `host` is what this server's host reaches [default: what is deployed, else host].
    #[arg(long, value_enum, value_name = "RULE")]
    network: Option<Rule>,
    /// What it may reach beside the platform's API, such as example.com:443, *.example.com, 10.0.0.0/8:5432 or *:22;
    /// without a port, 80 and 443. May be given several times, or with commas; means --network egress.
    #[arg(long, value_name = "PLACE", value_delimiter = ',')]
    egress: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rule {
    None,
    Egress,
    Host,
}

impl Rule {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Host => "host",
        }
    }
}

impl NetworkArgs {
    /// Whether they ask for anything.
    pub(super) fn is_given(&self) -> bool {
        self.rule().is_some()
    }

    /// # Errors
    /// A list is given to a rule that has none.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.network {
            Some(rule @ (Rule::None | Rule::Host)) if !self.egress.is_empty() => anyhow::bail!(
                "--egress lists what --network egress may reach, and not what --network {} may",
                rule.as_str()
            ),
            _ => Ok(()),
        }
    }

    /// Puts the rule among the variables that are wanted. A function does not lose it because others are given.
    pub(super) fn apply(
        &self,
        wanted: &mut BTreeMap<String, String>,
        there: Option<&BTreeMap<String, String>>,
    ) {
        let Some(rule) = self.rule() else {
            // A rule that is given as a variable comes with its list, or has none.
            if !wanted.contains_key(RULE) {
                keep(RULE, wanted, there);
                keep(LIST, wanted, there);
            }
            return;
        };
        wanted.insert(RULE.to_owned(), rule.as_str().to_owned());
        if rule != Rule::Egress {
            wanted.remove(LIST);
        } else if self.egress.is_empty() {
            keep(LIST, wanted, there);
        } else {
            wanted.insert(LIST.to_owned(), self.egress.join(","));
        }
    }

    fn rule(&self) -> Option<Rule> {
        let of_list = (!self.egress.is_empty()).then_some(Rule::Egress);
        self.network.or(of_list)
    }
}

fn keep(name: &str, wanted: &mut BTreeMap<String, String>, there: Option<&BTreeMap<String, String>>) {
    if let Some(kept) = there.and_then(|there| there.get(name)) {
        wanted.entry(name.to_owned()).or_insert_with(|| kept.clone());
    }
}
