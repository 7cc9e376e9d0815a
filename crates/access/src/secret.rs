//! Making keys: an id that anybody may know, and a secret that signs.

/// Base32's letters: what AWS's own key ids are made of.
const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A key that was just made. Its secret is shown once.
#[derive(Clone)]
pub struct AccessKey {
    /// Public: names the key. 20 letters.
    pub id: String,
    /// Secret: signs. 40 letters.
    pub secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The system gave no random bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not get random bytes from the system: {0}")]
pub struct SecretError(String);

impl AccessKey {
    /// A key that nobody has had before.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, SecretError> {
        Self::with_prefix("SQUA")
    }

    /// The same for an instance. AWS's own ids of keys that need a token begin so, which tools look at.
    pub(crate) fn temporary() -> Result<Self, SecretError> {
        Self::with_prefix("ASIA")
    }

    /// What comes with a temporary key.
    pub(crate) fn token() -> Result<String, SecretError> {
        random_text(64, SECRET_LETTERS)
    }

    fn with_prefix(prefix: &str) -> Result<Self, SecretError> {
        Ok(Self {
            id: format!("{prefix}{}", random_text(16, ID_LETTERS)?),
            secret: random_text(40, SECRET_LETTERS)?,
        })
    }
}

/// An id of a role or policy, as AWS's: what begins with `AROA` is a role.
pub(crate) fn entity_id(prefix: &str) -> Result<String, SecretError> {
    Ok(format!("{prefix}{}", random_text(17, ID_LETTERS)?))
}

/// `letters` must have a power of two of them, so that every letter is as likely as any other.
fn random_text<const N: usize>(length: usize, letters: &[u8; N]) -> Result<String, SecretError> {
    const { assert!(N.is_power_of_two() && N <= 256) };
    let mut bytes = vec![0_u8; length];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| SecretError(error.to_string()))?;
    if got != length {
        return Err(SecretError(format!("it gave {got} instead of {length}")));
    }
    Ok(bytes
        .iter()
        .map(|byte| char::from(letters[usize::from(*byte) % N]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_form_of_awss_and_do_not_show_their_secret() {
        let (one, other) = (
            AccessKey::random().expect("a key"),
            AccessKey::random().expect("a key"),
        );
        assert_eq!((one.id.len(), one.secret.len()), (20, 40));
        assert_ne!((&one.id, &one.secret), (&other.id, &other.secret));
        assert!(!format!("{one:?}").contains(&one.secret));
    }
}
