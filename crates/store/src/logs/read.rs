//! Reading records with their places, in both directions, for protocols that page by place and by stream.
//!
//! A place is a record's key without its function's name: twelve bytes that grow with every append.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use squall_types::{FunctionName, RequestId};

use super::record::{self, APPEND_BYTES, LOGS, Record};
use super::{LogEvent, LogStore, READ_BATCHES_MAX, READ_BYTES_MAX, READ_STEP_RECORDS, writer};
use crate::{Scan, StoreError};

/// Where a record is among its function's.
pub type Place = [u8; APPEND_BYTES];

/// A record and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where.
    pub place: Place,
    /// The log stream.
    pub stream: Arc<str>,
    /// The invocation, as in a batch.
    pub request_id: Option<RequestId>,
    /// The lines, in order.
    pub events: Vec<LogEvent>,
}

/// A question for records.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    /// Whose.
    pub function: FunctionName,
    /// Only those behind this place, in the direction of the query.
    pub after: Option<Place>,
    /// From the last to the first.
    pub reverse: bool,
    /// Only those with a line at or after this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Enough lines: a page may have more, of its last record.
    pub events_max: usize,
}

/// Some records.
#[derive(Debug, Clone)]
pub struct RecordPage {
    /// In the direction of the query.
    pub records: Vec<LogRecord>,
    /// The last place that was looked at, where there may be more behind it.
    pub cursor: Option<Place>,
}

/// A log stream: what one instance wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Its name.
    pub name: Arc<str>,
    /// The time of its first line, in milliseconds since 1970.
    pub first_ms: i64,
    /// That of its last.
    pub last_ms: i64,
    /// Its records' bytes.
    pub bytes: u64,
}

impl LogStore {
    /// The functions that have lines, with the bytes of their records, by name.
    pub fn functions(&self) -> BTreeMap<FunctionName, u64> {
        let usages = writer::lock(&self.usages);
        let all = usages.iter().filter(|(_, usage)| usage.bytes > 0);
        all.map(|(function, usage)| (function.clone(), usage.bytes))
            .collect()
    }

    /// Records of the streams that are wanted, up to a bounded number and size.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn records(
        &self,
        query: RecordQuery,
        wanted: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<RecordPage, StoreError> {
        self.flush().await?;
        let prefix = record::prefix(&query.function);
        let key_of = |place: &Place| -> Bytes { [&prefix[..], &place[..]].concat().into() };
        let mut after = query.after.as_ref().map(key_of);
        if !query.reverse {
            // Not through what was removed.
            after = self.head(&query.function).max(after);
        }
        let mut page = RecordPage {
            records: Vec::new(),
            cursor: None,
        };
        let (mut looked_at, mut bytes, mut events) = (0, 0, 0);
        while looked_at < READ_BATCHES_MAX && bytes < READ_BYTES_MAX {
            let mut scan = Scan::prefix(LOGS, prefix.clone()).limit(READ_STEP_RECORDS);
            scan.after = after.clone();
            scan.reverse = query.reverse;
            let found = self.store.scan(scan).await?;
            let is_end = found.len() < READ_STEP_RECORDS;
            for (key, entry) in found {
                looked_at += 1;
                let place = place(&key)?;
                let record = Record::open(&key, &entry.value)?;
                let too_old = query
                    .since_ms
                    .is_some_and(|since| record.header.newest_ms < since);
                if !too_old && wanted(&record.header.stream) {
                    bytes += entry.value.len();
                    let lines = record.events(&key)?;
                    events += lines.len();
                    page.records.push(LogRecord {
                        place,
                        stream: record.header.stream,
                        request_id: record.header.request_id,
                        events: lines,
                    });
                }
                page.cursor = Some(place);
                after = Some(key);
                if events >= query.events_max {
                    return Ok(page);
                }
            }
            if is_end {
                page.cursor = None;
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// The streams of a function, by name. Reads all that is kept of it, in steps.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn streams(&self, function: &FunctionName) -> Result<Vec<StreamView>, StoreError> {
        self.flush().await?;
        let mut streams: BTreeMap<Arc<str>, StreamView> = BTreeMap::new();
        let mut after = self.head(function);
        loop {
            let mut scan = Scan::prefix(LOGS, record::prefix(function)).limit(READ_STEP_RECORDS);
            scan.after = after.clone();
            let found = self.store.scan(scan).await?;
            let is_end = found.len() < READ_STEP_RECORDS;
            for (key, entry) in found {
                let record = Record::open(&key, &entry.value)?;
                let header = &record.header;
                let bytes = (key.len() + entry.value.len()) as u64;
                if let Some(stream) = streams.get_mut(&header.stream) {
                    stream.last_ms = stream.last_ms.max(header.newest_ms);
                    stream.bytes += bytes;
                } else {
                    let lines = record.events(&key)?;
                    let first = lines.iter().map(|line| line.at_ms).min();
                    let view = StreamView {
                        name: header.stream.clone(),
                        first_ms: first.unwrap_or(header.newest_ms),
                        last_ms: header.newest_ms,
                        bytes,
                    };
                    streams.insert(header.stream.clone(), view);
                }
                after = Some(key);
            }
            if is_end {
                return Ok(streams.into_values().collect());
            }
        }
    }

    /// The last key that was removed.
    fn head(&self, function: &FunctionName) -> Option<Bytes> {
        let usages = writer::lock(&self.usages);
        let usage = usages.get(function)?;
        usage.head.clone().map(Bytes::from)
    }
}

fn place(key: &[u8]) -> Result<Place, StoreError> {
    let at = key.len().saturating_sub(APPEND_BYTES);
    let place = key[at..].try_into();
    place.map_err(|_| StoreError::Corrupt(format!("the log key `{}` is too short", key.escape_ascii())))
}
