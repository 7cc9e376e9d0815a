//! The engine on a memory store and a folder of its own: what a crash, a reader or a second writer would see.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use squall_store::{Batch, Committed, Memory, Store};
use squall_types::Home;
use tempfile::TempDir;

use crate::notification::{Announce, CommitError, Filter, Notice, Notification, Origin, Target};
use crate::objects::{Condition, NewObject, Objects, ObjectsConfig};
use crate::uploads::{Complete, CompletePart, NewUpload};
use crate::{Listed, Listing, ObjectsError, Received};

const BUCKET: &str = "photos";
/// More than is kept in the store.
const LARGE: usize = 700_000;

/// Commits, and notes what is told; or has no room.
struct Notes {
    store: Arc<dyn Store>,
    told: Mutex<Vec<Notice>>,
    is_full: bool,
}

#[async_trait]
impl Announce for Notes {
    async fn commit(&self, batch: Batch, notices: Vec<Notice>) -> Result<Committed, CommitError> {
        if self.is_full && !notices.is_empty() {
            return Err(CommitError::Full);
        }
        let committed = self.store.commit(batch).await.map_err(CommitError::Store)?;
        self.told.lock().expect("nobody panicked").extend(notices);
        Ok(committed)
    }
}

struct Fixture {
    store: Arc<dyn Store>,
    dir: TempDir,
    notes: Arc<Notes>,
    objects: Objects,
}

impl Fixture {
    async fn open() -> Self {
        Self::open_with(false).await
    }

    async fn open_with(is_full: bool) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let dir = TempDir::new().expect("a folder");
        let notes = Arc::new(Notes {
            store: store.clone(),
            told: Mutex::default(),
            is_full,
        });
        let objects = open(store.clone(), notes.clone(), dir.path()).await;
        objects.create_bucket(BUCKET, Vec::new()).await.expect("a bucket");
        Self {
            store,
            dir,
            notes,
            objects,
        }
    }

    /// As after a restart.
    async fn reopened(&self) -> Objects {
        open(self.store.clone(), self.notes.clone(), self.dir.path()).await
    }

    async fn body(&self, bytes: &[u8]) -> Received {
        let mut incoming = self.objects.receive(None, None).expect("a place");
        for piece in bytes.chunks(100_000) {
            incoming
                .write(Bytes::copy_from_slice(piece))
                .await
                .expect("written");
        }
        incoming.finish(None, None).await.expect("a body")
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> crate::ObjectRecord {
        let put = self
            .objects
            .put(BUCKET, key, self.body(bytes).await, NewObject::default())
            .await;
        put.expect("an object")
    }

    async fn read(&self, key: &str) -> Vec<u8> {
        let found = self.objects.get(BUCKET, key).await.expect("an object");
        let reading = self
            .objects
            .read(BUCKET, key, &found, 0..found.record.bytes)
            .await;
        drain(reading.expect("readable").expect("unchanged")).await
    }

    /// The files that there are.
    fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.dir.path()).expect("a folder");
        folders
            .map(|folder| {
                std::fs::read_dir(folder.expect("a folder").path())
                    .expect("a folder")
                    .count()
            })
            .sum()
    }
}

async fn open(store: Arc<dyn Store>, notes: Arc<Notes>, dir: &Path) -> Objects {
    let config = ObjectsConfig::new(Home::default(), dir.to_owned());
    Objects::open(store, notes, config).await.expect("objects")
}

async fn drain(mut reading: crate::Reading) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = reading.next().await {
        bytes.extend_from_slice(&piece.expect("a piece"));
    }
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).expect("below 251"))
        .collect()
}

#[tokio::test]
async fn objects_outlive_a_restart_and_files_do_not_outlive_objects() {
    let at = Fixture::open().await;
    for bytes in [0, 1, 16 * 1024, 16 * 1024 + 1, LARGE] {
        let data = pattern(bytes);
        at.put("k", &data).await;
        assert_eq!(at.read("k").await, data);
        assert_eq!(
            at.files(),
            usize::from(bytes > 16 * 1024),
            "{bytes}: the one before is gone"
        );
    }
    let again = at.reopened().await;
    assert_eq!(
        again.get(BUCKET, "k").await.expect("an object").record.bytes,
        LARGE as u64
    );
    assert_eq!(again.sweep().await, Ok(0));
    at.objects
        .delete(BUCKET, "k", Origin::default())
        .await
        .expect("deleted");
    assert_eq!(at.files(), 0);
}

#[tokio::test]
async fn a_reader_has_its_bytes_to_the_end() {
    let at = Fixture::open().await;
    let data = pattern(LARGE);
    at.put("k", &data).await;
    let found = at.objects.get(BUCKET, "k").await.expect("an object");
    let reading = at.objects.read(BUCKET, "k", &found, 0..LARGE as u64).await;
    let reading = reading.expect("readable").expect("unchanged");
    at.put("k", b"another").await;
    assert_eq!(at.files(), 1, "it is held");
    assert_eq!(drain(reading).await, data);
    assert_eq!(at.files(), 0, "and then it is gone");
    let stale = at
        .objects
        .read(BUCKET, "k", &found, 0..LARGE as u64)
        .await
        .expect("no failure");
    assert!(stale.is_none(), "who found the old one is told to look again");
}

