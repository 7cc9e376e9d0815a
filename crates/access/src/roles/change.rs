//! Changing roles as IAM does, with its bounds.

use std::collections::BTreeMap;

use super::error::RoleError;
use super::{GRANTS_POLICY, ROLES_MAX, Roles};
use crate::grant::grants_document;
use crate::keys::is_name;
use crate::policy::Policy;
use crate::record::Role;

/// The most bytes of a role's own policies together, of who may have it, and of one shared policy; without white
/// space, as IAM counts them.
const INLINE_BYTES_MAX: usize = 10_240;
const TRUST_BYTES_MAX: usize = 4_096;
pub(super) const SHARED_BYTES_MAX: usize = 6_144;
/// The most policies that a role shares.
const ATTACHED_MAX: usize = 20;
const TAGS_MAX: usize = 50;
const PATH_BYTES_MAX: usize = 512;
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// How long somebody may have a role's credentials: an hour at least, twelve at most.
const SESSION_SECS: std::ops::RangeInclusive<u32> = 3600..=43_200;

/// A role that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// `/` where nothing is said.
    pub path: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who may have its credentials.
    pub trust: String,
    /// The longest that they may have them for.
    pub session_secs_max: Option<u32>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
}

impl Roles {
    /// Makes a role that allows nothing yet.
    ///
    /// # Errors
    /// What is wrong with it; [`RoleError::Exists`].
    pub async fn create(&self, new: NewRole) -> Result<Role, RoleError> {
        check_name("roleName", &new.name)?;
        let mut role = Role::new(&new.name)?;
        role.path = checked_path(new.path)?;
        role.set_description(new.description)?;
        role.set_trust(new.trust)?;
        if let Some(secs) = new.session_secs_max {
            role.set_session_secs_max(secs)?;
        }
        role.tag(new.tags)?;
        let _changing = self.0.changing.lock().await;
        {
            let known = self.known();
            if known.roles.contains_key(&role.name) {
                return Err(RoleError::Exists(format!(
                    "Role with name {} already exists.",
                    role.name
                )));
            }
            if known.roles.len() >= ROLES_MAX {
                return Err(RoleError::LimitExceeded(format!(
                    "Cannot exceed quota for RolesPerAccount: {ROLES_MAX}"
                )));
            }
        }
        self.keep(role.clone()).await?;
        Ok(role)
    }

    /// Changes a role; nothing where the change is refused.
    ///
    /// # Errors
    /// Those of the change; [`RoleError::Absent`].
    pub async fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Role) -> Result<T, RoleError>,
    ) -> Result<T, RoleError> {
        let _changing = self.0.changing.lock().await;
        let mut role = self.known_role(name)?;
        let done = change(&mut role)?;
        self.keep(role).await?;
        Ok(done)
    }

    /// Takes a role away that has no policies any more.
    ///
    /// # Errors
    /// [`RoleError::Absent`], [`RoleError::InUse`].
    pub async fn delete(&self, name: &str) -> Result<(), RoleError> {
        let _changing = self.0.changing.lock().await;
        let role = self.known_role(name)?;
        if !role.attached.is_empty() {
            return Err(RoleError::InUse(
                "Cannot delete entity, must detach all policies first.".to_owned(),
            ));
        }
        if !role.inline.is_empty() || !role.allow.is_empty() {
            return Err(RoleError::InUse(
                "Cannot delete entity, must delete policies first.".to_owned(),
            ));
        }
        Ok(self.forget(name).await?)
    }

    /// Lets a role share a policy.
    ///
    /// # Errors
    /// [`RoleError::Absent`] of either; [`RoleError::LimitExceeded`].
    pub async fn attach(&self, name: &str, arn: &str) -> Result<(), RoleError> {
        let _changing = self.0.changing.lock().await;
        let mut role = self.known_role(name)?;
        if self.known().policy(arn).is_none() {
            return Err(RoleError::no_policy(arn));
        }
        role.attached.insert(arn.to_owned());
        if role.attached.len() > ATTACHED_MAX {
            return Err(RoleError::LimitExceeded(format!(
                "Cannot exceed quota for PoliciesPerRole: {ATTACHED_MAX}"
            )));
        }
        Ok(self.keep(role).await?)
    }

    fn known_role(&self, name: &str) -> Result<Role, RoleError> {
        let known = self.known();
        let kept = known.roles.get(name).ok_or_else(|| RoleError::no_role(name))?;
        Ok(kept.role.clone())
    }
}

impl Role {
    /// The policies of its own, by name; its grants are one of them.
    pub fn own_policies(&self) -> BTreeMap<String, String> {
        let mut policies = self.inline.clone();
        if !self.allow.is_empty() {
            policies.insert(GRANTS_POLICY.to_owned(), grants_document(&self.allow));
        }
        policies
    }

