//! Credentials of a role for somebody who asks for them, for a time.
//!
//! They are in the store, so that they outlive the server as they do on AWS, and end with their time, or with the role.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use squall_store::{Batch, Scan, Store};

use super::{Kept, Roles};
use crate::decide::{Denial, Principal, Request, trusts};
use crate::keys::{Caller, KeyError, now_ms};
use crate::record::{self, RoleSession, SESSIONS};
use crate::secret::AccessKey;

/// The most at once. Those that are over do not count.
const SESSIONS_MAX: usize = 10_000;

/// Those that may still count, by the id of their key.
pub(super) struct Live(HashMap<String, Arc<RoleSession>>);

/// What somebody gets.
#[derive(Clone)]
pub struct Credentials {
    /// Signs.
    pub key: AccessKey,
    /// Comes with each request, beside the signature.
    pub token: String,
    /// Milliseconds since 1970.
    pub until_ms: i64,
    /// `AROA…:NAME`.
    pub user_id: String,
    /// Who signs with them.
    pub principal: Principal,
}

/// Somebody who has credentials of a role, as long as they count.
#[derive(Clone)]
pub struct Assumed {
    /// What signs.
    pub secret: String,
    /// What must come with each request.
    pub token: String,
    /// Who it is, and what that may do.
    pub caller: Caller,
    /// `AROA…:NAME`.
    pub user_id: String,
}

/// Why somebody gets none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AssumeError {
    /// The role does not trust them, or they may not ask.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Longer than the role lets them be.
    #[error("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")]
    TooLong,
    /// The bound on sessions.
    #[error("there are {SESSIONS_MAX} sessions of roles already; try again when some have ended")]
    TooMany,
    /// The store, or the system.
    #[error("{0}")]
    Platform(String),
}

impl From<KeyError> for AssumeError {
    fn from(error: KeyError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl Live {
    /// Reads those that are not over.
    pub(super) async fn read(store: &Arc<dyn Store>) -> Result<Self, KeyError> {
        let now = now_ms();
        let mut live = HashMap::new();
        for (id, entry) in store.scan(Scan::prefix(SESSIONS, Bytes::new())).await? {
            let session: RoleSession = record::decode(&id, &entry.value).map_err(KeyError::Platform)?;
            if session.until_ms > now {
                live.insert(String::from_utf8_lossy(&id).into_owned(), Arc::new(session));
            } else {
                store.commit(Batch::buffered().delete(SESSIONS, id)).await?;
            }
        }
        Ok(Self(live))
    }
}

impl Roles {
    /// Whether a role trusts a caller; a role that is not there is denied in the same words.
    ///
    /// # Errors
    /// Why not.
    pub fn trusts(&self, role_arn: &str, caller: &Caller, request: Request<'_>) -> Result<(), Denial> {
        match self.find(role_arn) {
            Some(kept) if self.arn(&kept.role) == role_arn => {
                trusts(caller.principal(), caller.policies(), &kept.trust, request)
            }
            _ => Err(Denial::nothing_allows(caller.principal(), request)),
        }
    }

    /// Gives somebody credentials of a role. That they may have them, [`Roles::trusts`] has said.
    ///
    /// # Errors
    /// [`AssumeError::TooLong`], [`AssumeError::TooMany`].
    pub async fn assume(&self, role_arn: &str, name: &str, secs: u32) -> Result<Credentials, AssumeError> {
        let absent = || AssumeError::Platform(format!("the role `{role_arn}` went away just now"));
        let kept = self.find(role_arn).ok_or_else(absent)?;
        if secs > kept.role.session_secs_max {
            return Err(AssumeError::TooLong);
        }
        let key = AccessKey::temporary().map_err(KeyError::from)?;
        let session = RoleSession {
            secret: key.secret.clone(),
            token: AccessKey::token().map_err(KeyError::from)?,
            role: kept.role.name.clone(),
            role_id: kept.role.id.clone(),
            name: name.to_owned(),
            until_ms: now_ms().saturating_add(i64::from(secs) * 1000),
        };
        let _changing = self.0.changing.lock().await;
        let mut batch = Batch::durable();
        for over in self.sweep_sessions() {
            batch = batch.delete(SESSIONS, over.into_bytes());
        }
        if self.live_count() >= SESSIONS_MAX {
            return Err(AssumeError::TooMany);
        }
        let value = record::encode(&session).map_err(AssumeError::Platform)?;
        let batch = batch.put(SESSIONS, key.id.clone().into_bytes(), value);
        self.0.store.commit(batch).await.map_err(KeyError::from)?;
        let given = Credentials {
            token: session.token.clone(),
            until_ms: session.until_ms,
            user_id: user_id(&session),
            principal: self.principal(&session),
            key: key.clone(),
        };
        let mut live = self.0.live.write().unwrap_or_else(PoisonError::into_inner);
        live.0.insert(key.id, Arc::new(session));
        Ok(given)
    }

    /// Who has the credentials of a key's id, as long as they count and their role is there.
    pub fn assumed(&self, id: &str) -> Option<Assumed> {
        let session = {
            let live = self.0.live.read().unwrap_or_else(PoisonError::into_inner);
            live.0.get(id).cloned()?
        };
        let kept: Arc<Kept> = self.find(&session.role)?;
        if session.until_ms <= now_ms() || kept.role.id != session.role_id {
            return None;
        }
        Some(Assumed {
            secret: session.secret.clone(),
            token: session.token.clone(),
            caller: Caller::with_policies(self.principal(&session), self.policies_of(&kept)),
            user_id: user_id(&session),
        })
    }

    fn principal(&self, session: &RoleSession) -> Principal {
        let account = &self.0.account;
        Principal {
            arn: format!(
                "arn:aws:sts::{account}:assumed-role/{}/{}",
                session.role, session.name
            ),
            account: account.clone(),
        }
    }

    fn live_count(&self) -> usize {
        self.0.live.read().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    /// Forgets those that are over; their ids.
    fn sweep_sessions(&self) -> Vec<String> {
        let now = now_ms();
        let mut live = self.0.live.write().unwrap_or_else(PoisonError::into_inner);
        let over = live.0.iter().filter(|(_, session)| session.until_ms <= now);
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        for id in &over {
            live.0.remove(id);
        }
        over
    }
}

fn user_id(session: &RoleSession) -> String {
    format!("{}:{}", session.role_id, session.name)
}
