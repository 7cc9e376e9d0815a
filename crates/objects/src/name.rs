//! What buckets and keys may be called.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.

use std::net::Ipv4Addr;

use crate::error::ObjectsError;

/// The most bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
const PREFIXES_REFUSED: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const SUFFIXES_REFUSED: [&str; 3] = ["-s3alias", "--ol-s3", "--x-s3"];

/// Whether a bucket may have this name.
///
/// # Errors
/// [`ObjectsError::BucketName`].
pub fn check_bucket_name(name: &str) -> Result<(), ObjectsError> {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let fits = (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|&byte| is_edge(byte) || byte == b'-' || byte == b'.')
        && bytes.first().is_some_and(|&byte| is_edge(byte))
        && bytes.last().is_some_and(|&byte| is_edge(byte))
        && !name.contains("..")
        && name.parse::<Ipv4Addr>().is_err()
        && !PREFIXES_REFUSED.iter().any(|prefix| name.starts_with(prefix))
        && !SUFFIXES_REFUSED.iter().any(|suffix| name.ends_with(suffix));
    match fits {
        true => Ok(()),
        false => Err(ObjectsError::BucketName),
    }
}

/// Whether an object may have this key. A key never becomes a path: `..` is a key like any other.
pub(crate) fn check_key(key: &str) -> Result<(), ObjectsError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(ObjectsError::KeyTooLong);
    }
    if key.is_empty() {
        return Err(ObjectsError::Invalid("A key has at least one byte".to_owned()));
    }
    // What separates a key from an upload's id in the store; XML cannot say it either.
    if key.contains('\0') {
        return Err(ObjectsError::Invalid(
            "A key may not have the character NUL".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_named_as_on_aws() {
        let long = "a".repeat(63);
        for name in ["abc", "a-b.c", "0x9", long.as_str(), "my.bucket.name"] {
            assert_eq!(check_bucket_name(name), Ok(()), "{name}");
        }
        let longer = "a".repeat(64);
        for name in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            ".abc",
            "a..b",
            "10.0.0.1",
            "xn--abc",
            "abc-s3alias",
            "abc/",
            "b\u{fc}cher",
            longer.as_str(),
        ] {
            assert_eq!(check_bucket_name(name), Err(ObjectsError::BucketName), "{name}");
        }
    }

    #[test]
    fn keys_are_texts_and_not_paths() {
        let long = "k".repeat(1024);
        for key in [
            "../../etc/passwd",
            "/",
            "a//b",
            "\u{1f600}",
            "\u{7f}",
            long.as_str(),
        ] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        assert_eq!(check_key(&"k".repeat(1025)), Err(ObjectsError::KeyTooLong));
        assert!(matches!(check_key("a\0b"), Err(ObjectsError::Invalid(_))));
        assert!(matches!(check_key(""), Err(ObjectsError::Invalid(_))));
    }
}