    /// Gives it a policy of its own, or another document to one that it has.
    ///
    /// # Errors
    /// What is wrong with the document; [`RoleError::LimitExceeded`].
    pub fn put_policy(&mut self, name: &str, document: String) -> Result<(), RoleError> {
        check_name("policyName", name)?;
        if name == GRANTS_POLICY {
            return Err(RoleError::Unmodifiable(format!(
                "The policy {GRANTS_POLICY} is what `squall roles put --allow` gave; use another name."
            )));
        }
        Policy::of_role(&document)?;
        self.inline.insert(name.to_owned(), document);
        let bytes: usize = self.inline.values().map(|document| weight(document)).sum();
        if bytes > INLINE_BYTES_MAX {
            return Err(RoleError::LimitExceeded(format!(
                "Maximum policy size of {INLINE_BYTES_MAX} bytes exceeded for role {}",
                self.name
            )));
        }
        Ok(())
    }

    /// Takes a policy of its own away; or its grants, by the name under which they are shown.
    ///
    /// # Errors
    /// [`RoleError::Absent`].
    pub fn delete_policy(&mut self, name: &str) -> Result<(), RoleError> {
        if name == GRANTS_POLICY && !self.allow.is_empty() {
            self.allow.clear();
            return Ok(());
        }
        match self.inline.remove(name) {
            Some(_) => Ok(()),
            None => Err(RoleError::Absent(format!(
                "The role policy with name {name} cannot be found."
            ))),
        }
    }

    /// Lets it share a policy no longer.
    ///
    /// # Errors
    /// [`RoleError::Absent`].
    pub fn detach(&mut self, arn: &str) -> Result<(), RoleError> {
        match self.attached.remove(arn) {
            true => Ok(()),
            false => Err(RoleError::Absent(format!("Policy {arn} was not found."))),
        }
    }

    /// Says who may have its credentials.
    ///
    /// # Errors
    /// What is wrong with the document; [`RoleError::LimitExceeded`].
    pub fn set_trust(&mut self, document: String) -> Result<(), RoleError> {
        if weight(&document) > TRUST_BYTES_MAX {
            return Err(RoleError::LimitExceeded(format!(
                "Cannot exceed quota for ACLSizePerRole: {TRUST_BYTES_MAX}"
            )));
        }
        Policy::of_trust(&document)?;
        self.trust = Some(document);
        Ok(())
    }

    /// Says what it is for.
    ///
    /// # Errors
    /// [`RoleError::Invalid`] where that is too long.
    pub fn set_description(&mut self, description: Option<String>) -> Result<(), RoleError> {
        check_description(description.as_deref())?;
        self.description = description;
        Ok(())
    }

    /// Says how long somebody may have its credentials.
    ///
    /// # Errors
    /// [`RoleError::Invalid`].
    pub fn set_session_secs_max(&mut self, secs: u32) -> Result<(), RoleError> {
        if !SESSION_SECS.contains(&secs) {
            let (least, most) = (SESSION_SECS.start(), SESSION_SECS.end());
            return Err(RoleError::Invalid(format!(
                "1 validation error detected: Value '{secs}' at 'maxSessionDuration' failed to satisfy constraint: \
                 Member must have value between {least} and {most}"
            )));
        }
        self.session_secs_max = secs;
        Ok(())
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

pub(super) fn check_name(member: &str, name: &str) -> Result<(), RoleError> {
    if is_name(name) {
        return Ok(());
    }
    Err(RoleError::Invalid(format!(
        "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: \
         Member must have 1 to 64 letters, digits and _+=,.@-"
    )))
}

/// `/`, or `/some/folder/`.
pub(super) fn checked_path(path: Option<String>) -> Result<String, RoleError> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let is_of_paths = |byte: u8| (0x21..0x7f).contains(&byte) && !b"*?$:".contains(&byte);
    let is_path = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path.bytes().all(is_of_paths);
    if is_path {
        return Ok(path);
    }
    Err(RoleError::Invalid(format!(
        "1 validation error detected: Value '{path}' at 'path' failed to satisfy constraint: \
         Member must begin and end with / and have at most {PATH_BYTES_MAX} printable characters"
    )))
}

pub(super) fn check_description(description: Option<&str>) -> Result<(), RoleError> {
    let chars = description.map_or(0, |text| text.chars().count());
    if chars <= DESCRIPTION_CHARS_MAX {
        return Ok(());
    }
    Err(RoleError::Invalid(format!(
        "1 validation error detected: Value at 'description' failed to satisfy constraint: \
         Member must have length less than or equal to {DESCRIPTION_CHARS_MAX}"
    )))
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), RoleError> {
    if tags.len() > TAGS_MAX {
        return Err(RoleError::LimitExceeded(format!(
            "The number of tags has reached the maximum limit of {TAGS_MAX}."
        )));
    }
    let fits = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.iter().all(fits) {
        return Ok(());
    }
    Err(RoleError::Invalid(
        "A tag's key must have 1 to 128 characters, and its value at most 256.".to_owned(),
    ))
}

/// The bytes of a document that are not white space.
pub(super) fn weight(document: &str) -> usize {
    document
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .count()
}
