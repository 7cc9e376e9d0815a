//! Roles: what the instances of a function may do, by the name at the end of the function's role ARN.
//!
//! There is one model of them, which `squall roles` and IAM's API both change: grants, policies of the role's own, and
//! policies that it shares with others ([`shared`]), of which AWS's own ([`managed`]) are some. A role that nobody has
//! made allows nothing.

mod assume;
mod change;
mod error;
mod managed;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use serde_json::json;
use squall_store::{Batch, Scan, Store};

pub use self::assume::{AssumeError, Assumed, Credentials};
pub use self::change::NewRole;
pub use self::error::RoleError;
pub use self::shared::{NewPolicy, PolicyView};

use self::assume::Live;
use crate::decide::{Denial, Principal, Request, trusts};
use crate::grant::{Grant, policies_of};
use crate::keys::{KeyError, is_name, now_ms};
use crate::policy::Policy;
use crate::record::{self, POLICIES, ROLES, Role, SharedPolicy};
use crate::secret::entity_id;

/// The most roles.
const ROLES_MAX: usize = 10_000;
/// The role that is there from the start, for functions whose makers do not care. It allows nothing until somebody
/// says what.
pub const DEVELOPMENT_ROLE: &str = "squall";
/// The name among a role's own policies of the one that `squall roles put --policy` gave.
pub const SQUALL_POLICY: &str = "squall";
/// The name among a role's own policies under which IAM's API shows its grants.
const GRANTS_POLICY: &str = "squall-grants";
const NO_ACCOUNT: &str = "000000000000";
/// The services that may have the credentials of a role whose makers did not say who may.
const SERVICES: [&str; 3] = [
    "lambda.amazonaws.com",
    "scheduler.amazonaws.com",
    "events.amazonaws.com",
];

/// All roles, and the policies that they share. A cheap handle.
#[derive(Clone)]
pub struct Roles(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    account: String,
    known: RwLock<Known>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    live: RwLock<Live>,
}

#[derive(Default)]
struct Known {
    roles: BTreeMap<String, Arc<Kept>>,
    /// By ARN. The read document is that of the default version.
    shared: BTreeMap<String, Arc<(SharedPolicy, Policy)>>,
}

/// A role with its documents read.
struct Kept {
    role: Role,
    /// What its grants and its own policies say.
    own: Vec<Policy>,
    trust: Policy,
}

impl Roles {
    /// Reads the roles of an account, and makes the one that is always there.
    ///
    /// # Errors
    /// [`KeyError::Platform`] when the store fails or holds something damaged.
    pub async fn open(store: Arc<dyn Store>, account: &str) -> Result<Self, KeyError> {
        let mut known = Known::default();
        for (name, entry) in store.scan(Scan::prefix(POLICIES, Bytes::new())).await? {
            let policy: SharedPolicy = record::decode(&name, &entry.value).map_err(KeyError::Platform)?;
            known.insert_policy(account, policy).map_err(KeyError::Platform)?;
        }
        let mut upgraded = Vec::new();
        for (name, entry) in store.scan(Scan::prefix(ROLES, Bytes::new())).await? {
            let mut role: Role = record::decode(&name, &entry.value).map_err(KeyError::Platform)?;
            if role.id.is_empty() {
                role.id = entity_id("AROA")?;
                let policy = role.policy.take();
                role.inline
                    .extend(policy.map(|document| (SQUALL_POLICY.to_owned(), document)));
                upgraded.push(role.clone());
            }
            let kept = Kept::read(role, account).map_err(|error| KeyError::Platform(error.to_string()))?;
            known.roles.insert(kept.role.name.clone(), Arc::new(kept));
        }
        let live = Live::read(&store).await?;
        let roles = Self(Arc::new(Inner {
            store,
            account: account.to_owned(),
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
            live: RwLock::new(live),
        }));
        for role in upgraded {
            roles.keep(role).await?;
        }
        if roles.find(DEVELOPMENT_ROLE).is_none() {
            roles.put(DEVELOPMENT_ROLE, Vec::new(), None).await?;
        }
        Ok(roles)
    }

    /// What a function may do that has a role, by the role's ARN or name: nothing where nobody has made the role, or
    /// it is not for functions.
    pub fn policies_of_function(&self, role: &str, function_arn: &str) -> Vec<Policy> {
        match self.lends(role, "lambda.amazonaws.com", Some(function_arn)) {
            Ok(kept) => self.policies_of(&kept),
            Err(_) => Vec::new(),
        }
    }

    /// Whether a service may have a role's credentials, for what is named by `source`; its ARN where it may.
    ///
    /// # Errors
    /// Why not; `None` where there is no such role.
    pub fn lend(&self, role: &str, service: &str, source: Option<&str>) -> Result<String, Option<Denial>> {
        let kept = self.lends(role, service, source)?;
        Ok(self.arn(&kept.role))
    }

    fn lends(&self, role: &str, service: &str, source: Option<&str>) -> Result<Arc<Kept>, Option<Denial>> {
        let kept = self.find(role).ok_or(None)?;
        let arn = self.arn(&kept.role);
        let mut context = vec![("aws:SourceAccount", self.0.account.as_str())];
        context.extend(source.map(|source| ("aws:SourceArn", source)));
        let request = Request {
            action: "sts:AssumeRole",
            resource: &arn,
            account: &self.0.account,
            context: &context,
        };
        // A service is of no account.
        let principal = Principal {
            arn: service.to_owned(),
            account: String::new(),
        };
        trusts(&principal, None, &kept.trust, request).map_err(Some)?;
        Ok(kept)
    }

