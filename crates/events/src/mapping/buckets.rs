//! Buckets of state as event sources: changes of keys, in order, one batch at a time.
//!
//! A mapping has a cursor in the store, written in the batch that makes the mapping; it moves when the function has
//! taken what is before it, so every change is told at least once. What all mappings of a bucket have behind them is
//! trimmed. A batch that fails is tried again in halves, which finds the change that the function cannot take; that one
//! becomes an accepted event of the function, with its retries and its dead-letter queue, and the others go on.
//! Bounded by the changes of a batch, and by what a bucket keeps: a mapping that is stuck or disabled for too long makes
//! writes to its bucket be refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use squall_state::{BucketName, Change, ChangeKind, Cursor, State, StateError};
use squall_store::{Batch, Scan, Space, Store, StoreError};
use squall_types::{Home, Invocation, InvokeError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::source::{Source, Work};
use super::{Mapping, MappingError, Settings, batch};
use squall_store::envelope;

const CURSORS: Space = Space("mapping-cursors");
const FORMAT: u8 = 1;
/// Changes that are read at once.
const PAGE: usize = 256;
/// Changes that are behind all mappings before they are trimmed, while there are more to read.
const TRIM_EVERY: usize = 4096;
/// Attempts at a single change before it becomes an accepted event.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How far a mapping is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    bucket: String,
    /// [`Cursor::as_bytes`] in base64; empty before the first change.
    cursor: String,
}

/// All buckets of this server, as sources of mappings.
pub struct BucketSource {
    store: Arc<dyn Store>,
    state: State,
    home: Home,
    /// How far each mapping is, also those that do not work now: for trimming.
    places: Arc<Mutex<BTreeMap<Uuid, Place>>>,
}

/// What an ARN names: `arn:aws:squall:REGION:ACCOUNT:bucket/NAME`, with `/PREFIX` behind it for the keys that start so.
struct Named {
    bucket: BucketName,
    prefix: String,
}

/// One mapping at work.
struct Worker {
    store: Arc<dyn Store>,
    state: State,
    places: Arc<Mutex<BTreeMap<Uuid, Place>>>,
    named: Named,
    work: Work,
    stop: CancellationToken,
    /// Changes that are behind this mapping since it trimmed.
    untrimmed: usize,
}

/// The mapping is to stop.
struct Stopped;

impl BucketSource {
    /// Reads how far each mapping is.
    ///
    /// # Errors
    /// When the store cannot be read, or a record is damaged.
    pub async fn open(store: Arc<dyn Store>, state: State, home: Home) -> Result<Self, StoreError> {
        let mut places = BTreeMap::new();
        for (key, entry) in store.scan(Scan::prefix(CURSORS, "")).await? {
            let damaged = |reason: String| StoreError::Corrupt(format!("a mapping's cursor: {reason}"));
            let uuid = Uuid::from_slice(&key).map_err(|error| damaged(error.to_string()))?;
            places.insert(uuid, envelope::read(FORMAT, &entry.value).map_err(damaged)?);
        }
        Ok(Self {
            store,
            state,
            home,
            places: Arc::new(Mutex::new(places)),
        })
    }

    fn named(&self, arn: &str) -> Option<Named> {
        let Home { account, region } = &self.home;
        let resource = arn.strip_prefix(&format!("arn:aws:squall:{region}:{account}:bucket/"))?;
        let (name, prefix) = resource.split_once('/').unwrap_or((resource, ""));
        Some(Named {
            bucket: name.parse().ok()?,
            prefix: prefix.to_owned(),
        })
    }
}

