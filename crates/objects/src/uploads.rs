//! Multipart uploads: begun, filled part by part in any order, and completed into one object or aborted.
//!
//! A completed object names the files of its parts: nothing is written again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use squall_store::{Batch, Expect, Scan, StoreError};
use uuid::Uuid;

use crate::bodies::Received;
use crate::digest::{Algorithm, Checksum, ChecksumKind, hex, multipart_etag};
use crate::error::ObjectsError;
use crate::name::check_key;
use crate::notification::Origin;
use crate::objects::{Condition, Found, Objects, Write, keep, mark, now_ms, unmark};
use crate::record::{
    Attributes, ObjectRecord, PARTS, PartRecord, Segment, UPLOADS, UploadRecord, part_key, upload_key,
};

/// The largest number of a part; the smallest is 1.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// What every part but the last must have.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// Tries, where parts come while an upload is completed.
const ATTEMPTS_MAX: usize = 100;

/// Names an upload. Later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(pub(crate) [u8; 16]);

impl UploadId {
    fn new() -> Self {
        let mut id = *Uuid::new_v4().as_bytes();
        id[..8].copy_from_slice(&now_ms().to_be_bytes());
        Self(id)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for UploadId {
    type Err = ObjectsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.len() {
            32 => u128::from_str_radix(text, 16).ok(),
            _ => None,
        };
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or(ObjectsError::NoSuchUpload)
    }
}

/// What is said of an object before its parts come.
#[derive(Debug, Clone, Default)]
pub struct NewUpload {
    /// As for an object.
    pub attributes: Attributes,
    /// What parts are checked by.
    pub algorithm: Option<Algorithm>,
    /// What the object's checksum is to be of.
    pub kind: Option<ChecksumKind>,
}

/// A part, as who completes an upload names it.
#[derive(Debug, Clone)]
pub struct CompletePart {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotation marks.
    pub etag: String,
    /// Its checksum, where it is named.
    pub checksum: Option<String>,
}

/// How an upload is completed.
#[derive(Debug, Clone, Default)]
pub struct Complete {
    /// In ascending order.
    pub parts: Vec<CompletePart>,
    /// The object's checksum, where it is named.
    pub checksum: Option<String>,
    /// The object's length, where it is named.
    pub bytes: Option<u64>,
    /// What must hold.
    pub condition: Condition,
    /// Who does it.
    pub origin: Origin,
}

/// A part with its number, as it is kept.
type Kept = (PartRecord, u64);

impl Objects {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], and what is wrong with the key or the kind of checksum.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        new: NewUpload,
    ) -> Result<UploadId, ObjectsError> {
        check_key(key)?;
        if let (Some(algorithm), Some(kind)) = (new.algorithm, new.kind)
            && !algorithm.allows(kind)
        {
            return Err(ObjectsError::Invalid(format!(
                "The checksum type of a multipart upload cannot be this one with {}",
                algorithm.name()
            )));
        }
        let record = UploadRecord {
            created_ms: now_ms(),
            attributes: new.attributes,
            algorithm: new.algorithm,
            kind: new
                .algorithm
                .map(|algorithm| new.kind.unwrap_or(algorithm.default_kind())),
        };
        let id = UploadId::new();
        let _fence = self.inner.fence.read().await;
        let place = upload_key(self.bucket(bucket)?.number, key, &id.0);
        self.inner
            .store
            .commit(Batch::durable().put(UPLOADS, place, record.encode()))
            .await?;
        Ok(id)
    }

    /// An upload.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchUpload`].
    pub async fn upload(&self, bucket: &str, key: &str, id: UploadId) -> Result<UploadRecord, ObjectsError> {
        let place = upload_key(self.bucket(bucket)?.number, key, &id.0);
        let entry = self.inner.store.get(UPLOADS, &place).await?;
        UploadRecord::decode(&entry.ok_or(ObjectsError::NoSuchUpload)?.value)
    }

    /// Adds a part, or replaces the one of its number.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchUpload`].
    pub async fn put_part(
        &self,
        (bucket, key): (&str, &str),
        id: UploadId,
        number: u16,
        received: Received,
    ) -> Result<PartRecord, ObjectsError> {
        let record = PartRecord {
            etag: hex(&received.md5),
            modified_ms: now_ms(),
            checksum: received.checksum.clone(),
            segments: received
                .segments
                .iter()
                .map(|(segment, _)| segment.clone())
                .collect(),
        };
        let (objects, bucket, key) = (self.clone(), bucket.to_owned(), key.to_owned());
        let put = async move {
            let inner = &objects.inner;
            let _fence = inner.fence.read().await;
            // Nobody ends the upload meanwhile.
            let _upload = objects.upload_fence(id).read().await;
            objects.upload(&bucket, &key, id).await?;
            let place = part_key(&id.0, number);
            for _ in 0..ATTEMPTS_MAX {
                let entry = inner.store.get(PARTS, &place).await?;
                let old = entry
                    .as_ref()
                    .map(|entry| PartRecord::decode(&entry.value))
                    .transpose()?;
                let old = old.map(|old| old.segments).unwrap_or_default();
                let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
                let batch = Batch::durable()
                    .put(PARTS, place.clone(), record.encode())
                    .expect(PARTS, place.clone(), expect);
                let batch = unmark(mark(batch, &received.segments), &old);
                match inner.store.commit(batch).await {
                    Err(StoreError::Conflict) => {}
                    written => {
                        // Where it failed it may still have been written: the next start knows.
                        keep(received.segments);
                        written?;
                        objects.remove_files(&old);
                        return Ok(record);
                    }
                }
            }
            Err(ObjectsError::Busy)
        };
        self.detached(put).await
    }

    /// Reads bytes of an object, for a part.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchKey`] where it went meanwhile.
    pub async fn copy_part(
        &self,
        from: (&str, &str),
        source: &Found,
        range: std::ops::Range<u64>,
        algorithm: Option<Algorithm>,
    ) -> Result<Received, ObjectsError> {
        self.duplicate(from, source, range, algorithm).await
    }

    /// Makes an object of an upload's parts.
    ///
    /// # Errors
    /// What is wrong with the parts, by S3's names.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: UploadId,
        complete: Complete,
    ) -> Result<ObjectRecord, ObjectsError> {
        let (objects, bucket, key) = (self.clone(), bucket.to_owned(), key.to_owned());
        let completed = async move {
            let _fence = objects.inner.fence.read().await;
            let _upload = objects.upload_fence(id).write().await;
            for _ in 0..ATTEMPTS_MAX {
                match objects.complete(&bucket, &key, id, &complete).await {
                    // The object that is replaced was changed meanwhile.
                    Err(ObjectsError::Busy) => {}
                    done => return done,
                }
            }
            Err(ObjectsError::Busy)
        };
        self.detached(completed).await
    }

    async fn complete(
        &self,
        bucket: &str,
        key: &str,
        id: UploadId,
        complete: &Complete,
    ) -> Result<ObjectRecord, ObjectsError> {
        let upload = self.upload(bucket, key, id).await?;
        let mut parts = self.parts(id).await?;
        let used = take_parts(&mut parts, &complete.parts)?;
        let record = assemble(&upload, &used, complete)?;
        let mut batch = Batch::durable().delete(UPLOADS, upload_key(self.bucket(bucket)?.number, key, &id.0));
        let numbers = complete
            .parts
            .iter()
            .map(|part| part.number)
            .chain(parts.keys().copied());
        for number in numbers {
            batch = batch.delete(PARTS, part_key(&id.0, number));
        }
        let unused = parts.into_values().flat_map(|(part, _)| part.segments).collect();
        let write = Write {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            record,
            fresh: Vec::new(),
            event: "ObjectCreated:CompleteMultipartUpload",
            condition: complete.condition.clone(),
            origin: complete.origin.clone(),
            beside: Some((batch, unused)),
        };
        self.write(write).await
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchUpload`].
    pub async fn abort_upload(&self, bucket: &str, key: &str, id: UploadId) -> Result<(), ObjectsError> {
        let (objects, bucket, key) = (self.clone(), bucket.to_owned(), key.to_owned());
        let aborted = async move {
            let _fence = objects.inner.fence.read().await;
            objects.upload(&bucket, &key, id).await?;
            objects
                .drop_upload(upload_key(objects.bucket(&bucket)?.number, &key, &id.0))
                .await
        };
        self.detached(aborted).await
    }

    /// Removes an upload with its parts.
    pub(crate) async fn drop_upload(&self, place: Bytes) -> Result<(), ObjectsError> {
        let id = place.last_chunk::<16>().copied();
        let id = id.ok_or_else(|| ObjectsError::Platform("the key of an upload is damaged".to_owned()))?;
        let _upload = self.upload_fence(UploadId(id)).write().await;
        let parts = self.parts(UploadId(id)).await?;
        let mut batch = Batch::durable().delete(UPLOADS, place);
        let mut unnamed: Vec<Segment> = Vec::new();
        for (number, (part, _)) in parts {
            batch = batch.delete(PARTS, part_key(&id, number));
            unnamed.extend(part.segments);
        }
        self.inner.store.commit(unmark(batch, &unnamed)).await?;
        self.remove_files(&unnamed);
        Ok(())
    }

    /// All parts of an upload, by their numbers, with their revisions.
    async fn parts(&self, id: UploadId) -> Result<BTreeMap<u16, Kept>, ObjectsError> {
        let found = self.inner.store.scan(Scan::prefix(PARTS, id.0.to_vec())).await?;
        let mut parts = BTreeMap::new();
        for (place, entry) in found {
            let number = place.last_chunk::<2>().map(|number| u16::from_be_bytes(*number));
            let record = PartRecord::decode(&entry.value)?;
            parts.insert(number.unwrap_or_default(), (record, entry.revision));
        }
        Ok(parts)
    }

    /// Parts of an upload behind a number, and whether more follow.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchUpload`].
    pub async fn list_parts(
        &self,
        (bucket, key): (&str, &str),
        id: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<(u16, PartRecord)>, bool), ObjectsError> {
        self.upload(bucket, key, id).await?;
        let parts = self.parts(id).await?;
        let mut parts = parts.into_iter().filter(|(number, _)| *number > after);
        let page: Vec<_> = parts
            .by_ref()
            .take(limit)
            .map(|(number, (part, _))| (number, part))
            .collect();
        Ok((page, parts.next().is_some()))
    }

    fn upload_fence(&self, id: UploadId) -> &tokio::sync::RwLock<()> {
        let fences = &self.inner.upload_fences;
        &fences[usize::from(id.0[15]) % fences.len()]
    }
}

