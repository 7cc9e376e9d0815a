//! What the store holds of keys, roles, policies and their sessions, and the formats of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::Space;

/// Named keys, by name.
pub(crate) const KEYS: Space = Space("access-keys");
/// Roles, by name.
pub(crate) const ROLES: Space = Space("roles");

/// Policies that roles share, by name.
pub(crate) const POLICIES: Space = Space("policies");
/// Credentials that somebody has of a role, by their key's id.
pub(crate) const SESSIONS: Space = Space("role-sessions");

/// What is stored, in the format that this version writes. It reads all that were before.
pub(crate) trait Stored: Serialize + DeserializeOwned {
    const FORMAT: u32;
}

impl Stored for KeyRecord {
    const FORMAT: u32 = 1;
}

impl Stored for Role {
    /// 1 had no more than `allow` and `policy`.
    const FORMAT: u32 = 2;
}

impl Stored for SharedPolicy {
    const FORMAT: u32 = 1;
}

impl Stored for RoleSession {
    const FORMAT: u32 = 1;
}

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Names it among all roles.
    pub name: String,
    /// `AROA…`, which no other role ever has.
    #[serde(default)]
    pub id: String,
    /// `/`, or what its ARN has before its name.
    #[serde(default = "root_path")]
    pub path: String,
    /// What people say that it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who may have its credentials; `None` for the platform's services and those of the account who may assume it.
    #[serde(default)]
    pub trust: Option<String>,
    /// The longest that somebody may have its credentials for, in seconds.
    #[serde(default = "hour")]
    pub session_secs_max: u32,
    /// Grants, by their words.
    pub allow: Vec<String>,
    /// Where the first format has the policy that is now among `inline`.
    #[serde(default, skip_serializing)]
    pub(crate) policy: Option<String>,
    /// Policies of its own, by name.
    #[serde(default)]
    pub inline: BTreeMap<String, String>,
    /// The ARNs of policies that it shares with others.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// Labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

fn root_path() -> String {
    "/".to_owned()
}

fn hour() -> u32 {
    3600
}

/// A policy that roles share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPolicy {
    /// Names it among all that people made.
    pub name: String,
    /// `ANPA…`, which no other ever has.
    pub id: String,
    /// `/`, or what its ARN has before its name.
    pub path: String,
    /// What people say that it is for.
    pub description: Option<String>,
    /// Its documents, by number, each with the milliseconds since 1970 at which it came.
    pub versions: BTreeMap<u32, (String, i64)>,
    /// The one that counts.
    pub default_version: u32,
    /// What the next one is called.
    pub next_version: u32,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// The same, of the last change of its documents.
    pub updated_ms: i64,
}

/// Credentials that somebody has of a role.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleSession {
    pub(crate) secret: String,
    pub(crate) token: String,
    /// The name of the role.
    pub(crate) role: String,
    /// The role's id: one that was made anew under the same name is another.
    pub(crate) role_id: String,
    /// What who asked for them calls them.
    pub(crate) name: String,
    /// Milliseconds since 1970.
    pub(crate) until_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    record: T,
}

/// A record as it is stored.
pub(crate) fn encode<T: Stored>(record: &T) -> Result<Vec<u8>, String> {
    let versioned = Versioned {
        format: T::FORMAT,
        record,
    };
    serde_json::to_vec(&versioned).map_err(|error| format!("could not write a record: {error}"))
}

/// A record as it was stored; refuses formats of later versions by name.
pub(crate) fn decode<T: Stored>(name: &[u8], bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let name = String::from_utf8_lossy(name);
    let damaged = |error| format!("the record of `{name}` is damaged: {error}");
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format == 0 || format > T::FORMAT {
        return Err(format!(
            "the record of `{name}` has format {format}; this version reads {}",
            T::FORMAT
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
        let record: Role = decode(b"shop", fixture).expect("a record");
        assert_eq!(
            (record.name.as_str(), record.created_ms),
            ("shop", 1_690_000_000_000)
        );
        assert_eq!((record.allow.len(), record.policy), (1, None));
        assert_eq!((record.path.as_str(), record.session_secs_max), ("/", 3600));
    }

    #[test]
    fn the_second_format_of_roles_is_written_as_it_was() {
        let fixture = include_bytes!("../fixtures/role-2.json");
        let record: Role = decode(b"shop", fixture).expect("a record");
        assert_eq!(record.inline["own"], "{\"Statement\":[]}");
        assert!(record.attached.contains("arn:aws:iam::aws:policy/ReadOnlyAccess"));
        let written = String::from_utf8(encode(&record).expect("written")).expect("text");
        assert_eq!(written, String::from_utf8_lossy(fixture).trim_end());
    }

    #[test]
    fn the_first_formats_of_policies_and_sessions_are_written_as_they_were() {
        let fixture = include_bytes!("../fixtures/policy-1.json");
        let record: SharedPolicy = decode(b"own", fixture).expect("a record");
        assert_eq!(record.versions[&record.default_version].1, 1_690_000_000_001);
        let written = String::from_utf8(encode(&record).expect("written")).expect("text");
        assert_eq!(written, String::from_utf8_lossy(fixture).trim_end());
        let fixture = include_bytes!("../fixtures/role-session-1.json");
        let record: RoleSession = decode(b"ASIA", fixture).expect("a record");
        assert_eq!((record.role.as_str(), record.name.as_str()), ("shop", "ada"));
        let written = String::from_utf8(encode(&record).expect("written")).expect("text");
        assert_eq!(written, String::from_utf8_lossy(fixture).trim_end());
    }

    #[test]
    fn damage_and_later_formats_are_told_apart() {
        let later = decode::<KeyRecord>(b"ci", br#"{"format": 2, "record": 7}"#).err();
        assert!(later.is_some_and(|text| text.contains("has format 2")));
        let damaged = decode::<KeyRecord>(b"ci", br#"{"format": 1, "record": 7}"#).err();
        assert!(damaged.is_some_and(|text| text.contains("is damaged")));
    }
}
