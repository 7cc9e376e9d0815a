//! Roles: what the instances of a function may do, by the name at the end of the function's role ARN.
//!
//! A role that nobody has made allows nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use squall_store::{Batch, Scan, Store};

use crate::grant::policies_of;
use crate::keys::{KeyError, is_name, now_ms};
use crate::policy::Policy;
use crate::record::{self, ROLES, RoleRecord};

/// The most roles.
const ROLES_MAX: usize = 10_000;

/// A role as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleView {
    /// Its name.
    pub name: String,
    /// Its grants, by their words.
    pub allow: Vec<String>,
    /// Its policy document beside the grants.
    pub policy: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

/// All roles. A cheap handle.
#[derive(Clone)]
pub struct Roles(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    known: RwLock<BTreeMap<String, (RoleRecord, Vec<Policy>)>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Roles {
    /// Reads the roles.
    ///
    /// # Errors
    /// [`KeyError::Platform`] when the store fails or holds something damaged.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, KeyError> {
        let mut known = BTreeMap::new();
        for (name, entry) in store.scan(Scan::prefix(ROLES, Bytes::new())).await? {
            let record: RoleRecord = record::decode(&name, &entry.value).map_err(KeyError::Platform)?;
            let policies = policies_of(&record.allow, record.policy.as_deref())?;
            known.insert(record.name.clone(), (record, policies));
        }
        Ok(Self(Arc::new(Inner {
            store,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
        })))
    }

    /// What a role allows, by its ARN or name; nothing where nobody has made it.
    pub fn policies(&self, role: &str) -> Vec<Policy> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(name_of(role));
        found.map_or_else(Vec::new, |(_, policies)| policies.clone())
    }

    /// Makes a role, or says anew what it allows.
    ///
    /// # Errors
    /// What is wrong with the name, the grants or the policy.
    pub async fn put(&self, name: &str, allow: Vec<String>, policy: Option<String>) -> Result<(), KeyError> {
        if !is_name(name) {
            return Err(KeyError::RoleName(name.to_owned()));
        }
        let policies = policies_of(&allow, policy.as_deref())?;
        let _changing = self.0.changing.lock().await;
        let created_ms = {
            let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= ROLES_MAX && !known.contains_key(name) {
                return Err(KeyError::TooMany);
            }
            known
                .get(name)
                .map_or_else(now_ms, |(record, _)| record.created_ms)
        };
        let record = RoleRecord {
            name: name.to_owned(),
            allow,
            policy,
            created_ms,
        };
        let value = record::encode(&record).map_err(KeyError::Platform)?;
        let batch = Batch::durable().put(ROLES, name.as_bytes().to_vec(), value);
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), (record, policies));
        Ok(())
    }

    /// Takes a role away: what has it may do nothing from now on.
    ///
    /// # Errors
    /// [`KeyError::RoleAbsent`].
    pub async fn remove(&self, name: &str) -> Result<(), KeyError> {
        let _changing = self.0.changing.lock().await;
        let is_there = {
            let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
            known.contains_key(name)
        };
        if !is_there {
            return Err(KeyError::RoleAbsent(name.to_owned()));
        }
        let batch = Batch::durable().delete(ROLES, name.as_bytes().to_vec());
        self.0.store.commit(batch).await?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
        Ok(())
    }

    /// All roles, by name.
    pub fn list(&self) -> Vec<RoleView> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let views = known.values().map(|(record, _)| RoleView {
            name: record.name.clone(),
            allow: record.allow.clone(),
            policy: record.policy.clone(),
            created_ms: record.created_ms,
        });
        views.collect()
    }
}

/// The name in `arn:aws:iam::ACCOUNT:role/PATH/NAME`, or the name itself.
pub fn name_of(role: &str) -> &str {
    role.rsplit(['/', ':']).next().unwrap_or(role)
}

#[cfg(test)]
mod tests {
    use squall_store::Memory;

    use super::*;

    #[tokio::test]
    async fn roles_outlive_the_process_and_are_found_by_arn() {
        let store = Arc::new(Memory::default());
        let roles = Roles::open(store.clone()).await.expect("roles");
        let allow = vec!["invoke:shop-*".to_owned(), "read-only".to_owned()];
        roles.put("shop", allow.clone(), None).await.expect("made");
        roles.put("gone", allow.clone(), None).await.expect("made");
        roles.remove("gone").await.expect("removed");
        assert!(matches!(roles.remove("gone").await, Err(KeyError::RoleAbsent(_))));
        assert!(matches!(
            roles.put("a/b", allow.clone(), None).await,
            Err(KeyError::RoleName(_))
        ));
        let unknown = roles.put("shop", vec!["all".to_owned()], None).await;
        assert!(matches!(unknown, Err(KeyError::Grant(_))));

        let roles = Roles::open(store).await.expect("roles");
        assert_eq!(
            roles
                .policies("arn:aws:iam::000000000000:role/service-role/shop")
                .len(),
            2
        );
        assert!(roles.policies("arn:aws:iam::000000000000:role/gone").is_empty());
        let listed: Vec<(String, Vec<String>)> = roles
            .list()
            .into_iter()
            .map(|role| (role.name, role.allow))
            .collect();
        assert_eq!(listed, [("shop".to_owned(), allow)]);
    }
}
