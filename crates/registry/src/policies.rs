//! Who else may call a function: the statements of its policy, one policy per qualifier.
//!
//! The registry keeps statements as they were written and compares their ids; what they mean is its caller's question.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use squall_types::FunctionRef;

use crate::RegistryError;
use crate::event_invoke::{exists, key};
use crate::functions::new_revision_id;
use crate::registry::Registry;

type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// The longest policy of one qualifier, in bytes of JSON, as on Lambda.
const POLICY_BYTES_MAX: usize = 20_480;

/// The policy of one qualifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionPolicy {
    /// Another one after each change.
    pub revision_id: String,
    /// By their ids, in the order in which they came.
    pub statements: Vec<(String, Value)>,
}

impl FunctionPolicy {
    /// The document, as IAM writes it.
    pub fn document(&self) -> Value {
        let statements: Vec<&Value> = self.statements.iter().map(|(_, statement)| statement).collect();
        serde_json::json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements })
    }
}

impl Registry {
    /// The policy of a qualifier; `None` where it has no statement. In memory.
    pub fn policy(&self, target: &FunctionRef) -> Option<FunctionPolicy> {
        let held = self.functions().get(&target.name).cloned()?;
        held.record.policies.get(&key(target.qualifier.as_ref())).cloned()
    }

    /// Adds a statement.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for a function or qualifier that is not there; a conflict for an id that is;
    /// [`RegistryError::PolicyTooLong`]; [`RegistryError::PreconditionFailed`] where `revision` is not the policy's.
    pub async fn add_permission(
        &self,
        target: &FunctionRef,
        id: String,
        statement: Value,
        revision: Option<String>,
    ) -> Result<()> {
        let qualifier = target.qualifier.clone();
        let arn = self.home().function_arn(&target.name, target.qualifier.as_ref());
        self.change(&target.name, move |edit| {
            if !exists(edit, qualifier.as_ref()) {
                return Err(RegistryError::NotFound(format!("Function not found: {arn}")));
            }
            let policies = &mut edit.record.policies;
            let before = policies.remove(&key(qualifier.as_ref()));
            check_revision(before.as_ref(), revision.as_deref())?;
            let mut statements = before.map_or_else(Vec::new, |policy| policy.statements);
            if statements.iter().any(|(known, _)| *known == id) {
                return Err(RegistryError::Conflict(format!(
                    "The statement id ({id}) provided already exists. Please provide a new statement id, \
                     or remove the existing statement."
                )));
            }
            statements.push((id, statement));
            let policy = FunctionPolicy {
                revision_id: new_revision_id(),
                statements,
            };
            let bytes = policy.document().to_string().len();
            if bytes > POLICY_BYTES_MAX {
                return Err(RegistryError::PolicyTooLong(format!(
                    "The final policy size ({bytes}) is bigger than the limit ({POLICY_BYTES_MAX})."
                )));
            }
            policies.insert(key(qualifier.as_ref()), policy);
            Ok(())
        })
        .await
    }

    /// Takes a statement away.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::PreconditionFailed`] where `revision` is not the policy's.
    pub async fn remove_permission(
        &self,
        target: &FunctionRef,
        id: &str,
        revision: Option<String>,
    ) -> Result<()> {
        let (qualifier, id) = (key(target.qualifier.as_ref()), id.to_owned());
        self.change(&target.name, move |edit| {
            let absent =
                || RegistryError::NotFound(format!("Statement {id} is not found in resource policy."));
            let policy = edit.record.policies.get_mut(&qualifier).ok_or_else(absent)?;
            check_revision(Some(policy), revision.as_deref())?;
            let before = policy.statements.len();
            policy.statements.retain(|(known, _)| *known != id);
            if policy.statements.len() == before {
                return Err(absent());
            }
            policy.revision_id = new_revision_id();
            if policy.statements.is_empty() {
                edit.record.policies.remove(&qualifier);
            }
            Ok(())
        })
        .await
    }
}

fn check_revision(policy: Option<&FunctionPolicy>, given: Option<&str>) -> Result<()> {
    let current = policy.map(|policy| policy.revision_id.as_str());
    match given {
        Some(given) if current != Some(given) => Err(RegistryError::PreconditionFailed),
        _ => Ok(()),
    }
}
