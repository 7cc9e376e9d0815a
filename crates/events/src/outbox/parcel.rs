//! One message on its way to a target, as it is kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_types::RequestId;

use squall_store::envelope;

const FORMAT: u8 = 1;
/// Stands in a schedule's input for the number of the attempt.
const ATTEMPT_KEYWORD: &str = "<aws.scheduler.attempt-number>";

/// A message for one target, with what is to be done when the target does not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Names the delivery: every attempt has the same one, and a function sees it as its request id.
    pub id: RequestId,
    /// The target's ARN.
    pub target: String,
    /// What it says.
    pub body: String,
    /// What goes beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Further attempts after the first.
    pub retries_max: u32,
    /// When it is given up: milliseconds since 1970.
    pub expires_ms: i64,
    /// A queue's ARN, for when it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// The ARN of the rule or schedule that sent it.
    pub source: String,
    /// Attempts that failed.
    #[serde(default)]
    pub failures: u32,
    /// Why it was given up, once it was: it is on its way to the dead-letter queue then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
}

/// Why a parcel did not reach its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// A name.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl Parcel {
    pub(super) fn encode(&self) -> Bytes {
        envelope::write(FORMAT, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        envelope::read(FORMAT, bytes)
    }

    /// The body of the next attempt.
    pub(super) fn body(&self) -> Bytes {
        if self.body.contains(ATTEMPT_KEYWORD) {
            let attempt = (self.failures + 1).to_string();
            self.body.replace(ATTEMPT_KEYWORD, &attempt).into()
        } else {
            self.body.clone().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 1, as the first version wrote it.
    const FIXTURE: &str = concat!(
        r#"{"id":"00000000-0000-4000-8000-000000000001","target":"arn:aws:sqs:r:a:q","body":"{}","attributes":{"k":"v"},"#,
        r#""retries_max":2,"expires_ms":86400000,"dead_letter":"arn:aws:sqs:r:a:d","source":"arn:aws:events:r:a:rule/x","failures":1}"#
    );

    #[test]
    fn reads_what_the_first_version_wrote() {
        let mut record = vec![1];
        record.extend_from_slice(&crc32fast::hash(FIXTURE.as_bytes()).to_le_bytes());
        record.extend_from_slice(FIXTURE.as_bytes());
        let parcel = Parcel::decode(&record).expect("a parcel");
        assert_eq!(parcel.attributes["k"], "v");
        assert_eq!((parcel.failures, parcel.given_up.as_ref()), (1, None));
        assert_eq!(parcel.encode(), Bytes::from(record.clone()));
        record[20] ^= 1;
        assert_eq!(Parcel::decode(&record), Err("its checksum is wrong".to_owned()));
        record[0] = 9;
        assert!(Parcel::decode(&record).is_err());
    }
}