#[async_trait]
impl Source for BucketSource {
    fn service(&self) -> &'static str {
        "squall"
    }

    fn defaults(&self, _source_arn: &str) -> Settings {
        Settings {
            batch_max: 100,
            starting_position: Some("LATEST".to_owned()),
            ..Settings::default()
        }
    }

    fn check(&self, source_arn: &str, settings: &Settings, _: u32) -> Result<(), MappingError> {
        let refuse = |text: String| Err(MappingError::InvalidParameter(text));
        let Some(named) = self.named(source_arn) else {
            return refuse(format!(
                "{source_arn} is not the ARN of a bucket of this server, as in \
                 arn:aws:squall:{}:{}:bucket/NAME or …:bucket/NAME/PREFIX.",
                self.home.region, self.home.account
            ));
        };
        match self.state.bucket(&named.bucket) {
            Err(error) => return refuse(format!("{error}.")),
            Ok(bucket) if !bucket.settings.keeps_changes => {
                return refuse(format!(
                    "The bucket `{}` keeps no changes; make one that does with `squall state bucket create NAME \
                     --keeps-changes`.",
                    named.bucket
                ));
            }
            Ok(_) => {}
        }
        if settings.batch_max as usize > PAGE {
            return refuse(format!("BatchSize of a bucket may be at most {PAGE}."));
        }
        if settings.concurrency_max.is_some() {
            return refuse(
                "ScalingConfig is not supported for buckets: changes are told in order.".to_owned(),
            );
        }
        match settings.starting_position.as_deref() {
            Some("LATEST" | "TRIM_HORIZON") => Ok(()),
            _ => refuse("StartingPosition of a bucket is LATEST or TRIM_HORIZON.".to_owned()),
        }
    }

    async fn begin(&self, mapping: &Mapping, batch: Batch) -> Result<Batch, MappingError> {
        let Some(named) = self.named(&mapping.source_arn) else {
            return Ok(batch);
        };
        let cursor = match mapping.settings.starting_position.as_deref() {
            Some("TRIM_HORIZON") => String::new(),
            // Changes are numbered with the store's commits: what comes behind this one is new.
            _ => {
                let mark = Batch::buffered().delete(CURSORS, mapping.uuid.as_bytes().to_vec());
                let committed = self.store.commit(mark).await?;
                encode(&Cursor::behind(committed.sequence))
            }
        };
        let place = Place {
            bucket: named.bucket.to_string(),
            cursor,
        };
        self.places().insert(mapping.uuid, place.clone());
        let key = mapping.uuid.as_bytes().to_vec();
        Ok(batch.put(CURSORS, key, envelope::write(FORMAT, &place)))
    }

    fn end(&self, mapping: &Mapping, batch: Batch) -> Batch {
        self.places().remove(&mapping.uuid);
        batch.delete(CURSORS, mapping.uuid.as_bytes().to_vec())
    }

    async fn run(&self, work: Work, stop: CancellationToken) {
        let Some(named) = self.named(&work.mapping.source_arn) else {
            work.note("PROBLEM: The bucket is not one of this server");
            return;
        };
        let worker = Worker {
            store: self.store.clone(),
            state: self.state.clone(),
            places: self.places.clone(),
            named,
            work,
            stop,
            untrimmed: 0,
        };
        worker.run().await;
    }
}

