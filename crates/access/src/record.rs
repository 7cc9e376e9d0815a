//! What the store holds of keys and roles, and its format.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::Space;

/// Named keys, by name.
pub(crate) const KEYS: Space = Space("access-keys");
/// Roles, by name.
pub(crate) const ROLES: Space = Space("roles");

const FORMAT: u32 = 1;

/// A key id with its secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Secret {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A named key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) name: String,
    /// The account that its holder is of: ours, or another that only resources' policies let in.
    pub(crate) account: String,
    /// The grants, as they were written.
    pub(crate) allow: Vec<String>,
    /// A document of its own, beside the grants.
    pub(crate) policy: Option<String>,
    pub(crate) current: Secret,
    /// What was rotated out, and until when it is still taken, in milliseconds since 1970.
    pub(crate) previous: Option<(Secret, i64)>,
    pub(crate) created_ms: i64,
    pub(crate) rotated_ms: Option<i64>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleRecord {
    pub(crate) name: String,
    pub(crate) allow: Vec<String>,
    pub(crate) policy: Option<String>,
    pub(crate) created_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    record: T,
}

/// A record as it is stored.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, String> {
    let versioned = Versioned {
        format: FORMAT,
        record,
    };
    serde_json::to_vec(&versioned).map_err(|error| format!("could not write a record: {error}"))
}

/// A record as it was stored; refuses formats of later versions by name.
pub(crate) fn decode<T: DeserializeOwned>(name: &[u8], bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let name = String::from_utf8_lossy(name);
    let damaged = |error| format!("the record of `{name}` is damaged: {error}");
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format != FORMAT {
        return Err(format!(
            "the record of `{name}` has format {format}; this version reads {FORMAT}"
        ));
    }
    let versioned: Versioned<T> = serde_json::from_slice(bytes).map_err(damaged)?;
    Ok(versioned.record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../fixtures/key-1.json");

    #[test]
    fn the_first_format_is_read_for_ever() {
        let record: KeyRecord = decode(b"ci", FIXTURE).expect("a record");
        assert_eq!(
            (record.name.as_str(), record.account.as_str()),
            ("ci", "000000000000")
        );
        assert_eq!(record.allow, ["deploy", "invoke:shop-*"]);
        assert_eq!(record.current.id, "SQUAAAAAAAAAAAAAAAAA");
        let (previous, until_ms) = record.previous.expect("a previous key");
        assert_eq!((previous.secret.as_str(), until_ms), ("old", 1_700_000_000_000));
    }

    #[test]
    fn the_first_format_of_roles_is_read_for_ever() {
        let fixture = include_bytes!("../fixtures/role-1.json");
        let record: RoleRecord = decode(b"shop", fixture).expect("a record");
        assert_eq!(
            (record.name.as_str(), record.created_ms),
            ("shop", 1_690_000_000_000)
        );
        assert_eq!((record.allow.len(), record.policy), (1, None));
    }

    #[test]
    fn damage_and_later_formats_are_told_apart() {
        let later = decode::<KeyRecord>(b"ci", br#"{"format": 2, "record": 7}"#).err();
        assert!(later.is_some_and(|text| text.contains("has format 2")));
        let damaged = decode::<KeyRecord>(b"ci", br#"{"format": 1, "record": 7}"#).err();
        assert!(damaged.is_some_and(|text| text.contains("is damaged")));
    }
}
