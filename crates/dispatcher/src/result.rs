//! What came of an accepted event, kept for a time under its request id.
//!
//! Written in the batch that ends the event, so that one is not there without the other; read by the gateway.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Op, Store, StoreError};
use squall_types::{EventNote, EventResult, InvokeError, RequestId};

use crate::dispatcher::Inner;
use crate::kept::{Kept, Limits, Put, seal, unseal};
use crate::log::unix_ms;
use crate::queue::record::{Condition, Event, Note};

/// The first byte of their keys.
const KIND: u8 = b'r';
/// A change of [`Stored`] is a new format, and still reads the old.
const FORMAT: u8 = 1;

/// The results that are kept.
pub(crate) struct Results(Kept);

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    function: &'a str,
    accepted_ms: i64,
    ended_ms: i64,
    failures: u8,
    condition: Condition,
    /// The version that ran last, and what it answered.
    response: Option<(&'a str, &'a [u8])>,
    notes: Vec<Note>,
}

impl Results {
    pub(crate) async fn open(store: Arc<dyn Store>, limits: Limits) -> Result<Self, StoreError> {
        Kept::open(store, KIND, limits).await.map(Self)
    }

    /// What writes the result of an event, once it ended.
    pub(crate) fn put(&self, event: &Event, function_arn: &str) -> Option<Put> {
        let ended = event.ending.as_ref()?.at;
        let record = encode(event, function_arn)?;
        Some(self.0.put(*event.request_id.0.as_bytes(), record, ended))
    }

    /// Knows results that were written.
    pub(crate) fn noted(&self, put: Option<&Put>) {
        if let Some(put) = put {
            self.0.noted(put);
        }
    }

    pub(crate) async fn sweep(&self, now: SystemTime) -> Result<(), StoreError> {
        self.0.sweep(now).await
    }

    /// Removes the oldest at once, where there are too many.
    pub(crate) async fn keep_bounds(&self, now: SystemTime) {
        if self.0.is_over()
            && let Err(error) = self.0.sweep(now).await
        {
            tracing::error!(%error, "could not remove the oldest results");
        }
    }
}

/// The operations of a put, for its batch.
pub(crate) fn ops(put: Option<&mut Put>) -> Vec<Op> {
    put.map(|put| std::mem::take(&mut put.ops)).unwrap_or_default()
}

/// The result of the event with this id.
pub(crate) async fn find(
    inner: &Inner,
    id: RequestId,
    now: SystemTime,
) -> Result<Option<EventResult>, InvokeError> {
    let broken = |error: &dyn std::fmt::Display| {
        InvokeError::Platform(format!("could not read the result of `{id}`: {error}"))
    };
    let found = inner.results.0.get(*id.0.as_bytes(), now).await;
    let Some((record, kept_until_ms)) = found.map_err(|error| broken(&error))? else {
        return Ok(None);
    };
    let result = decode(&record, id, kept_until_ms).map_err(|error| broken(&error))?;
    Ok(Some(result))
}

fn encode(event: &Event, function_arn: &str) -> Option<Bytes> {
    let ending = event.ending.as_ref()?;
    let response = ending.response.as_ref();
    let stored = Stored {
        function: function_arn,
        accepted_ms: unix_ms(event.accepted),
        ended_ms: unix_ms(ending.at),
        failures: event.failures,
        condition: ending.condition,
        response: response.map(|(version, body)| (version.as_str(), &body[..])),
        notes: event.notes.clone(),
    };
    Some(seal(FORMAT, &stored, response.map_or(0, |(_, body)| body.len())))
}

fn decode(record: &Bytes, request_id: RequestId, kept_until_ms: i64) -> Result<EventResult, String> {
    let stored: Stored<'_> = unseal(FORMAT, record)?;
    let notes = stored.notes.into_iter().map(|note| EventNote {
        at_ms: note.at_ms,
        text: note.text,
    });
    Ok(EventResult {
        request_id,
        function: stored.function.to_owned(),
        accepted_ms: stored.accepted_ms,
        ended_ms: stored.ended_ms,
        failures: stored.failures,
        condition: stored.condition.as_str(),
        is_success: stored.condition == Condition::Success,
        executed_version: stored.response.map(|(version, _)| version.to_owned()),
        notes: notes.collect(),
        kept_until_ms,
        response: stored.response.map(|(_, body)| record.slice_ref(body)),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use squall_types::Invocation;

    use super::*;
    use crate::queue::record::Ending;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST";

    fn ended() -> Event {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut invocation = Invocation::new("f".parse().expect("a name"), Bytes::new());
        invocation.request_id = "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().expect("a UUID");
        let mut event = Event::new(invocation, at(1));
        event.note(at(2), "ValueError: no".to_owned());
        event.failures = 1;
        event.ending = Some(Ending {
            at: at(3),
            condition: Condition::Success,
            response: Some(("7".to_owned(), Bytes::from_static(b"[1]"))),
            pending: Vec::new(),
        });
        event
    }

    /// [`ended`] as format 1 was first written.
    const FORMAT_1: &str = "015c4caee13861726e3a6177733a6c616d6264613a75732d656173742d313a3030303030303030\
        303030303a66756e6374696f6e3a663a244c4154455354d00ff02e0100010137035b315d01a01f0e56616c75654572726f723a206e6f";

    #[test]
    fn what_the_first_release_wrote_is_read_and_still_written() {
        let event = ended();
        let record = encode(&event, ARN).expect("it ended");
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FORMAT_1);
        let read = decode(&record, event.request_id, 9).expect("a whole record");
        assert_eq!(
            (read.accepted_ms, read.ended_ms, read.kept_until_ms),
            (1000, 3000, 9)
        );
        assert_eq!(
            (read.condition, read.is_success, read.failures),
            ("Success", true, 1)
        );
        assert_eq!(read.executed_version.as_deref(), Some("7"));
        assert_eq!(read.response.as_deref(), Some(&b"[1]"[..]));
        assert_eq!(read.notes[0].text, "ValueError: no");
        assert_eq!(read.function, ARN);
    }
}
