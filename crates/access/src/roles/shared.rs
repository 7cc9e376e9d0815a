//! Policies that roles share: those that people make, in versions, and AWS's own.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use squall_store::Batch;

use super::change::{SHARED_BYTES_MAX, check_description, check_name, check_tags, checked_path, weight};
use super::error::RoleError;
use super::{Known, Roles, managed};
use crate::keys::now_ms;
use crate::policy::Policy;
use crate::record::{self, POLICIES, SharedPolicy};
use crate::secret::entity_id;

/// The most policies that people make.
const POLICIES_MAX: usize = 5_000;
/// The most documents of one.
const VERSIONS_MAX: usize = 5;

/// A policy that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewPolicy {
    /// Its name.
    pub name: String,
    /// `/` where nothing is said.
    pub path: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its document.
    pub document: String,
    /// Labels.
    pub tags: BTreeMap<String, String>,
}

/// A policy as people see it.
#[derive(Debug, Clone)]
pub struct PolicyView {
    /// Its ARN.
    pub arn: String,
    /// Itself.
    pub policy: SharedPolicy,
    /// How many roles share it.
    pub attachments: usize,
    /// Whether it is one of AWS's own.
    pub is_aws: bool,
}

impl Known {
    pub(super) fn insert_policy(&mut self, account: &str, policy: SharedPolicy) -> Result<(), String> {
        let document = policy.versions.get(&policy.default_version);
        let (document, _) =
            document.ok_or_else(|| format!("the policy `{}` has no document", policy.name))?;
        let read = Policy::of_role(document).map_err(|error| error.to_string())?;
        let arn = arn_of(account, &policy);
        self.shared.insert(arn, Arc::new((policy, read)));
        Ok(())
    }

    /// What a shared policy says.
    pub(super) fn policy(&self, arn: &str) -> Option<Policy> {
        let own = self.shared.get(arn).map(|shared| shared.1.clone());
        own.or_else(|| managed::policy(arn))
    }

    fn attachments(&self, arn: &str) -> usize {
        let shares = self
            .roles
            .values()
            .filter(|kept| kept.role.attached.contains(arn));
        shares.count()
    }
}

fn arn_of(account: &str, policy: &SharedPolicy) -> String {
    format!("arn:aws:iam::{account}:policy{}{}", policy.path, policy.name)
}

impl Roles {
    /// Makes a policy that roles can share.
    ///
    /// # Errors
    /// What is wrong with it; [`RoleError::Exists`].
    pub async fn create_policy(&self, new: NewPolicy) -> Result<PolicyView, RoleError> {
        check_name("policyName", &new.name)?;
        check_description(new.description.as_deref())?;
        check_tags(&new.tags)?;
        check_document(&new.document)?;
        let now = now_ms();
        let policy = SharedPolicy {
            path: checked_path(new.path)?,
            id: entity_id("ANPA")?,
            description: new.description,
            versions: BTreeMap::from([(1, (new.document, now))]),
            default_version: 1,
            next_version: 2,
            tags: new.tags,
            created_ms: now,
            updated_ms: now,
            name: new.name,
        };
        let _changing = self.0.changing.lock().await;
        {
            let known = self.known();
            let mut names = known.shared.values().map(|shared| &shared.0.name);
            // Also under another path: the name alone is its key.
            if names.any(|name| *name == policy.name) {
                return Err(RoleError::Exists(format!(
                    "A policy called {} already exists. Duplicate names are not allowed.",
                    policy.name
                )));
            }
            if known.shared.len() >= POLICIES_MAX {
                return Err(RoleError::LimitExceeded(format!(
                    "Cannot exceed quota for PoliciesPerAccount: {POLICIES_MAX}"
                )));
            }
        }
        self.keep_policy(policy.clone()).await?;
        Ok(self.view(policy))
    }

    /// A policy by its ARN.
    ///
    /// # Errors
    /// [`RoleError::Absent`].
    pub fn policy(&self, arn: &str) -> Result<PolicyView, RoleError> {
        let own = self.known().shared.get(arn).map(|shared| shared.0.clone());
        if let Some(policy) = own {
            return Ok(self.view(policy));
        }
        managed::view(arn, self.known().attachments(arn))
            .ok_or_else(|| RoleError::Absent(format!("Policy {arn} was not found.")))
    }

    /// All policies, by ARN: those that people made, and AWS's.
    pub fn list_policies(&self) -> Vec<PolicyView> {
        let own: Vec<SharedPolicy> = {
            let known = self.known();
            known.shared.values().map(|shared| shared.0.clone()).collect()
        };
        let own = own.into_iter().map(|policy| self.view(policy));
        let known = self.known();
        let aws = managed::arns().filter_map(|arn| managed::view(&arn, known.attachments(&arn)));
        let mut all: Vec<PolicyView> = aws.collect();
        drop(known);
        all.extend(own);
        all.sort_by(|a, b| a.arn.cmp(&b.arn));
        all
    }