    /// What a role allows, by its ARN or name; nothing where nobody has made it.
    pub fn policies(&self, role: &str) -> Vec<Policy> {
        self.find(role)
            .map_or_else(Vec::new, |kept| self.policies_of(&kept))
    }

    fn policies_of(&self, kept: &Kept) -> Vec<Policy> {
        let known = self.known();
        let shared = kept.role.attached.iter();
        let shared = shared.filter_map(|arn| known.policy(arn));
        kept.own.iter().cloned().chain(shared).collect()
    }

    /// Makes a role, or says anew what it allows: instead of all that it allowed before, also by IAM's API.
    ///
    /// # Errors
    /// What is wrong with the name, the grants or the policy.
    pub async fn put(&self, name: &str, allow: Vec<String>, policy: Option<String>) -> Result<(), KeyError> {
        if !is_name(name) {
            return Err(KeyError::RoleName(name.to_owned()));
        }
        policies_of(&allow, policy.as_deref())?;
        let _changing = self.0.changing.lock().await;
        let mut role = match self.find(name) {
            Some(kept) => kept.role.clone(),
            None if self.known().roles.len() >= ROLES_MAX => return Err(KeyError::TooMany),
            None => Role::new(name)?,
        };
        role.allow = allow;
        role.attached.clear();
        role.inline = policy
            .map(|document| (SQUALL_POLICY.to_owned(), document))
            .into_iter()
            .collect();
        self.keep(role).await
    }

    /// Takes a role away: what has it may do nothing from now on.
    ///
    /// # Errors
    /// [`KeyError::RoleAbsent`].
    pub async fn remove(&self, name: &str) -> Result<(), KeyError> {
        let _changing = self.0.changing.lock().await;
        if !self.known().roles.contains_key(name) {
            return Err(KeyError::RoleAbsent(name.to_owned()));
        }
        self.forget(name).await
    }

    async fn forget(&self, name: &str) -> Result<(), KeyError> {
        let batch = Batch::durable().delete(ROLES, name.as_bytes().to_vec());
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.roles.remove(name);
        Ok(())
    }

    /// All roles, by name.
    pub fn list(&self) -> Vec<Role> {
        let known = self.known();
        known.roles.values().map(|kept| kept.role.clone()).collect()
    }

    /// The role of an ARN or name.
    pub fn get(&self, role: &str) -> Option<Role> {
        self.find(role).map(|kept| kept.role.clone())
    }

    /// A role's ARN.
    pub fn arn(&self, role: &Role) -> String {
        format!("arn:aws:iam::{}:role{}{}", self.0.account, role.path, role.name)
    }

    /// Who may have a role's credentials, as a document.
    pub fn trust_document(&self, role: &Role) -> String {
        trust_document(role, &self.0.account)
    }

    /// Whether a role allows any of what is about keys and roles: whoever may do that may do everything.
    pub fn has_powers(&self, role: &str) -> bool {
        Grant::allows_powers(&self.policies(role), &self.0.account)
    }

    fn find(&self, role: &str) -> Option<Arc<Kept>> {
        // An ARN of another account names a role that is not here, whatever its name. That of no account is what
        // clients write who do not know ours.
        let account = role.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3));
        if account.is_some_and(|account| account != self.0.account && account != NO_ACCOUNT) {
            return None;
        }
        self.known().roles.get(name_of(role)).cloned()
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a role, and then lets it count. For who holds the lock on changes.
    async fn keep(&self, role: Role) -> Result<(), KeyError> {
        let kept = Kept::read(role, &self.0.account)?;
        let value = record::encode(&kept.role).map_err(KeyError::Platform)?;
        let batch = Batch::durable().put(ROLES, kept.role.name.as_bytes().to_vec(), value);
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.roles.insert(kept.role.name.clone(), Arc::new(kept));
        Ok(())
    }
}

impl Role {
    fn new(name: &str) -> Result<Self, KeyError> {
        Ok(Self {
            name: name.to_owned(),
            id: entity_id("AROA")?,
            path: "/".to_owned(),
            description: None,
            trust: None,
            session_secs_max: 3600,
            allow: Vec::new(),
            policy: None,
            inline: BTreeMap::new(),
            attached: Default::default(),
            tags: BTreeMap::new(),
            created_ms: now_ms(),
        })
    }
}

impl Kept {
    fn read(role: Role, account: &str) -> Result<Self, KeyError> {
        let mut own = policies_of(&role.allow, None)?;
        for document in role.inline.values() {
            own.push(Policy::of_role(document)?);
        }
        let trust = Policy::of_trust(&trust_document(&role, account))?;
        Ok(Self { role, own, trust })
    }
}

fn trust_document(role: &Role, account: &str) -> String {
    let standard = || {
        let principal = json!({ "Service": SERVICES, "AWS": format!("arn:aws:iam::{account}:root") });
        let statement = json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
        json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
    };
    role.trust.clone().unwrap_or_else(standard)
}

/// The name in `arn:aws:iam::ACCOUNT:role/PATH/NAME`, or the name itself.
pub fn name_of(role: &str) -> &str {
    role.rsplit(['/', ':']).next().unwrap_or(role)
}
