//! Objects: put, read, copied and deleted, and the parts that this is done with.
//!
//! A change of an object is one batch: its record, the marks of the files that it names, and what is to be told of it.
//! The batch expects the object as it was read, and is made anew where it was changed meanwhile. What changes something
//! runs in a task of its own: a caller who leaves does not stop it halfway.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use squall_store::{Batch, Expect, Scan, Store, StoreError};
use squall_types::Home;

use crate::bodies::{Bodies, Expected, Hold, Incoming, Reading, Received, Stored};
use crate::digest::{Checksum, hex};
use crate::error::ObjectsError;
use crate::name::check_key;
use crate::notification::{self, Announce, Change, CommitError, Origin};
use crate::record::{
    Attributes, BUCKETS, BucketRecord, FILES, OBJECTS, ObjectRecord, SMALL, Segment, object_key,
};

/// A mark's value: that it is there says all.
const MARK: &[u8] = &[1];
/// How often a change is made anew before it is given up. Somebody else's change succeeded each time.
const ATTEMPTS_MAX: usize = 1000;
const OPEN_PAGE_RECORDS: usize = 1024;
const UPLOAD_FENCES: usize = 64;

pub(crate) type Buckets = BTreeMap<String, Arc<BucketRecord>>;

/// Bounds, and where everything is.
#[derive(Debug, Clone)]
pub struct ObjectsConfig {
    /// Account and region.
    pub home: Home,
    /// The folder of the bodies.
    pub dir: PathBuf,
    /// The most buckets.
    pub buckets_max: usize,
    /// The most uploads at once.
    pub uploads_max: usize,
    /// The most bytes of a body that comes in one request.
    pub body_bytes_max: u64,
}

impl ObjectsConfig {
    /// The defaults.
    pub fn new(home: Home, dir: PathBuf) -> Self {
        Self {
            home,
            dir,
            buckets_max: 10_000,
            uploads_max: 512,
            body_bytes_max: 5 * 1024 * 1024 * 1024,
        }
    }
}

/// All buckets and objects. A cheap handle.
#[derive(Clone)]
pub struct Objects {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bodies: Bodies,
    pub(crate) announce: Arc<dyn Announce>,
    pub(crate) config: ObjectsConfig,
    pub(crate) buckets: RwLock<Buckets>,
    /// Held by who changes a bucket.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Held for reading by who writes into a bucket, for writing by who removes one.
    pub(crate) fence: tokio::sync::RwLock<()>,
    /// The same for multipart uploads, each of which has one of these.
    pub(crate) upload_fences: [tokio::sync::RwLock<()>; UPLOAD_FENCES],
    sequencer: AtomicU64,
}

/// What must hold of the object that is there, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// There is none.
    pub absent: bool,
    /// There is one, with this ETag, or with any where it is `*`.
    pub etag: Option<String>,
}

/// An object that is to be, beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct NewObject {
    /// What is said about it.
    pub attributes: Attributes,
    /// What must hold.
    pub condition: Condition,
    /// Who makes it.
    pub origin: Origin,
}

/// An object as it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is.
    pub record: ObjectRecord,
    pub(crate) revision: u64,
}

/// A change that is to be written.
pub(crate) struct Write {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) record: ObjectRecord,
    /// Segments that no record names yet.
    pub(crate) fresh: Vec<(Segment, Stored)>,
    pub(crate) event: &'static str,
    pub(crate) condition: Condition,
    pub(crate) origin: Origin,
    /// What belongs to the same batch, and the segments that it leaves without a record.
    pub(crate) beside: Option<(Batch, Vec<Segment>)>,
}