    /// Changes a policy; nothing where the change is refused.
    ///
    /// # Errors
    /// Those of the change; [`RoleError::Absent`], and that AWS's policies are not ours to change.
    pub async fn change_policy<T>(
        &self,
        arn: &str,
        change: impl FnOnce(&mut SharedPolicy) -> Result<T, RoleError>,
    ) -> Result<T, RoleError> {
        let _changing = self.0.changing.lock().await;
        let mut policy = self.own_policy(arn)?;
        let done = change(&mut policy)?;
        self.keep_policy(policy).await?;
        Ok(done)
    }

    /// Takes a policy away that no role shares any more.
    ///
    /// # Errors
    /// [`RoleError::Absent`], [`RoleError::InUse`].
    pub async fn delete_policy(&self, arn: &str) -> Result<(), RoleError> {
        let _changing = self.0.changing.lock().await;
        let policy = self.own_policy(arn)?;
        if self.known().attachments(arn) > 0 {
            return Err(RoleError::InUse(
                "Cannot delete a policy attached to entities.".to_owned(),
            ));
        }
        if policy.versions.len() > 1 {
            return Err(RoleError::InUse(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                 versions. The default version is deleted with the policy."
                    .to_owned(),
            ));
        }
        let batch = Batch::durable().delete(POLICIES, policy.name.into_bytes());
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.shared.remove(arn);
        Ok(())
    }

    fn own_policy(&self, arn: &str) -> Result<SharedPolicy, RoleError> {
        let own = self.known().shared.get(arn).map(|shared| shared.0.clone());
        match own {
            Some(policy) => Ok(policy),
            None if managed::policy(arn).is_some() => Err(RoleError::Unmodifiable(format!(
                "Policy {arn} is AWS's own, and cannot be changed."
            ))),
            None => Err(RoleError::Absent(format!("Policy {arn} was not found."))),
        }
    }

    fn view(&self, policy: SharedPolicy) -> PolicyView {
        let arn = arn_of(&self.0.account, &policy);
        PolicyView {
            attachments: self.known().attachments(&arn),
            arn,
            policy,
            is_aws: false,
        }
    }

    async fn keep_policy(&self, policy: SharedPolicy) -> Result<(), RoleError> {
        let value = record::encode(&policy).map_err(RoleError::Platform)?;
        let batch = Batch::durable().put(POLICIES, policy.name.as_bytes().to_vec(), value);
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known
            .insert_policy(&self.0.account, policy)
            .map_err(RoleError::Platform)
    }
}

impl SharedPolicy {
    /// Gives it another document, which counts at once or later; its number.
    ///
    /// # Errors
    /// What is wrong with the document; [`RoleError::LimitExceeded`].
    pub fn add_version(&mut self, document: String, is_default: bool) -> Result<u32, RoleError> {
        check_document(&document)?;
        if self.versions.len() >= VERSIONS_MAX {
            return Err(RoleError::LimitExceeded(format!(
                "A managed policy can have up to {VERSIONS_MAX} versions. Before you create a new version, you must \
                 delete an existing version."
            )));
        }
        let number = self.next_version;
        self.next_version += 1;
        self.updated_ms = now_ms();
        self.versions.insert(number, (document, self.updated_ms));
        if is_default {
            self.default_version = number;
        }
        Ok(number)
    }

    /// Takes a document away that does not count.
    ///
    /// # Errors
    /// [`RoleError::Absent`], [`RoleError::InUse`].
    pub fn delete_version(&mut self, number: u32) -> Result<(), RoleError> {
        self.version(number)?;
        if number == self.default_version {
            return Err(RoleError::InUse(
                "Cannot delete the default version of a policy.".to_owned(),
            ));
        }
        self.versions.remove(&number);
        Ok(())
    }

    /// Lets another of its documents count.
    ///
    /// # Errors
    /// [`RoleError::Absent`].
    pub fn set_default_version(&mut self, number: u32) -> Result<(), RoleError> {
        self.version(number)?;
        self.default_version = number;
        self.updated_ms = now_ms();
        Ok(())
    }

    /// One of its documents, and the milliseconds since 1970 at which it came.
    ///
    /// # Errors
    /// [`RoleError::Absent`].
    pub fn version(&self, number: u32) -> Result<&(String, i64), RoleError> {
        let absent = || RoleError::Absent(format!("Policy version v{number} was not found."));
        self.versions.get(&number).ok_or_else(absent)
    }

    /// Labels it.
    ///
    /// # Errors
    /// [`RoleError::Invalid`], [`RoleError::LimitExceeded`].
    pub fn tag(&mut self, tags: BTreeMap<String, String>) -> Result<(), RoleError> {
        self.tags.extend(tags);
        check_tags(&self.tags)
    }
}

fn check_document(document: &str) -> Result<(), RoleError> {
    if weight(document) > SHARED_BYTES_MAX {
        return Err(RoleError::LimitExceeded(format!(
            "Cannot exceed quota for PolicySize: {SHARED_BYTES_MAX}"
        )));
    }
    Policy::of_role(document)?;
    Ok(())
}
