//! AWS Signature Version 4, both ways: who signs ([`sign`], [`presign`]) and who verifies ([`Verifier`]) share one
//! canonical form, and `tests.rs` holds it against AWS's own signer.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

mod canonical;
mod sign;
mod verify;

pub use sign::{SignError, Signer, presign, sign};
pub use verify::{SecretOf, SignatureError, Signed, Verifier};

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type HmacSha256 = Hmac<Sha256>;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// The most derived keys that are kept: one per access key, day, region and service.
const DERIVED_KEYS_MAX: usize = 256;

/// What a signing key is derived for: `DATE/REGION/SERVICE/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    date: String,
    region: String,
    service: String,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    keyed(key, data).finalize().into_bytes().into()
}

fn keyed(key: &[u8], data: &[u8]) -> HmacSha256 {
    let mut mac = <HmacSha256 as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac
}

fn derive_key(secret: &str, scope: &Scope) -> [u8; 32] {
    let date = hmac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
    let region = hmac(&date, scope.region.as_bytes());
    let service = hmac(&region, scope.service.as_bytes());
    hmac(&service, TERMINATOR.as_bytes())
}

fn string_to_sign(timestamp: &str, scope: &Scope, canonical_request: &str) -> String {
    format!(
        "{ALGORITHM}\n{timestamp}\n{scope}\n{}",
        hex(&Sha256::digest(canonical_request.as_bytes()))
    )
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Derived keys, since four rounds of HMAC a call would be half of the cost of verifying.
#[derive(Debug, Default)]
struct DerivedKeys(Mutex<HashMap<(String, Scope), [u8; 32]>>);

impl DerivedKeys {
    fn get(&self, access_key_id: &str, secret: &str, scope: &Scope) -> [u8; 32] {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (access_key_id.to_owned(), scope.clone());
        if let Some(key) = kept.get(&name) {
            return *key;
        }
        if kept.len() >= DERIVED_KEYS_MAX {
            kept.clear();
        }
        let key = derive_key(secret, scope);
        kept.insert(name, key);
        key
    }
}