impl Objects {
    /// Reads the buckets. What a crash left behind is removed by [`Objects::sweep`].
    ///
    /// # Errors
    /// When the store cannot be read, a record is damaged, or the folder cannot be made.
    pub async fn open(
        store: Arc<dyn Store>,
        announce: Arc<dyn Announce>,
        config: ObjectsConfig,
    ) -> Result<Self, ObjectsError> {
        let bodies = Bodies::open(&config.dir, store.clone(), config.uploads_max)?;
        let mut buckets = Buckets::new();
        let mut scan = Scan::prefix(BUCKETS, Vec::new()).limit(OPEN_PAGE_RECORDS);
        loop {
            let page = store.scan(scan.clone()).await?;
            for (name, entry) in &page {
                let name = String::from_utf8_lossy(name).into_owned();
                buckets.insert(name, Arc::new(BucketRecord::decode(&entry.value)?));
            }
            match page.last() {
                Some((last, _)) if page.len() == OPEN_PAGE_RECORDS => scan = scan.after(last.clone()),
                _ => break,
            }
        }
        let inner = Inner {
            store,
            bodies,
            announce,
            config,
            buckets: RwLock::new(buckets),
            changing: tokio::sync::Mutex::default(),
            fence: tokio::sync::RwLock::default(),
            upload_fences: std::array::from_fn(|_| tokio::sync::RwLock::default()),
            sequencer: AtomicU64::new(0),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Begins to receive a body.
    ///
    /// # Errors
    /// [`ObjectsError::TooLarge`], [`ObjectsError::Busy`].
    pub fn receive(
        &self,
        bytes: Option<u64>,
        algorithm: Option<crate::Algorithm>,
    ) -> Result<Incoming, ObjectsError> {
        self.inner.bodies.receive(Expected {
            bytes,
            bytes_max: self.inner.config.body_bytes_max,
            algorithm,
        })
    }

    /// Makes an object of a body, or replaces the one that is there.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::Precondition`]; [`ObjectsError::NoSuchKey`] where one with a
    /// certain ETag was to be there and none is; what is wrong with the key.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        received: Received,
        new: NewObject,
    ) -> Result<ObjectRecord, ObjectsError> {
        let record = record(&received, received.checksum.clone(), new.attributes);
        self.put_as(
            "ObjectCreated:Put",
            (bucket, key),
            received.segments,
            record,
            (new.condition, new.origin),
        )
        .await
    }

    /// Checks early whether an object could be put, before its body is read. It is checked again when it is put.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn check_put(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<(), ObjectsError> {
        check_key(key)?;
        let bucket = self.bucket(bucket)?;
        if *condition == Condition::default() {
            return Ok(());
        }
        let entry = self
            .inner
            .store
            .get(OBJECTS, &object_key(bucket.number, key))
            .await?;
        let old = entry
            .map(|entry| ObjectRecord::decode(&entry.value))
            .transpose()?;
        condition.check(old.as_ref())
    }

    async fn put_as(
        &self,
        event: &'static str,
        (bucket, key): (&str, &str),
        fresh: Vec<(Segment, Stored)>,
        record: ObjectRecord,
        (condition, origin): (Condition, Origin),
    ) -> Result<ObjectRecord, ObjectsError> {
        check_key(key)?;
        let write = Write {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            record,
            fresh,
            event,
            condition,
            origin,
            beside: None,
        };
        let objects = self.clone();
        let written = async move {
            let _fence = objects.inner.fence.read().await;
            objects.write(write).await
        };
        self.detached(written).await
    }

    /// Copies an object, of the same bytes where it may: a body that came in parts is read and written anew.
    ///
    /// # Errors
    /// As [`Objects::put`]; [`ObjectsError::NoSuchKey`] where the source went meanwhile.
    pub async fn copy(
        &self,
        from: (&str, &str),
        source: &Found,
        to: (&str, &str),
        new: NewObject,
        algorithm: Option<crate::Algorithm>,
    ) -> Result<ObjectRecord, ObjectsError> {
        let old = source.record.checksum.as_ref().map(|checksum| checksum.algorithm);
        let keeps = algorithm.is_none_or(|algorithm| Some(algorithm) == old);
        let (record, fresh) = if source.record.parts().is_none() && keeps {
            let fresh = self.link(from, source).await?;
            let segments = fresh.iter().map(|(segment, _)| segment.clone()).collect();
            let record = ObjectRecord {
                modified_ms: now_ms(),
                attributes: new.attributes,
                segments,
                ..source.record.clone()
            };
            (record, fresh)
        } else {
            let received = self
                .duplicate(from, source, 0..source.record.bytes, algorithm.or(old))
                .await?;
            (
                record(&received, received.checksum.clone(), new.attributes),
                received.segments,
            )
        };
        self.put_as(
            "ObjectCreated:Copy",
            to,
            fresh,
            record,
            (new.condition, new.origin),
        )
        .await
    }

    /// New names for a body's files.
    async fn link(
        &self,
        (bucket, key): (&str, &str),
        source: &Found,
    ) -> Result<Vec<(Segment, Stored)>, ObjectsError> {
        let _holds = self.inner.bodies.hold_all(&source.record.segments);
        self.check_unchanged(bucket, key, source).await?;
        self.inner.bodies.link(&source.record.segments).await
    }