/// Takes those parts out that are named, if all are there and in order.
fn take_parts(
    parts: &mut BTreeMap<u16, Kept>,
    named: &[CompletePart],
) -> Result<Vec<PartRecord>, ObjectsError> {
    if !named.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(ObjectsError::PartOrder);
    }
    let mut used = Vec::with_capacity(named.len());
    for CompletePart {
        number,
        etag,
        checksum,
    } in named
    {
        let (part, _) = parts.remove(number).ok_or(ObjectsError::InvalidPart)?;
        let found = part.checksum.as_ref().map(|found| &found.value);
        if part.etag != *etag || checksum.as_ref().is_some_and(|said| Some(said) != found) {
            return Err(ObjectsError::InvalidPart);
        }
        used.push(part);
    }
    let before_last = used.split_last().map_or(&[][..], |(_, before)| before);
    if before_last.iter().any(|part| part.bytes() < PART_BYTES_MIN) {
        return Err(ObjectsError::PartTooSmall);
    }
    match used.is_empty() {
        true => Err(ObjectsError::Invalid(
            "You must specify at least one part".to_owned(),
        )),
        false => Ok(used),
    }
}

/// The object that an upload's parts are.
fn assemble(
    upload: &UploadRecord,
    parts: &[PartRecord],
    complete: &Complete,
) -> Result<ObjectRecord, ObjectsError> {
    let bytes = parts.iter().map(PartRecord::bytes).sum();
    if bytes > OBJECT_BYTES_MAX {
        return Err(ObjectsError::TooLarge);
    }
    if complete.bytes.is_some_and(|said| said != bytes) {
        return Err(ObjectsError::Invalid(format!(
            "The provided 'x-amz-mp-object-size' header does not match what was uploaded: {bytes} bytes"
        )));
    }
    let digest = |part: &PartRecord| u128::from_str_radix(&part.etag, 16).map(u128::to_be_bytes);
    let digests: Result<Vec<[u8; 16]>, _> = parts.iter().map(digest).collect();
    let digests = digests.map_err(|_| ObjectsError::Platform("the ETag of a part is damaged".to_owned()))?;
    let checksum = checksum(upload, parts);
    if let (Some(said), Some(found)) = (&complete.checksum, &checksum)
        && *said != found.value
    {
        return Err(ObjectsError::BadDigest(format!(
            "The {} you specified did not match the calculated checksum.",
            found.algorithm.name()
        )));
    }
    Ok(ObjectRecord {
        bytes,
        etag: multipart_etag(&digests),
        modified_ms: now_ms(),
        checksum,
        attributes: upload.attributes.clone(),
        segments: parts.iter().flat_map(|part| part.segments.clone()).collect(),
    })
}

/// The object's checksum, where every part has one.
fn checksum(upload: &UploadRecord, parts: &[PartRecord]) -> Option<Checksum> {
    let (algorithm, kind) = (upload.algorithm?, upload.kind?);
    let sums: Option<Vec<(Vec<u8>, u64)>> = parts
        .iter()
        .map(|part| {
            let found = part
                .checksum
                .as_ref()
                .filter(|found| found.algorithm == algorithm)?;
            Some((STANDARD.decode(&found.value).ok()?, part.bytes()))
        })
        .collect();
    let value = match kind {
        ChecksumKind::FullObject => algorithm.combine(&sums?)?,
        ChecksumKind::Composite => algorithm.compose(&sums?),
    };
    Some(Checksum {
        algorithm,
        kind,
        value,
    })
}
