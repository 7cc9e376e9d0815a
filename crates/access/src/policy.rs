//! Policies, as IAM writes them.
//!
//! What is not understood is refused when a policy is given, by name, so that no policy means less than it says.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

mod condition;
mod document;

pub(crate) use condition::Condition;

use crate::pattern;

/// The longest document, in bytes: Lambda's limit for a function's policy.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 20_480;

/// What a statement does to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Allows it, unless something denies it.
    Allow,
    /// Denies it, whatever allows it.
    Deny,
}

/// Whom a statement of a resource's policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// Everybody, also strangers.
    Anyone,
    /// Accounts (`111122223333`), and ARNs of users and roles.
    Aws(Vec<String>),
    /// Services of the platform, such as `s3.amazonaws.com`.
    Service(Vec<String>),
    /// Several kinds of them; nobody where it is empty.
    AnyOf(Vec<Principals>),
}

/// Patterns, or all but what they describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Patterns {
    Only(Vec<String>),
    AllBut(Vec<String>),
}

impl Patterns {
    fn have(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Only(patterns) => patterns.iter().any(|pattern| matches(pattern)),
            Self::AllBut(patterns) => !patterns.iter().any(|pattern| matches(pattern)),
        }
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Names it within its policy.
    pub sid: Option<String>,
    /// Allow or deny.
    pub effect: Effect,
    /// Whom it is about; `None` in the policy of a key or role, which is about its holder.
    pub principals: Option<Principals>,
    pub(crate) actions: Patterns,
    pub(crate) resources: Patterns,
    pub(crate) conditions: Vec<Condition>,
}

impl Statement {
    /// Whether it is about this action on this resource, conditions aside.
    pub(crate) fn is_about(&self, action: &str, resource: &str) -> bool {
        self.actions
            .have(|pattern| pattern::matches_any_case(pattern, action))
            && self.resources.have(|pattern| pattern::matches(pattern, resource))
    }
}

impl Statement {
    /// Whether any action that `pattern` describes may be among its own; wildcards on either side count.
    pub(crate) fn actions_overlap(&self, pattern: &str) -> bool {
        match &self.actions {
            Patterns::Only(own) => own.iter().any(|one| {
                pattern::matches_any_case(one, pattern) || pattern::matches_any_case(pattern, one)
            }),
            Patterns::AllBut(own) => !own.iter().any(|one| pattern::matches_any_case(one, pattern)),
        }
    }
}

/// A document: some statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order in which they were written.
    pub statements: Vec<Statement>,
}

/// Why a text is not a policy that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a policy: {0}")]
pub struct PolicyError(String);

impl PolicyError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Policy {
    /// Reads a document of a key or role: its statements name no principal.
    ///
    /// # Errors
    /// What is wrong with it, or what of it is not supported.
    pub fn of_identity(text: &str) -> Result<Self, PolicyError> {
        document::read(text, document::Kind::Identity)
    }

    /// Reads a document of a role, as IAM's API takes it: a condition that is not understood is kept. A statement with
    /// one allows nothing, and denies what it is about.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_role(text: &str) -> Result<Self, PolicyError> {
        document::read(text, document::Kind::Role)
    }

    /// Reads a document that says who may have a role's credentials.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_trust(text: &str) -> Result<Self, PolicyError> {
        document::read(text, document::Kind::Trust)
    }

    /// Reads a document of a resource: each statement names whom it is about.
    ///
    /// # Errors
    /// What is wrong with it, or what of it is not supported.
    pub fn of_resource(text: &str) -> Result<Self, PolicyError> {
        document::read(text, document::Kind::Resource)
    }
}