    /// Reads bytes of an object and writes them into a body of their own.
    pub(crate) async fn duplicate(
        &self,
        (bucket, key): (&str, &str),
        source: &Found,
        range: Range<u64>,
        algorithm: Option<crate::Algorithm>,
    ) -> Result<Received, ObjectsError> {
        let mut incoming = self.receive(Some(range.end - range.start), algorithm)?;
        let mut reading = self
            .read(bucket, key, source, range)
            .await?
            .ok_or(ObjectsError::NoSuchKey)?;
        while let Some(piece) = reading.next().await {
            let piece = piece.map_err(|error| ObjectsError::file("read a body", &error))?;
            incoming.write(piece).await?;
        }
        incoming.finish(None, None).await
    }

    /// An object.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchKey`].
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Found, ObjectsError> {
        check_key(key)?;
        let bucket = self.bucket(bucket)?;
        let entry = self
            .inner
            .store
            .get(OBJECTS, &object_key(bucket.number, key))
            .await?;
        let entry = entry.ok_or(ObjectsError::NoSuchKey)?;
        Ok(Found {
            record: ObjectRecord::decode(&entry.value)?,
            revision: entry.revision,
        })
    }

    /// Some bytes of an object; `None` where it was changed since it was found: get it again.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn read(
        &self,
        bucket: &str,
        key: &str,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Option<Reading>, ObjectsError> {
        let reading = match self.inner.bodies.read(&found.record.segments, range).await {
            Err(ObjectsError::NoSuchKey) => return Ok(None),
            reading => reading?,
        };
        // Now that its files are held: if nobody had taken them from it before, nobody will.
        match self.check_unchanged(bucket, key, found).await {
            Ok(()) => Ok(Some(reading)),
            Err(ObjectsError::NoSuchKey | ObjectsError::NoSuchBucket) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn check_unchanged(&self, bucket: &str, key: &str, found: &Found) -> Result<(), ObjectsError> {
        match self.get(bucket, key).await?.revision == found.revision {
            true => Ok(()),
            false => Err(ObjectsError::NoSuchKey),
        }
    }

    /// Says an object's tags anew.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::NoSuchKey`].
    pub async fn set_tags(
        &self,
        bucket: &str,
        key: &str,
        tags: Vec<(String, String)>,
    ) -> Result<(), ObjectsError> {
        for _ in 0..ATTEMPTS_MAX {
            let Found { mut record, revision } = self.get(bucket, key).await?;
            record.attributes.tags = tags.clone();
            let place = object_key(self.bucket(bucket)?.number, key);
            let batch = Batch::durable()
                .put(OBJECTS, place.clone(), record.encode())
                .expect(OBJECTS, place, Expect::Revision(revision));
            match self.inner.store.commit(batch).await {
                Err(StoreError::Conflict) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(ObjectsError::Busy)
    }

    /// Deletes an object; what is not there is deleted already.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub async fn delete(&self, bucket: &str, key: &str, origin: Origin) -> Result<(), ObjectsError> {
        check_key(key)?;
        let (objects, bucket, key) = (self.clone(), bucket.to_owned(), key.to_owned());
        self.detached(async move { objects.delete_now(&bucket, &key, &origin).await })
            .await
    }

    async fn delete_now(&self, name: &str, key: &str, origin: &Origin) -> Result<(), ObjectsError> {
        let _fence = self.inner.fence.read().await;
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket(name)?;
            let place = object_key(bucket.number, key);
            let Some(entry) = self.inner.store.get(OBJECTS, &place).await? else {
                return Ok(());
            };
            let old = ObjectRecord::decode(&entry.value)?;
            let batch = Batch::durable().delete(OBJECTS, place.clone()).expect(
                OBJECTS,
                place,
                Expect::Revision(entry.revision),
            );
            let change = Change {
                bucket: name,
                key,
                event: "ObjectRemoved:Delete",
                object: None,
                at_ms: now_ms(),
                sequencer: self.next_sequencer(),
            };
            let notices =
                notification::notices(&bucket.notifications, &change, origin, &self.inner.config.home);
            match self
                .inner
                .announce
                .commit(unmark(batch, &old.segments), notices)
                .await
            {
                Ok(_) => {
                    self.remove_files(&old.segments);
                    return Ok(());
                }
                Err(CommitError::Full) => return Err(ObjectsError::Busy),
                Err(CommitError::Store(StoreError::Conflict)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ObjectsError::Busy)
    }

    /// Writes a change. The caller holds the fence.
    pub(crate) async fn write(&self, mut write: Write) -> Result<ObjectRecord, ObjectsError> {
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket(&write.bucket)?;
            let place = object_key(bucket.number, &write.key);
            let entry = self.inner.store.get(OBJECTS, &place).await?;
            let old = entry
                .as_ref()
                .map(|entry| ObjectRecord::decode(&entry.value))
                .transpose()?;
            write.condition.check(old.as_ref())?;
            let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
            let (batch, mut unnamed) = write
                .beside
                .clone()
                .unwrap_or_else(|| (Batch::durable(), Vec::new()));
            unnamed.extend(old.into_iter().flat_map(|old| old.segments));
            let batch = batch
                .put(OBJECTS, place.clone(), write.record.encode())
                .expect(OBJECTS, place, expect);
            let batch = unmark(mark(batch, &write.fresh), &unnamed);
            let change = Change {
                bucket: &write.bucket,
                key: &write.key,
                event: write.event,
                object: Some(&write.record),
                at_ms: write.record.modified_ms,
                sequencer: self.next_sequencer(),
            };
            let notices = notification::notices(
                &bucket.notifications,
                &change,
                &write.origin,
                &self.inner.config.home,
            );
            match self.inner.announce.commit(batch, notices).await {
                Ok(_) => {
                    keep(std::mem::take(&mut write.fresh));
                    self.remove_files(&unnamed);
                    return Ok(write.record);
                }
                Err(CommitError::Full) => return Err(ObjectsError::Busy),
                Err(CommitError::Store(StoreError::Conflict)) if write.beside.is_none() => {}
                // Who ends an upload looks again whether it is still there.
                Err(CommitError::Store(StoreError::Conflict)) => return Err(ObjectsError::Busy),
                Err(CommitError::Store(error)) => {
                    // It may have been written: the next start knows, and removes the files if not.
                    keep(std::mem::take(&mut write.fresh));
                    return Err(error.into());
                }
            }
        }
        Err(ObjectsError::Busy)
    }

    pub(crate) fn remove_files(&self, segments: &[Segment]) {
        for segment in segments.iter().filter(|segment| !segment.small) {
            self.inner.bodies.remove(segment.file);
        }
    }

    /// Larger each time, also after a restart unless the clock was set back.
    fn next_sequencer(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(now.max(last + 1));
        let before = self
            .inner
            .sequencer
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.map_or(now, |last| now.max(last + 1))
    }

    /// Runs a change to its end, whether or not anybody waits for it.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ObjectsError>> + Send + 'static,
    ) -> Result<T, ObjectsError> {
        let done = tokio::spawn(change).await;
        done.map_err(|error| ObjectsError::Platform(format!("a change ended early: {error}")))?
    }
}

impl Condition {
    fn check(&self, old: Option<&ObjectRecord>) -> Result<(), ObjectsError> {
        match (old, &self.etag) {
            (Some(_), _) if self.absent => Err(ObjectsError::Precondition),
            (None, Some(_)) => Err(ObjectsError::NoSuchKey),
            (Some(old), Some(etag)) if etag != "*" && *etag != old.etag => Err(ObjectsError::Precondition),
            _ => Ok(()),
        }
    }
}

/// The record of an object whose body came in one request.
fn record(received: &Received, checksum: Option<Checksum>, attributes: Attributes) -> ObjectRecord {
    ObjectRecord {
        bytes: received.bytes,
        etag: hex(&received.md5),
        modified_ms: now_ms(),
        checksum,
        attributes,
        segments: received
            .segments
            .iter()
            .map(|(segment, _)| segment.clone())
            .collect(),
    }
}

/// Says of new segments that a record names them.
pub(crate) fn mark(batch: Batch, fresh: &[(Segment, Stored)]) -> Batch {
    fresh.iter().fold(batch, |batch, (segment, stored)| match stored {
        Stored::Small(bytes) => batch.put(SMALL, segment.file.as_bytes().to_vec(), bytes.clone()),
        Stored::File(_) => batch.put(FILES, segment.file.as_bytes().to_vec(), MARK),
    })
}

/// Says of segments that no record names them any more.
pub(crate) fn unmark(batch: Batch, segments: &[Segment]) -> Batch {
    segments.iter().fold(batch, |batch, segment| {
        let space = if segment.small { SMALL } else { FILES };
        batch.delete(space, segment.file.as_bytes().to_vec())
    })
}

/// A record names these files now.
pub(crate) fn keep(fresh: Vec<(Segment, Stored)>) {
    for (_, stored) in fresh {
        if let Stored::File(hold) = stored {
            Hold::keep(hold);
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
