//! What is kept of buckets, objects, uploads and parts, and under which keys.
//!
//! | space | key | value |
//! |---|---|---|
//! | `s3-buckets` | the name | [`BucketRecord`] |
//! | `s3-objects` | the bucket's number, the object's key | [`ObjectRecord`] |
//! | `s3-uploads` | the bucket's number, the key, NUL, the upload's id | [`UploadRecord`] |
//! | `s3-parts` | the upload's id, the part's number | [`PartRecord`] |
//! | `s3-files` | a file's name | one byte: some record names it |
//! | `s3-small` | a small body's name | its bytes |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::Space;
use uuid::Uuid;

use crate::digest::{Algorithm, Checksum, ChecksumKind};
use crate::error::ObjectsError;
use crate::notification::Notifications;
use squall_store::envelope;

pub(crate) const BUCKETS: Space = Space("s3-buckets");
pub(crate) const OBJECTS: Space = Space("s3-objects");
pub(crate) const UPLOADS: Space = Space("s3-uploads");
pub(crate) const PARTS: Space = Space("s3-parts");
pub(crate) const FILES: Space = Space("s3-files");
pub(crate) const SMALL: Space = Space("s3-small");

const FORMAT: u8 = 1;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    /// What its objects' keys start with in the store.
    pub(crate) number: u32,
    /// Milliseconds since 1970.
    pub(crate) created_ms: i64,
    /// Whom it tells about changes.
    #[serde(default)]
    pub(crate) notifications: Notifications,
    /// Its own tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String)>,
}

/// What an uploader says about an object, beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Headers that are given back as they came: `content-type`, `cache-control` and the like, by their names in lower
    /// case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The user's own metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tags, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The file's name.
    pub(crate) file: Uuid,
    /// Its length.
    pub(crate) bytes: u64,
    /// It is in the store, and not in a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) small: bool,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its length.
    pub bytes: u64,
    /// Without quotation marks.
    pub etag: String,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// The checksum that its uploader named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// What its uploader said about it.
    pub attributes: Attributes,
    /// Where its bytes are: of a multipart object, its parts.
    pub(crate) segments: Vec<Segment>,
}

impl ObjectRecord {
    /// How many parts it was uploaded in; `None` where it was uploaded in one request.
    pub fn parts(&self) -> Option<usize> {
        self.etag.contains('-').then_some(self.segments.len())
    }

    /// Where a part begins and ends, counted from 1.
    pub fn part(&self, number: usize) -> Option<std::ops::Range<u64>> {
        let before = self.segments.get(..number.checked_sub(1)?)?;
        let start = before.iter().map(|segment| segment.bytes).sum();
        let segment = self.segments.get(number - 1);
        match segment {
            Some(segment) => Some(start..start + segment.bytes),
            // An empty object has one part, which is empty.
            None => (number == 1).then_some(0..0),
        }
    }
}

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// What the object will be said to be.
    pub attributes: Attributes,
    /// What its parts are checked by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// What the object's checksum will be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ChecksumKind>,
}

/// A part of a multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Without quotation marks: the MD5.
    pub etag: String,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// The checksum that its uploader named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Where its bytes are. A copied part may have several places, or none.
    pub(crate) segments: Vec<Segment>,
}

impl PartRecord {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

macro_rules! in_format_1 {
    ($($record:ty),*) => {$(
        impl $record {
            pub(crate) fn encode(&self) -> Bytes {
                envelope::write(FORMAT, self)
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ObjectsError> {
                envelope::read(FORMAT, bytes)
                    .map_err(|reason| ObjectsError::Platform(format!("a stored record is damaged: {reason}")))
            }
        }
    )*};
}
in_format_1!(BucketRecord, ObjectRecord, UploadRecord, PartRecord);

/// What the keys of a bucket's objects start with.
pub(crate) fn bucket_prefix(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Where an object is.
pub(crate) fn object_key(number: u32, key: &str) -> Bytes {
    [&bucket_prefix(number)[..], key.as_bytes()].concat().into()
}

/// Where an upload is: those of one key are in the order in which they began.
pub(crate) fn upload_key(number: u32, key: &str, id: &[u8; 16]) -> Bytes {
    [&bucket_prefix(number)[..], key.as_bytes(), &[0], id]
        .concat()
        .into()
}

/// Where a part is.
pub(crate) fn part_key(id: &[u8; 16], part: u16) -> Bytes {
    [&id[..], &part.to_be_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 1, as the first version wrote it.
    const BUCKET: &str = r#"{"number":7,"created_ms":1,"notifications":[{"id":"one","target":"arn:aws:sqs:r:a:q","kind":"Queue","events":["s3:ObjectCreated:*"],"filter":{"prefix":"in/","suffix":".png"}}],"tags":[["k","v"]]}"#;
    const OBJECT: &str = r#"{"bytes":3,"etag":"900150983cd24fb0d6963f7d28e17f72","modified_ms":2,"checksum":{"algorithm":"CRC32","kind":"FULL_OBJECT","value":"NSRBwg=="},"attributes":{"headers":{"content-type":"text/plain"},"metadata":{"a":"b"},"tags":[["k","v"]]},"segments":[{"file":"00000000-0000-4000-8000-000000000001","bytes":2},{"file":"00000000-0000-4000-8000-000000000002","bytes":1,"small":true}]}"#;
    const UPLOAD: &str = r#"{"created_ms":3,"attributes":{},"algorithm":"SHA256","kind":"COMPOSITE"}"#;
    const PART: &str = r#"{"etag":"900150983cd24fb0d6963f7d28e17f72","modified_ms":4,"segments":[]}"#;

    fn enveloped(text: &str) -> Vec<u8> {
        let mut record = vec![1];
        record.extend_from_slice(&crc32fast::hash(text.as_bytes()).to_le_bytes());
        record.extend_from_slice(text.as_bytes());
        record
    }

    #[test]
    fn reads_what_the_first_version_wrote() {
        let bucket = BucketRecord::decode(&enveloped(BUCKET)).expect("a bucket");
        assert_eq!(bucket.encode(), enveloped(BUCKET));
        assert_eq!(bucket.number, 7);
        let object = ObjectRecord::decode(&enveloped(OBJECT)).expect("an object");
        assert_eq!(object.encode(), enveloped(OBJECT));
        assert_eq!(
            (object.parts(), object.part(1), object.part(3)),
            (None, Some(0..2), None)
        );
        let upload = UploadRecord::decode(&enveloped(UPLOAD)).expect("an upload");
        assert_eq!(upload.encode(), enveloped(UPLOAD));
        let part = PartRecord::decode(&enveloped(PART)).expect("a part");
        assert_eq!((part.encode().to_vec(), part.bytes()), (enveloped(PART), 0));
    }

    #[test]
    fn refuses_what_is_damaged_or_of_another_format() {
        let mut record = enveloped(PART);
        record[20] ^= 1;
        assert!(matches!(
            PartRecord::decode(&record),
            Err(ObjectsError::Platform(_))
        ));
        let mut record = enveloped(PART);
        record[0] = 2;
        assert!(matches!(
            PartRecord::decode(&record),
            Err(ObjectsError::Platform(_))
        ));
        assert!(matches!(
            PartRecord::decode(&[1, 2]),
            Err(ObjectsError::Platform(_))
        ));
    }
}
