//! The keys that may sign, in memory and in the store.
//!
//! Asked once or twice per request, so all of them are in memory; changed seldom, one change at a time, and written
//! before it counts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use squall_store::{Batch, Scan, Store, StoreError};

use crate::decide::{Denial, Principal, Request, decide};
use crate::grant::{GrantError, policies_of};
use crate::policy::{Policy, PolicyError};
use crate::record::{self, KEYS, KeyRecord, Secret};
use crate::secret::{AccessKey, SecretError};

/// The most named keys.
const KEYS_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 64;
/// The longest that a rotated key may still be taken.
const GRACE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The installation's own key, which may do everything. It is not kept here.
#[derive(Clone)]
pub struct RootKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The account that it is the root of: twelve digits.
    pub account: String,
}

/// What a new key may do.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Grants, by their words.
    pub allow: Vec<String>,
    /// A policy document beside them.
    pub policy: Option<String>,
    /// Another account than the installation's: its holder then needs the policy of what is called, too.
    pub account: Option<String>,
}

/// A key as people see it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its name.
    pub name: String,
    /// The id that signs now.
    pub id: String,
    /// Who its holder is.
    pub principal: Principal,
    /// Its grants, by their words.
    pub allow: Vec<String>,
    /// Its policy document beside the grants.
    pub policy: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// The same, of the last rotation.
    pub rotated_ms: Option<i64>,
}

/// Why nothing was done with a key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// A name that no key may have.
    #[error("`{0}` is not a name for a key: use 1 to {NAME_BYTES_MAX} letters, digits and `-_.+=,@`")]
    Name(String),
    /// A name that no role may have.
    #[error("`{0}` is not a name for a role: use 1 to {NAME_BYTES_MAX} letters, digits and `-_.+=,@`")]
    RoleName(String),
    /// There is no role of that name.
    #[error("there is no role `{0}`")]
    RoleAbsent(String),
    /// An account is twelve digits.
    #[error("`{0}` is not an account: write its twelve digits")]
    Account(String),
    /// A key that may do nothing is of no use.
    #[error("the key `{0}` would allow nothing; give it a grant or a policy")]
    AllowsNothing(String),
    /// As it says.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// As it says.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is one of that name.
    #[error("there is a key `{0}` already; rotate it, or revoke it first")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no key `{0}`")]
    Absent(String),
    /// The bound on keys.
    #[error("there are {KEYS_MAX} keys already; revoke some first")]
    TooMany,
    /// Longer than may be.
    #[error("a rotated key may be taken for seven days at most, not for {0:?}")]
    Grace(Duration),
    /// The store, or the system.
    #[error("{0}")]
    Platform(String),
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl From<SecretError> for KeyError {
    fn from(error: SecretError) -> Self {
        Self::Platform(error.to_string())
    }
}

/// Who has signed a request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Held>);

#[derive(Debug)]
struct Held {
    principal: Principal,
    /// The name of the key; `None` for the installation's own, and for instances.
    name: Option<String>,
    /// `None` for the installation's own, which may do everything.
    policies: Option<Vec<Policy>>,
}

impl Caller {
    /// Who has credentials of a role, and may do what its policies allow.
    pub fn with_policies(principal: Principal, policies: Vec<Policy>) -> Self {
        Self(Arc::new(Held {
            principal,
            name: None,
            policies: Some(policies),
        }))
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The name of its key; `None` for the installation's own, and for instances.
    pub fn key_name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Its policies; `None` of who may do everything.
    pub fn policies(&self) -> Option<&[Policy]> {
        self.0.policies.as_deref()
    }

    /// Whether no policy is asked about this caller.
    pub fn is_root(&self) -> bool {
        self.0.policies.is_none()
    }

    /// Whether it may do that; `resource` is the policy of what is called, where it has one.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, request: Request<'_>, resource: Option<&Policy>) -> Result<(), Denial> {
        match &self.0.policies {
            None => Ok(()),
            Some(policies) => decide(&self.0.principal, policies, resource, request),
        }
    }
}

/// All keys. A cheap handle.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    root: RootKey,
    known: RwLock<Known>,
    /// One change at a time: what was checked still holds when it is written.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<String, Arc<KeyRecord>>,
    by_id: HashMap<String, Signing>,
}

/// What an id stands for.
#[derive(Clone)]
struct Signing {
    secret: String,
    /// Milliseconds since 1970; `None` for ever.
    until_ms: Option<i64>,
    caller: Caller,
}

impl Keys {
    /// Reads the keys. `root` comes from its own file.
    ///
    /// # Errors
    /// [`KeyError::Platform`] when the store fails or holds something damaged.
    pub async fn open(store: Arc<dyn Store>, root: RootKey) -> Result<Self, KeyError> {
        let mut known = Known::default();
        let owner = Caller(Arc::new(Held {
            principal: Principal {
                arn: format!("arn:aws:iam::{}:root", root.account),
                account: root.account.clone(),
            },
            name: None,
            policies: None,
        }));
        let signing = Signing {
            secret: root.secret.clone(),
            until_ms: None,
            caller: owner,
        };
        known.by_id.insert(root.id.clone(), signing);
        for (name, entry) in store.scan(Scan::prefix(KEYS, Bytes::new())).await? {
            let record = record::decode(&name, &entry.value).map_err(KeyError::Platform)?;
            known.insert(record)?;
        }
        Ok(Self(Arc::new(Inner {
            store,
            root,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
        })))
    }

