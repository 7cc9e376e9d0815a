//! What the store holds of DAGs and runs, and its format.
//!
//! A record is `u8` format, `u32` length of a JSON head (big-endian), the head, and bytes that nobody looks into:
//! a run's arguments, or the value that it ended with.

use bytes::{Buf, BufMut, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_store::Space;
use squall_types::Encoding;

use super::{DagError, Ending, Options, RunId, Spec, Value};

/// DAGs, by name.
pub(crate) const DAGS: Space = Space("dags");
/// Accepted runs that have not ended, by id.
pub(crate) const RUNS: Space = Space("dag-runs");
/// How runs ended, by id.
pub(crate) const ENDINGS: Space = Space("dag-endings");
/// When endings are forgotten: milliseconds since 1970 (8 bytes, big-endian) and the run's id; the value is the
/// ending's size in bytes (8 bytes, big-endian).
pub(crate) const EXPIRIES: Space = Space("dag-expiries");

const FORMAT: u8 = 1;

/// A registered DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DagRecord {
    pub(crate) name: String,
    pub(crate) spec: Spec,
    pub(crate) registered_at_ms: u64,
}

/// The head of an accepted run. It holds the DAG as it was then: another one of that name does not change it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) dag: Option<String>,
    pub(crate) spec: Spec,
    pub(crate) options: Options,
    pub(crate) accepted_at_ms: u64,
}

/// The head of an ending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "lowercase")]
pub(crate) enum EndingRecord {
    Done { encoding: Encoding },
    Failed { function: String },
    Cancelled,
}

/// A record as it is stored.
pub(crate) fn encode(head: &impl Serialize, rest: &[u8]) -> Bytes {
    let head = serde_json::to_vec(head).expect("our own records have string keys and serialise");
    let mut out = Vec::with_capacity(5 + head.len() + rest.len());
    out.put_u8(FORMAT);
    out.put_u32(u32::try_from(head.len()).expect("a head is bounded by the limits of a DAG"));
    out.put_slice(&head);
    out.put_slice(rest);
    out.into()
}

/// Head and rest of a stored record.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, mut record: Bytes) -> Result<(T, Bytes), DagError> {
    let wrong = |reason: String| DagError::Record {
        what: what.to_owned(),
        reason,
    };
    if record.len() < 5 {
        return Err(wrong("it is cut off".to_owned()));
    }
    match record.get_u8() {
        FORMAT => {}
        other => {
            return Err(wrong(format!(
                "it has format {other}, this version reads {FORMAT}"
            )));
        }
    }
    let length = record.get_u32() as usize;
    if record.len() < length {
        return Err(wrong("it is cut off".to_owned()));
    }
    let head = record.split_to(length);
    let head = serde_json::from_slice(&head).map_err(|error| wrong(error.to_string()))?;
    Ok((head, record))
}

pub(crate) fn encode_ending(ending: &Ending) -> Bytes {
    match ending {
        Ending::Done(value) => {
            let encoding = value.encoding;
            encode(&EndingRecord::Done { encoding }, &value.bytes)
        }
        Ending::Failed { function, error } => {
            let function = function.clone();
            encode(&EndingRecord::Failed { function }, error)
        }
        Ending::Cancelled => encode(&EndingRecord::Cancelled, b""),
    }
}

pub(crate) fn decode_ending(id: RunId, record: Bytes) -> Result<Ending, DagError> {
    let (head, bytes) = decode(&format!("run {id}"), record)?;
    Ok(match head {
        EndingRecord::Done { encoding } => Ending::Done(Value { encoding, bytes }),
        EndingRecord::Failed { function } => Ending::Failed {
            function,
            error: bytes,
        },
        EndingRecord::Cancelled => Ending::Cancelled,
    })
}

/// The key of an expiry.
pub(crate) fn expiry_key(at_ms: u64, id: RunId) -> Bytes {
    let mut key = Vec::with_capacity(24);
    key.put_u64(at_ms);
    key.put_slice(id.0.as_bytes());
    key.into()
}

/// What an expiry's key says.
pub(crate) fn read_expiry_key(mut key: &[u8]) -> Option<(u64, RunId)> {
    if key.len() != 24 {
        return None;
    }
    let at_ms = key.get_u64();
    Some((at_ms, RunId(uuid::Uuid::from_slice(key).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first version; it must be read for ever.
    const RUN_1: &[u8] = b"\x01\x00\x00\x00\xef{\"dag\":\"compose\",\"spec\":{\"functions\":[{\"name\":\"a\",\"takes\":\"arguments\"},{\"name\":\"b\",\"function\":\"square:1\",\"takes\":\"event\"}],\"edges\":[[\"a\",\"b\"]]},\"options\":{\"level\":\"causal\",\"output\":null,\"timeout_ms\":1000,\"keep_ms\":2000},\"accepted_at_ms\":7}rest";
    const ENDING_1: &[u8] =
        b"\x01\x00\x00\x00\x28{\"ended\":\"done\",\"encoding\":\"pickle\"}    \x80\x05K\x10.";

    #[test]
    fn reads_what_the_first_version_wrote() {
        let (run, rest): (RunRecord, _) = decode("it", Bytes::from_static(RUN_1)).expect("a record");
        assert_eq!((run.dag.as_deref(), run.accepted_at_ms), (Some("compose"), 7));
        assert_eq!(run.options.level.as_deref(), Some("causal"));
        assert_eq!(run.spec.functions[1].function.as_deref(), Some("square:1"));
        assert_eq!(rest, "rest");
        assert_eq!(encode(&run, &rest), RUN_1, "and still writes it");
        let id = RunId::random();
        let ending = decode_ending(id, Bytes::from_static(ENDING_1)).expect("a record");
        let value = Value {
            encoding: Encoding::Pickle,
            bytes: Bytes::from_static(b"\x80\x05K\x10."),
        };
        assert_eq!(ending, Ending::Done(value));
    }

    #[test]
    fn a_record_of_another_format_is_named() {
        let error =
            decode_ending(RunId::random(), Bytes::from_static(b"\x02\0\0\0\0")).expect_err("no record");
        assert!(
            error
                .to_string()
                .ends_with("it has format 2, this version reads 1"),
            "{error}"
        );
        assert!(decode_ending(RunId::random(), Bytes::from_static(b"\x01\0\0\0\x09{}")).is_err());
    }

    #[test]
    fn endings_and_expiries_are_read_back() {
        let id = RunId::random();
        let failed = Ending::Failed {
            function: "f".to_owned(),
            error: Bytes::from_static(b"{}"),
        };
        for ending in [failed, Ending::Cancelled] {
            assert_eq!(
                decode_ending(id, encode_ending(&ending)).expect("our own"),
                ending
            );
        }
        assert_eq!(read_expiry_key(&expiry_key(5, id)), Some((5, id)));
    }
}
