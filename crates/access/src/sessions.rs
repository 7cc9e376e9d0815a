//! Credentials of running instances: made with an instance, and gone with it.
//!
//! They are in memory only. An instance does not outlive its server, so neither need they; and what leaks out of a
//! function is worth nothing once that instance has ended.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use squall_types::FunctionName;

use crate::secret::{AccessKey, SecretError};

/// The credentials of one instance.
#[derive(Clone)]
pub struct Session {
    /// Signs.
    pub secret: String,
    /// Comes with each request, beside the signature.
    pub token: String,
    /// Whose instance it is.
    pub function: FunctionName,
}

type Known = Arc<RwLock<HashMap<String, Arc<Session>>>>;

/// The credentials of all instances. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Known);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(known.keys()).finish()
    }
}

/// Credentials that were given to an instance. They are taken back when this is dropped.
pub struct Issued {
    key: AccessKey,
    token: String,
    known: Known,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("id", &self.key.id)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Makes credentials for an instance of `function`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn issue(&self, function: &FunctionName) -> Result<Issued, SecretError> {
        let key = AccessKey::temporary()?;
        let session = Session {
            secret: key.secret.clone(),
            token: AccessKey::token()?,
            function: function.clone(),
        };
        let token = session.token.clone();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(key.id.clone(), Arc::new(session));
        Ok(Issued {
            key,
            token,
            known: Arc::clone(&self.0),
        })
    }

    /// The session of a key's id, as long as its instance is there.
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }
}

impl Issued {
    /// The environment variables that SDKs read.
    pub fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", &self.key.id),
            ("AWS_SECRET_ACCESS_KEY", &self.key.secret),
            ("AWS_SESSION_TOKEN", &self.token),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.clone()));
        owned.into()
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&self.key.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_end_with_what_holds_them() {
        let sessions = Sessions::default();
        let function: FunctionName = "shop".parse().expect("a name");
        let (issued, other) = (sessions.issue(&function), sessions.issue(&function));
        let (issued, other) = (issued.expect("credentials"), other.expect("credentials"));
        let [id, secret, token] = <[_; 3]>::try_from(issued.variables()).expect("three variables");
        let session = sessions.get(&id.1).expect("a session");
        assert_eq!((&session.secret, &session.token), (&secret.1, &token.1));
        assert_eq!(session.function, function);
        assert_ne!(issued.variables(), other.variables());
        drop(issued);
        assert!(sessions.get(&id.1).is_none());
        assert!(sessions.get(&other.key.id).is_some());
    }
}
