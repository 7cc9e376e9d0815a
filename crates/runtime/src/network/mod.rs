//! What a function may reach: its variables `SQUALL_NETWORK` and `SQUALL_EGRESS`, and connections under them.
//!
//! Both runtimes read a [`Network`] when a revision is prepared. Where the server itself connects for a function, it
//! does so by [`Network::connect`] (`connect`), which looks at the address that it connects to, not at the name alone.

mod address;
mod connect;
mod list;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use connect::Unreached;
pub use list::EgressList;

/// The variable that says the rule, and the one with the list of `egress`.
const RULE: &str = "SQUALL_NETWORK";
const LIST: &str = "SQUALL_EGRESS";
/// What the name `localhost` means, without asking anybody.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Names of one function that are looked up at once; further ones wait.
const LOOKUPS_MAX: usize = 8;

/// What a function may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Whatever the host reaches.
    Host,
    /// The platform's API, and nothing else.
    None,
    /// That, and what is listed.
    Egress(EgressList),
}

/// The network of a function. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Network {
    rule: Arc<Rule>,
    lookups: Arc<Semaphore>,
}

impl Network {
    /// What a revision's environment asks for; the host's where it says nothing.
    ///
    /// # Errors
    /// What its owner wrote is no rule, or no list, in words for the owner.
    pub fn of(environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let list = environment.get(LIST);
        let rule = match environment.get(RULE).map(String::as_str) {
            Some("egress") => Rule::Egress(match list {
                Some(list) => EgressList::parse(list).map_err(|why| format!("{LIST}={list}: {why}"))?,
                None => EgressList::default(),
            }),
            Some(other) if !["host", "none"].contains(&other) => {
                return Err(format!(
                    "{RULE}={other} is no rule: there are `none`, `egress` and `host`"
                ));
            }
            // A list that bounds nothing would be taken for a wall.
            other if list.is_some() => {
                let rule = other.unwrap_or("host");
                return Err(format!(
                    "{LIST} lists what may be reached by {RULE}=egress, but the rule is `{rule}`"
                ));
            }
            Some("none") => Rule::None,
            _ => Rule::Host,
        };
        Ok(Self::new(rule))
    }

    /// A network with a rule that somebody else has read.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule: Arc::new(rule),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Its rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

/// Two are alike when their rules are.
impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule
    }
}

impl Eq for Network {}

#[cfg(test)]
mod tests {
    //! What owners write.

    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Rule, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Network::of(&pairs.collect()).map(|network| network.rule().clone())
    }

    #[test]
    fn a_rule_is_what_the_environment_says() {
        assert_eq!(of(&[]), Ok(Rule::Host));
        assert_eq!(of(&[(RULE, "host")]), Ok(Rule::Host));
        assert_eq!(of(&[(RULE, "none")]), Ok(Rule::None));
        assert_eq!(of(&[(RULE, "egress")]), Ok(Rule::Egress(EgressList::default())));
        let listed = EgressList::parse("example.com").expect("a list");
        assert_eq!(
            of(&[(RULE, "egress"), (LIST, "example.com")]),
            Ok(Rule::Egress(listed))
        );
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_reason() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let why = of(pairs).expect_err("refused");
            assert!(why.contains(expected), "{why}");
        };
        check(&[(RULE, "all")], "SQUALL_NETWORK=all is no rule");
        check(&[(RULE, "")], "SQUALL_NETWORK= is no rule");
        check(&[(RULE, "egress"), (LIST, "")], "SQUALL_EGRESS=: ``");
        check(&[(RULE, "egress"), (LIST, "a,b:x")], "`b:x` has no port");
        check(&[(RULE, "none"), (LIST, "a")], "the rule is `none`");
        check(&[(LIST, "a")], "the rule is `host`");
    }
}