impl BucketSource {
    fn places(&self) -> MutexGuard<'_, BTreeMap<Uuid, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    async fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        while !self.stop.is_cancelled() {
            match self.turn().await {
                Ok(Ok(())) => pause = PAUSE_FIRST,
                Ok(Err(Stopped)) => return,
                Err(error) => {
                    self.work.note(format!("PROBLEM: {error}"));
                    tracing::debug!(mapping = %self.work.mapping.uuid, %error, "could not read a bucket's changes");
                    if self.rest(pause).await.is_err() {
                        return;
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Reads changes and tells them; waits where there are none.
    async fn turn(&mut self) -> Result<Result<(), Stopped>, StateError> {
        let cursor = self.cursor();
        let mut page = self
            .state
            .changes(&self.named.bucket, cursor.as_ref(), PAGE)
            .await?;
        if page.is_empty() {
            self.trim().await?;
            let mut watch = self.state.watch(&self.named.bucket, Bytes::new(), cursor)?;
            return tokio::select! {
                () = self.stop.cancelled() => Ok(Err(Stopped)),
                change = watch.next() => change.map(|_| Ok(())),
            };
        }
        let settings = &self.work.mapping.settings;
        if settings.window_secs > 0 && page.len() < settings.batch_max as usize {
            let window = Duration::from_secs(u64::from(settings.window_secs));
            if self.rest(window).await.is_err() {
                return Ok(Err(Stopped));
            }
            page = self
                .state
                .changes(&self.named.bucket, cursor.as_ref(), PAGE)
                .await?;
        }
        let batch_max = self.work.mapping.settings.batch_max as usize;
        let mut records = Vec::new();
        let mut last = None;
        for change in page {
            if records.len() == batch_max {
                break;
            }
            if change.key.starts_with(self.named.prefix.as_bytes()) {
                let record = record(&self.work.mapping.source_arn, &self.named.bucket, &change);
                if batch::is_wanted(&record, &self.work.patterns) {
                    records.push((change.cursor.clone(), record));
                }
            }
            self.untrimmed += 1;
            last = Some(change.cursor);
        }
        if self.tell(&records).await.is_err() {
            return Ok(Err(Stopped));
        }
        if let Some(last) = last {
            self.advance(&last).await?;
        }
        if self.untrimmed >= TRIM_EVERY {
            self.trim().await?;
        }
        Ok(Ok(()))
    }

    /// Brings these changes to the function, in order, until it has them all.
    async fn tell(&self, records: &[(Cursor, Value)]) -> Result<(), Stopped> {
        let (mut done, mut size, mut attempts) = (0, records.len(), 0);
        let mut pause = PAUSE_FIRST;
        while done < records.len() {
            let part = &records[done..(done + size).min(records.len())];
            match self.call(part).await {
                Ok(taken) if taken == part.len() => {
                    self.work.note("OK");
                    done += taken;
                    (size, attempts, pause) = (records.len() - done, 0, PAUSE_FIRST);
                    continue;
                }
                Ok(taken) => {
                    done += taken;
                    self.work.note("PROBLEM: Function call failed");
                    attempts = if taken > 0 { 1 } else { attempts + 1 };
                    let is_alone = part.len() - taken == 1 && size == 1;
                    if is_alone && attempts >= ATTEMPTS_MAX && self.hand_over(&records[done]).await {
                        done += 1;
                        (size, attempts, pause) = (records.len() - done, 0, PAUSE_FIRST);
                        continue;
                    }
                    if size > 1 {
                        attempts = 0;
                    }
                    size = (size / 2).max(1);
                }
                Err(InvokeError::PayloadTooLarge { .. }) if size > 1 => {
                    size /= 2;
                    continue;
                }
                Err(error) => self.work.note(format!("PROBLEM: {error}")),
            }
            self.rest(pause).await?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    /// Calls the function, and says how many of the first changes it has taken.
    async fn call(&self, part: &[(Cursor, Value)]) -> Result<usize, InvokeError> {
        let records: Vec<Value> = part.iter().map(|(_, record)| record.clone()).collect();
        let function = self.work.mapping.function.clone();
        let outcome = self
            .work
            .invoke
            .invoke(Invocation::new(function, batch::event(&records)))
            .await?;
        let Ok(answer) = outcome.result else {
            return Ok(0);
        };
        if !self.work.mapping.settings.reports_failures {
            return Ok(part.len());
        }
        let ids: Vec<String> = part.iter().map(|(cursor, _)| event_id(cursor)).collect();
        let failed = batch::failures(&answer, &ids, true);
        Ok(failed.map_or(0, |failed| failed.first().copied().unwrap_or(part.len())))
    }

    /// Makes a change that the function cannot take an accepted event of it: there its failure is seen, and it can be
    /// run again. Says whether that is done.
    async fn hand_over(&self, (cursor, record): &(Cursor, Value)) -> bool {
        let event = batch::event(std::slice::from_ref(record));
        let invocation = Invocation::new(self.work.mapping.function.clone(), event);
        let (mapping, request_id) = (self.work.mapping.uuid, invocation.request_id);
        match self.work.invoke.accept(invocation).await {
            Ok(()) => {
                let change = event_id(cursor);
                tracing::info!(%mapping, change, %request_id, "a change that its function fails on became an event of it");
                true
            }
            Err(error) => {
                self.work.note(format!("PROBLEM: {error}"));
                false
            }
        }
    }

    /// Notes that everything up to there is behind the mapping. Buffered: after a power loss some is told again.
    async fn advance(&self, cursor: &Cursor) -> Result<(), StateError> {
        let uuid = self.work.mapping.uuid;
        let place = Place {
            bucket: self.named.bucket.to_string(),
            cursor: encode(cursor),
        };
        let record = envelope::write(FORMAT, &place);
        let batch = Batch::buffered().put(CURSORS, uuid.as_bytes().to_vec(), record);
        self.store.commit(batch).await?;
        self.places().insert(uuid, place);
        Ok(())
    }

    /// Forgets the changes that are behind all mappings of the bucket.
    async fn trim(&mut self) -> Result<(), StateError> {
        if self.untrimmed == 0 {
            return Ok(());
        }
        self.untrimmed = 0;
        let bucket = self.named.bucket.to_string();
        let slowest = {
            let places = self.places();
            let of_bucket = places.values().filter(|place| place.bucket == bucket);
            of_bucket.map(decode).min()
        };
        match slowest.flatten() {
            Some(cursor) => self.state.trim_changes(&self.named.bucket, &cursor).await,
            // One of them has yet to begin.
            None => Ok(()),
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        self.places().get(&self.work.mapping.uuid).and_then(decode)
    }

    async fn rest(&self, pause: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            () = sleep(pause) => Ok(()),
        }
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Uuid, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One change as a record of the event.
fn record(source_arn: &str, bucket: &BucketName, change: &Change) -> Value {
    let region = source_arn.split(':').nth(3).unwrap_or_default();
    let time_ms = i64::try_from(change.time / 1000).unwrap_or(i64::MAX);
    let mut record = json!({
        "eventID": event_id(&change.cursor),
        "eventName": match change.kind {
            ChangeKind::Written => "Written",
            ChangeKind::Deleted => "Deleted",
        },
        "eventSource": "squall:state",
        "eventSourceARN": source_arn,
        "awsRegion": region,
        "eventTime": crate::bus::iso(time_ms),
        "bucket": bucket.to_string(),
        "lattice": change.lattice,
    });
    match std::str::from_utf8(&change.key) {
        Ok(key) => record["key"] = key.into(),
        Err(_) => record["keyBase64"] = STANDARD.encode(&change.key).into(),
    }
    record
}

/// Names a change. Later ones have larger names.
fn event_id(cursor: &Cursor) -> String {
    cursor
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn encode(cursor: &Cursor) -> String {
    STANDARD.encode(cursor.as_bytes())
}

fn decode(place: &Place) -> Option<Cursor> {
    let bytes = STANDARD.decode(&place.cursor).ok()?;
    (!bytes.is_empty()).then(|| Cursor::from_bytes(bytes))
}
