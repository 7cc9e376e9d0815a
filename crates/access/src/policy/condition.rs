//! Conditions: what else must hold of a call for a statement to be about it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::pattern;

/// Comparisons that are understood. Those of numbers and dates, and `ForAnyValue:…`, are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equals,
    EqualsAnyCase,
    Like,
    /// The call has no such key (`true`), or has one (`false`).
    Null,
    /// An address or a network.
    Address,
}

/// A comparison, perhaps the other way round, and perhaps only of a key that the call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) comparison: Comparison,
    pub(crate) is_negated: bool,
    pub(crate) if_exists: bool,
}

impl Operator {
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (comparison, is_negated) = match name {
            "StringEquals" | "Bool" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsAnyCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsAnyCase, true),
            // IAM's two comparisons of ARNs are one, and take wildcards.
            "StringLike" | "ArnLike" | "ArnEquals" => (Comparison::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Comparison::Like, true),
            "IpAddress" => (Comparison::Address, false),
            "NotIpAddress" => (Comparison::Address, true),
            "Null" if !if_exists => (Comparison::Null, false),
            _ => return None,
        };
        Some(Self {
            comparison,
            is_negated,
            if_exists,
        })
    }
}

/// What else must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A key of the call's context with values, of which one must fit; of a negated comparison none may.
    Compare {
        operator: Operator,
        /// As in `aws:SourceArn`; upper and lower case are the same.
        key: String,
        values: Vec<String>,
    },
    /// Something that is not understood, by its name: nothing is allowed by it, and nothing escapes a deny by it.
    Unsupported(String),
}

/// The context keys that calls have; a policy that names another is refused, or allows nothing.
pub(crate) const KEYS: [&str; 11] = [
    "aws:PrincipalArn",
    "aws:PrincipalAccount",
    "aws:SourceArn",
    "aws:SourceAccount",
    "aws:SourceIp",
    "aws:SecureTransport",
    "iam:PassedToService",
    "lambda:FunctionUrlAuthType",
    "lambda:InvokedViaFunctionUrl",
    "squall:RoleHasPowers",
    "sts:ExternalId",
];

/// Reads a value of `IpAddress`: an address stands for the network of it alone.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    network.or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
}

impl Condition {
    /// Whether it holds for a call of which `value_of` tells; the name of what is not understood where it cannot be
    /// known. As in IAM, a key that the call does not have fits a negated comparison only.
    pub(crate) fn holds(&self, value_of: impl Fn(&str) -> Option<String>) -> Result<bool, &str> {
        let (operator, key, values) = match self {
            Self::Compare {
                operator,
                key,
                values,
            } => (operator, key, values),
            Self::Unsupported(what) => return Err(what),
        };
        let value = value_of(key);
        if operator.comparison == Comparison::Null {
            let wanted = if value.is_none() { "true" } else { "false" };
            return Ok(values.iter().any(|one| one == wanted));
        }
        let Some(value) = value else {
            return Ok(operator.is_negated || operator.if_exists);
        };
        let fits = |one: &String| match operator.comparison {
            Comparison::EqualsAnyCase => one.eq_ignore_ascii_case(&value),
            Comparison::Like => pattern::matches(one, &value),
            Comparison::Address => {
                let address = value.parse::<IpAddr>().ok();
                let network = network(one);
                network.is_some_and(|network| address.is_some_and(|address| network.contains(&address)))
            }
            Comparison::Equals | Comparison::Null => *one == value,
        };
        Ok(values.iter().any(fits) != operator.is_negated)
    }
}
