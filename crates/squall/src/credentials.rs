//! The installation's access key: made at first start, kept in the data directory, readable by its owner only.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use squall_access::AccessKey;

const FILE: &str = "credentials.json";
const FORMAT: u32 = 1;
/// An access key, and the region that its holder signs for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    format: u32,
    /// Public: names the key.
    pub(crate) access_key_id: String,
    /// Secret: signs.
    pub(crate) secret_access_key: String,
    /// The region of the server.
    pub(crate) region: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Reads the key of a data directory; `None` when it has none yet.
///
/// # Errors
/// When the file cannot be read, or is not one of ours.
pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Option<Credentials>> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
    };
    let credentials: Credentials =
        serde_json::from_str(&text).with_context(|| format!("`{}` is not a key file", path.display()))?;
    if credentials.format != FORMAT {
        bail!(
            "`{}` has format {}; this version reads {FORMAT}",
            path.display(),
            credentials.format
        );
    }
    Ok(Some(credentials))
}

/// Reads the key of a data directory, and makes one first where there is none.
/// The region is the server's: when it was started with another one before, the file is written anew.
///
/// # Errors
/// When the file can be neither read nor made durable.
pub(crate) fn read_or_create(data_dir: &Path, region: &str) -> anyhow::Result<Credentials> {
    let credentials = match read(data_dir)? {
        Some(kept) if kept.region == region => return Ok(kept),
        Some(kept) => Credentials {
            region: region.to_owned(),
            ..kept
        },
        None => {
            let key = AccessKey::random()?;
            Credentials {
                format: FORMAT,
                access_key_id: key.id,
                secret_access_key: key.secret,
                region: region.to_owned(),
            }
        }
    };
    write(data_dir, &credentials)?;
    Ok(credentials)
}

/// Writes to a name of its own first and renames: a crash leaves the old key or the new one, whole.
fn write(data_dir: &Path, credentials: &Credentials) -> anyhow::Result<()> {
    let path = data_dir.join(FILE);
    let attempted = || format!("could not write `{}`", path.display());
    let fresh = data_dir.join(format!("{FILE}.new"));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(attempted),
        _ => {}
    }
    let text = serde_json::to_string_pretty(credentials)? + "\n";
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(attempted)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(attempted)?;
    fs::rename(&fresh, &path).with_context(attempted)?;
    fs::File::open(data_dir)
        .and_then(|dir| dir.sync_all())
        .with_context(attempted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let made = read_or_create(dir.path(), "us-east-1").expect("a key");
        let again = read_or_create(dir.path(), "us-east-1").expect("the same key");
        assert_eq!(made.secret_access_key, again.secret_access_key);
        assert_eq!((made.access_key_id.len(), made.secret_access_key.len()), (20, 40));
        let mode = fs::metadata(dir.path().join(FILE))
            .expect("the file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_region_keeps_the_key() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let made = read_or_create(dir.path(), "us-east-1").expect("a key");
        let moved = read_or_create(dir.path(), "eu-central-1").expect("the same key");
        assert_eq!(made.secret_access_key, moved.secret_access_key);
        assert_eq!(
            read(dir.path()).expect("readable").expect("there").region,
            "eu-central-1"
        );
    }

    #[test]
    fn a_foreign_file_is_refused_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join(FILE), "{}").expect("writable");
        assert!(read_or_create(dir.path(), "us-east-1").is_err());
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).expect("readable"), "{}");
    }
}