    /// The secret of a key and who holds it; `None` for an id that may not sign.
    pub fn signing(&self, id: &str) -> Option<(String, Caller)> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let signing = known.by_id.get(id)?;
        let is_over = signing.until_ms.is_some_and(|until_ms| until_ms <= now_ms());
        (!is_over).then(|| (signing.secret.clone(), signing.caller.clone()))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// What is wrong with the name, the grants or the policy; [`KeyError::Exists`].
    pub async fn create(&self, name: &str, new: NewKey) -> Result<AccessKey, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let account = new.account.unwrap_or_else(|| self.0.root.account.clone());
        if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(KeyError::Account(account));
        }
        if new.allow.is_empty() && new.policy.is_none() {
            return Err(KeyError::AllowsNothing(name.to_owned()));
        }
        let key = AccessKey::random()?;
        let record = KeyRecord {
            name: name.to_owned(),
            account,
            allow: new.allow,
            policy: new.policy,
            current: Secret {
                id: key.id.clone(),
                secret: key.secret.clone(),
            },
            previous: None,
            created_ms: now_ms(),
            rotated_ms: None,
        };
        policies_of(&record.allow, record.policy.as_deref())?;
        let _changing = self.0.changing.lock().await;
        let there = self.records();
        if there.iter().any(|known| known.name == name) {
            return Err(KeyError::Exists(name.to_owned()));
        }
        if there.len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        self.keep(record).await?;
        Ok(key)
    }

    /// Gives a key a new id and secret; the old ones are taken for `grace` longer.
    ///
    /// # Errors
    /// [`KeyError::Absent`], [`KeyError::Grace`].
    pub async fn rotate(&self, name: &str, grace: Duration) -> Result<AccessKey, KeyError> {
        if grace > GRACE_MAX {
            return Err(KeyError::Grace(grace));
        }
        let key = AccessKey::random()?;
        let _changing = self.0.changing.lock().await;
        let mut record = KeyRecord::clone(&*self.record(name)?);
        let old = std::mem::replace(
            &mut record.current,
            Secret {
                id: key.id.clone(),
                secret: key.secret.clone(),
            },
        );
        let now = now_ms();
        let until_ms = now.saturating_add(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
        record.previous = (!grace.is_zero()).then_some((old, until_ms));
        record.rotated_ms = Some(now);
        self.keep(record).await?;
        Ok(key)
    }

    /// Takes a key away. What it has signed is refused from now on.
    ///
    /// # Errors
    /// [`KeyError::Absent`].
    pub async fn revoke(&self, name: &str) -> Result<(), KeyError> {
        let _changing = self.0.changing.lock().await;
        self.record(name)?;
        let batch = Batch::durable().delete(KEYS, name.as_bytes().to_vec());
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
        Ok(())
    }

    /// All named keys, by name.
    pub fn list(&self) -> Vec<KeyView> {
        let mut views: Vec<KeyView> = self.records().iter().map(|record| view(record)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn records(&self) -> Vec<Arc<KeyRecord>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.values().cloned().collect()
    }

    fn record(&self, name: &str) -> Result<Arc<KeyRecord>, KeyError> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.by_name.get(name).cloned();
        found.ok_or_else(|| KeyError::Absent(name.to_owned()))
    }

    async fn keep(&self, record: KeyRecord) -> Result<(), KeyError> {
        let value = record::encode(&record).map_err(KeyError::Platform)?;
        let batch = Batch::durable().put(KEYS, record.name.as_bytes().to_vec(), value);
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&record.name);
        known.insert(record)
    }
}

impl Known {
    fn insert(&mut self, record: KeyRecord) -> Result<(), KeyError> {
        let caller = Caller(Arc::new(Held {
            principal: principal(&record),
            name: Some(record.name.clone()),
            policies: Some(policies_of(&record.allow, record.policy.as_deref())?),
        }));
        let mut sign = |secret: &Secret, until_ms| {
            let signing = Signing {
                secret: secret.secret.clone(),
                until_ms,
                caller: caller.clone(),
            };
            self.by_id.insert(secret.id.clone(), signing);
        };
        sign(&record.current, None);
        if let Some((previous, until_ms)) = &record.previous {
            sign(previous, Some(*until_ms));
        }
        self.by_name.insert(record.name.clone(), Arc::new(record));
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        let Some(record) = self.by_name.remove(name) else {
            return;
        };
        self.by_id.remove(&record.current.id);
        if let Some((previous, _)) = &record.previous {
            self.by_id.remove(&previous.id);
        }
    }
}

/// IAM's names of users and roles.
pub(crate) fn is_name(name: &str) -> bool {
    let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || "-_.+=,@".contains(letter);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_of_names)
}

fn principal(record: &KeyRecord) -> Principal {
    Principal {
        arn: format!("arn:aws:iam::{}:user/{}", record.account, record.name),
        account: record.account.clone(),
    }
}

fn view(record: &KeyRecord) -> KeyView {
    KeyView {
        name: record.name.clone(),
        id: record.current.id.clone(),
        principal: principal(record),
        allow: record.allow.clone(),
        policy: record.policy.clone(),
        created_ms: record.created_ms,
        rotated_ms: record.rotated_ms,
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
