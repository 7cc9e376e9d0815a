//! Why nothing was done with a role or a policy, in IAM's words.

use squall_store::StoreError;

use crate::keys::KeyError;
use crate::policy::PolicyError;
use crate::secret::SecretError;

/// Why nothing was done. Each has a name in IAM's API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There is no role or policy of that name.
    #[error("{0}")]
    Absent(String),
    /// There is one already.
    #[error("{0}")]
    Exists(String),
    /// Something still hangs on it.
    #[error("{0}")]
    InUse(String),
    /// A bound was reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// A document that is not a policy.
    #[error("{0}")]
    Malformed(#[from] PolicyError),
    /// Another value that may not be.
    #[error("{0}")]
    Invalid(String),
    /// What nobody may change.
    #[error("{0}")]
    Unmodifiable(String),
    /// The store, or the system.
    #[error("{0}")]
    Platform(String),
}

impl RoleError {
    pub(super) fn no_role(name: &str) -> Self {
        Self::Absent(format!("The role with name {name} cannot be found."))
    }

    pub(super) fn no_policy(arn: &str) -> Self {
        Self::Absent(format!("Policy {arn} does not exist or is not attachable."))
    }
}

impl From<StoreError> for RoleError {
    fn from(error: StoreError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl From<SecretError> for RoleError {
    fn from(error: SecretError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl From<KeyError> for RoleError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Platform(details) => Self::Platform(details),
            KeyError::Policy(error) => Self::Malformed(error),
            KeyError::RoleAbsent(name) => Self::no_role(&name),
            other => Self::Invalid(other.to_string()),
        }
    }
}
