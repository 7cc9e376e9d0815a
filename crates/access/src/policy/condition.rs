//! Conditions: what else must hold of a call for a statement to be about it.

use crate::pattern;

/// Comparisons that are understood. `…IfExists` and `ForAnyValue:…` are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equals,
    NotEquals,
    Like,
    NotLike,
}

impl Operator {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "StringEquals" | "ArnEquals" | "Bool" => Self::Equals,
            "StringNotEquals" | "ArnNotEquals" => Self::NotEquals,
            "StringLike" | "ArnLike" => Self::Like,
            "StringNotLike" | "ArnNotLike" => Self::NotLike,
            _ => return None,
        })
    }
}

/// One comparison: a key of the call's context with values, of which one must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub(crate) operator: Operator,
    /// As in `aws:SourceArn`; upper and lower case are the same.
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// The context keys that calls have; a policy that names another is refused.
pub(crate) const KEYS: [&str; 6] = [
    "aws:PrincipalArn",
    "aws:PrincipalAccount",
    "aws:SourceArn",
    "aws:SourceAccount",
    "lambda:FunctionUrlAuthType",
    "lambda:InvokedViaFunctionUrl",
];

impl Condition {
    /// Whether it holds for a call of which `value_of` tells. As in IAM, a key that the call does not have fits a
    /// negated comparison only.
    pub(crate) fn holds(&self, value_of: impl Fn(&str) -> Option<String>) -> bool {
        let Some(value) = value_of(&self.key) else {
            return matches!(self.operator, Operator::NotEquals | Operator::NotLike);
        };
        let equal = || self.values.contains(&value);
        let like = || {
            self.values
                .iter()
                .any(|pattern| pattern::matches(pattern, &value))
        };
        match self.operator {
            Operator::Equals => equal(),
            Operator::NotEquals => !equal(),
            Operator::Like => like(),
            Operator::NotLike => !like(),
        }
    }
}
