//! Listing: objects and uploads in the order of their keys' bytes, rolled up at a delimiter.
//!
//! A prefix that is rolled up is stepped over in the store, however many keys it has.

use bytes::Bytes;
use squall_store::{Entry, Scan, Space};

use crate::error::ObjectsError;
use crate::objects::Objects;
use crate::record::{OBJECTS, ObjectRecord, UPLOADS, UploadRecord, bucket_prefix};
use crate::uploads::UploadId;

/// Behind all keys that start with what is before it: no text has this byte.
const BEHIND: u8 = 0xff;
/// Records that are read at once; fewer where many may be stepped over.
const PAGE_RECORDS: usize = 1000;
const PAGE_RECORDS_ROLLED: usize = 100;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Listing<'a> {
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Keys are rolled up behind its first place after the prefix; empty where they are not.
    pub delimiter: &'a str,
    /// Only what comes behind this key, or rolled-up prefix.
    pub after: &'a str,
    /// The most entries.
    pub limit: usize,
}

/// A page of entries.
#[derive(Debug)]
pub struct Page<T> {
    /// In their order.
    pub entries: Vec<Listed<T>>,
    /// Whether more follow.
    pub has_more: bool,
}

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Listed<T> {
    /// One of its own.
    One(T),
    /// What several keys start with.
    Prefix(String),
}

/// An object with its key.
#[derive(Debug)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// The object.
    pub record: ObjectRecord,
}

/// An upload with its key.
#[derive(Debug)]
pub struct UploadEntry {
    /// The key.
    pub key: String,
    /// The upload's id.
    pub id: UploadId,
    /// The upload.
    pub record: UploadRecord,
}

impl Objects {
    /// Objects of a bucket.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub async fn list(&self, bucket: &str, listing: Listing<'_>) -> Result<Page<ObjectEntry>, ObjectsError> {
        let number = self.bucket(bucket)?.number;
        let entry = |key: &[u8], entry: &Entry| {
            let key = text(key);
            let record = ObjectRecord::decode(&entry.value)?;
            Ok((key.clone(), ObjectEntry { key, record }))
        };
        let after = listing.after.as_bytes().to_vec();
        self.roll_up(OBJECTS, number, &listing, after, entry).await
    }

    /// Uploads of a bucket. `after_id` says behind which upload of the key `after` to begin.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub async fn list_uploads(
        &self,
        bucket: &str,
        listing: Listing<'_>,
        after_id: Option<UploadId>,
    ) -> Result<Page<UploadEntry>, ObjectsError> {
        const SUFFIX_BYTES: usize = 17;
        let number = self.bucket(bucket)?.number;
        let entry = |place: &[u8], entry: &Entry| {
            let (key, id) = place.split_at(place.len().saturating_sub(SUFFIX_BYTES));
            let id = <[u8; 16]>::try_from(id.get(1..).unwrap_or_default());
            let id = id.map_err(|_| ObjectsError::Platform("the key of an upload is damaged".to_owned()))?;
            let (key, record) = (text(key), UploadRecord::decode(&entry.value)?);
            let id = UploadId(id);
            Ok((key.clone(), UploadEntry { key, id, record }))
        };
        let mut after = listing.after.as_bytes().to_vec();
        match after_id {
            Some(id) => after.extend([&[0], &id.0[..]].concat()),
            // Behind all uploads of that key.
            None if !after.is_empty() => after.extend([0, BEHIND]),
            None => {}
        }
        self.roll_up(UPLOADS, number, &listing, after, entry).await
    }

    async fn roll_up<T>(
        &self,
        space: Space,
        number: u32,
        listing: &Listing<'_>,
        mut after: Vec<u8>,
        entry: impl Fn(&[u8], &Entry) -> Result<(String, T), ObjectsError>,
    ) -> Result<Page<T>, ObjectsError> {
        let bucket = bucket_prefix(number);
        let place = |key: &[u8]| Bytes::from([&bucket[..], key].concat());
        let rolled = |key: &str| common_prefix(key, listing.prefix, listing.delimiter);
        if !listing.after.is_empty() && rolled(listing.after).as_deref() == Some(listing.after) {
            after = [listing.after.as_bytes(), &[BEHIND]].concat();
        }
        let page_records = match listing.delimiter.is_empty() {
            true => PAGE_RECORDS,
            false => PAGE_RECORDS_ROLLED,
        };
        let mut entries = Vec::new();
        'pages: loop {
            let wanted = (listing.limit + 1 - entries.len()).min(page_records);
            let mut scan = Scan::prefix(space, place(listing.prefix.as_bytes())).limit(wanted);
            if !after.is_empty() {
                scan = scan.after(place(&after));
            }
            let page = self.inner.store.scan(scan).await?;
            let is_last = page.len() < wanted;
            for (found, stored) in page {
                let (key, one) = entry(&found[bucket.len()..], &stored)?;
                if entries.len() == listing.limit {
                    return Ok(Page {
                        entries,
                        has_more: true,
                    });
                }
                if let Some(prefix) = rolled(&key) {
                    after = [prefix.as_bytes(), &[BEHIND]].concat();
                    entries.push(Listed::Prefix(prefix));
                    continue 'pages;
                }
                after = found[bucket.len()..].to_vec();
                entries.push(Listed::One(one));
            }
            if is_last {
                return Ok(Page {
                    entries,
                    has_more: false,
                });
            }
        }
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// What a key is rolled up to, if it is.
fn common_prefix(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key.strip_prefix(prefix)?.find(delimiter)?;
    Some(key[..prefix.len() + at + delimiter.len()].to_owned())
}