#[tokio::test]
async fn what_no_record_names_is_removed_by_the_next_start() {
    let at = Fixture::open().await;
    at.put("kept", &pattern(LARGE)).await;
    let orphan = at
        .dir
        .path()
        .join("ab")
        .join("ab000000-0000-4000-8000-000000000001");
    std::fs::write(&orphan, b"half of a body").expect("written");
    let mut under_way = at.objects.receive(None, None).expect("a place");
    under_way
        .write(Bytes::from(pattern(LARGE)))
        .await
        .expect("written");
    assert_eq!(at.objects.sweep().await, Ok(1), "the orphan alone");
    assert!(!orphan.exists());
    drop(under_way);
    assert_eq!(at.files(), 1);
    assert_eq!(at.read("kept").await.len(), LARGE);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_announced_leaves_nothing() {
    let at = Fixture::open().await;
    let mut short = at.objects.receive(Some(LARGE as u64 + 1), None).expect("a place");
    short.write(Bytes::from(pattern(LARGE))).await.expect("written");
    assert_eq!(
        short.finish(None, None).await.err(),
        Some(ObjectsError::Incomplete)
    );
    let mut wrong = at.objects.receive(None, None).expect("a place");
    wrong.write(Bytes::from(pattern(LARGE))).await.expect("written");
    assert!(matches!(
        wrong.finish(Some("AAAA"), None).await.err(),
        Some(ObjectsError::BadDigest(_))
    ));
    let too_large = at.objects.receive(Some(u64::MAX), None).err();
    assert_eq!(too_large, Some(ObjectsError::TooLarge));
    assert_eq!(at.files(), 0);
}

#[tokio::test]
async fn a_refused_object_leaves_the_old_one_and_no_file() {
    let at = Fixture::open().await;
    let old = at.put("k", b"old").await;
    let new = NewObject {
        condition: Condition {
            absent: true,
            etag: None,
        },
        ..NewObject::default()
    };
    let body = at.body(&pattern(LARGE)).await;
    let refused = at.objects.put(BUCKET, "k", body, new).await;
    assert_eq!(refused.err(), Some(ObjectsError::Precondition));
    assert_eq!(
        at.objects.get(BUCKET, "k").await.expect("the old one").record,
        old
    );
    let nowhere = at
        .objects
        .put(
            "nowhere",
            "k",
            at.body(&pattern(LARGE)).await,
            NewObject::default(),
        )
        .await;
    assert_eq!(nowhere.err(), Some(ObjectsError::NoSuchBucket));
    assert_eq!(at.files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_that_want_to_be_first_one_is() {
    let at = Arc::new(Fixture::open().await);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let at = at.clone();
        writers.spawn(async move {
            let body = at.body(&pattern(LARGE)).await;
            let condition = Condition {
                absent: true,
                etag: None,
            };
            let new = NewObject {
                condition,
                ..NewObject::default()
            };
            at.objects.put(BUCKET, "k", body, new).await.is_ok()
        });
    }
    let firsts = writers
        .join_all()
        .await
        .into_iter()
        .filter(|first| *first)
        .count();
    assert_eq!((firsts, at.files()), (1, 1));
}

#[tokio::test]
async fn a_copy_shares_bytes_but_not_fate() {
    let at = Fixture::open().await;
    let data = pattern(LARGE);
    at.put("from", &data).await;
    let source = at.objects.get(BUCKET, "from").await.expect("an object");
    let copied = at
        .objects
        .copy(
            (BUCKET, "from"),
            &source,
            (BUCKET, "to"),
            NewObject::default(),
            None,
        )
        .await;
    assert_eq!(copied.expect("copied").etag, source.record.etag);
    at.objects
        .delete(BUCKET, "from", Origin::default())
        .await
        .expect("deleted");
    assert_eq!(at.read("to").await, data);
    let gone = at
        .objects
        .copy(
            (BUCKET, "from"),
            &source,
            (BUCKET, "x"),
            NewObject::default(),
            None,
        )
        .await;
    assert_eq!(gone.err(), Some(ObjectsError::NoSuchKey));
    assert_eq!(at.files(), 1);
}

#[tokio::test]
async fn parts_become_an_object_without_being_written_again() {
    let at = Fixture::open().await;
    let id = at
        .objects
        .create_upload(BUCKET, "k", NewUpload::default())
        .await
        .expect("begun");
    let data = pattern(5 * 1024 * 1024);
    let mut parts = Vec::new();
    for (number, bytes) in [(1, &data[..]), (2, b"end"), (3, b"unused")] {
        let part = at
            .objects
            .put_part((BUCKET, "k"), id, number, at.body(bytes).await)
            .await
            .expect("a part");
        parts.push(CompletePart {
            number,
            etag: part.etag,
            checksum: None,
        });
    }
    parts.pop();
    let complete = Complete {
        parts,
        ..Complete::default()
    };
    let done = at
        .objects
        .complete_upload(BUCKET, "k", id, complete)
        .await
        .expect("completed");
    assert_eq!(
        (done.parts(), done.bytes, at.files()),
        (Some(2), data.len() as u64 + 3, 1)
    );
    assert_eq!(at.read("k").await, [&data[..], b"end"].concat());
    assert_eq!(
        at.objects.upload(BUCKET, "k", id).await,
        Err(ObjectsError::NoSuchUpload)
    );

    let id = at
        .objects
        .create_upload(BUCKET, "l", NewUpload::default())
        .await
        .expect("begun");
    at.objects
        .put_part((BUCKET, "l"), id, 1, at.body(&data).await)
        .await
        .expect("a part");
    assert_eq!(at.files(), 2);
    at.objects.abort_upload(BUCKET, "l", id).await.expect("aborted");
    assert_eq!((at.files(), at.reopened().await.sweep().await), (1, Ok(0)));
}

#[tokio::test]
async fn listing_steps_over_what_is_rolled_up() {
    let at = Fixture::open().await;
    for key in ["a/1", "a/2", "a/\u{10ffff}", "b", "c/d/1", "c/d/2", "c/e"] {
        at.put(key, b"").await;
    }
    let names = |page: crate::Page<crate::ObjectEntry>| -> (Vec<String>, bool) {
        let name = |entry| match entry {
            Listed::One(crate::ObjectEntry { key, .. }) => key,
            Listed::Prefix(prefix) => prefix,
        };
        (page.entries.into_iter().map(name).collect(), page.has_more)
    };
    let list = |prefix, delimiter, after, limit| {
        at.objects.list(
            BUCKET,
            Listing {
                prefix,
                delimiter,
                after,
                limit,
            },
        )
    };
    let all = |names: &[&str], more| (names.iter().map(ToString::to_string).collect::<Vec<_>>(), more);
    assert_eq!(
        names(list("", "/", "", 10).await.expect("a page")),
        all(&["a/", "b", "c/"], false)
    );
    assert_eq!(
        names(list("", "/", "", 1).await.expect("a page")),
        all(&["a/"], true)
    );
    assert_eq!(
        names(list("", "/", "a/", 1).await.expect("a page")),
        all(&["b"], true)
    );
    assert_eq!(
        names(list("", "/", "a/1", 1).await.expect("a page")),
        all(&["a/"], true)
    );
    assert_eq!(
        names(list("c/", "/", "", 10).await.expect("a page")),
        all(&["c/d/", "c/e"], false)
    );
    assert_eq!(
        names(list("", "", "b", 2).await.expect("a page")),
        all(&["c/d/1", "c/d/2"], true)
    );
}

#[tokio::test]
async fn changes_are_told_and_a_full_outbox_stops_them() {
    for is_full in [false, true] {
        let at = Fixture::open_with(is_full).await;
        let notification = Notification {
            id: "n".to_owned(),
            target: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
            kind: Target::Queue,
            events: vec!["s3:ObjectCreated:*".to_owned(), "s3:ObjectRemoved:*".to_owned()],
            filter: Filter {
                prefix: Some("in/".to_owned()),
                suffix: None,
            },
        };
        at.objects
            .set_notifications(BUCKET, vec![notification])
            .await
            .expect("set");
        at.put("out/1", b"x").await;
        let body = at.body(b"x").await;
        let put = at.objects.put(BUCKET, "in/1", body, NewObject::default()).await;
        if is_full {
            assert_eq!(put.err(), Some(ObjectsError::Busy));
            assert_eq!(
                at.objects.get(BUCKET, "in/1").await.err(),
                Some(ObjectsError::NoSuchKey)
            );
            continue;
        }
        at.objects
            .delete(BUCKET, "in/1", Origin::default())
            .await
            .expect("deleted");
        at.objects
            .delete(BUCKET, "in/1", Origin::default())
            .await
            .expect("it is gone already");
        let told = at.notes.told.lock().expect("nobody panicked");
        let events: Vec<_> = told
            .iter()
            .map(|one| (one.target.rsplit(':').next(), one.body.contains("Removed")))
            .collect();
        assert_eq!(events, [(Some("q"), false), (Some("q"), true)]);
    }
}

#[tokio::test]
async fn a_bucket_goes_only_when_it_is_empty() {
    let at = Fixture::open().await;
    at.put("k", b"x").await;
    assert_eq!(
        at.objects.delete_bucket(BUCKET).await,
        Err(ObjectsError::BucketNotEmpty)
    );
    at.objects
        .delete(BUCKET, "k", Origin::default())
        .await
        .expect("deleted");
    let id = at
        .objects
        .create_upload(BUCKET, "k", NewUpload::default())
        .await
        .expect("begun");
    at.objects
        .put_part((BUCKET, "k"), id, 1, at.body(&pattern(LARGE)).await)
        .await
        .expect("a part");
    assert_eq!(at.objects.delete_bucket(BUCKET).await, Ok(()));
    assert_eq!((at.files(), at.reopened().await.list_buckets()), (0, Vec::new()));
}
