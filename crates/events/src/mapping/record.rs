//! The format in which mappings are kept, in the envelope of `store::envelope`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_store::{Space, envelope};
use uuid::Uuid;

use super::{Mapping, Settings};

pub(super) const MAPPINGS: Space = Space("mappings");
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    uuid: Uuid,
    source_arn: String,
    function: String,
    settings: Settings,
    modified_ms: u64,
}

pub(super) fn encode(mapping: &Mapping) -> Bytes {
    let stored = Stored {
        uuid: mapping.uuid,
        source_arn: mapping.source_arn.clone(),
        function: mapping.function.to_string(),
        settings: mapping.settings.clone(),
        modified_ms: mapping.modified_ms,
    };
    envelope::write(FORMAT, &stored)
}

pub(super) fn decode(record: &[u8]) -> Result<Mapping, String> {
    let stored: Stored = envelope::read(FORMAT, record)?;
    Ok(Mapping {
        uuid: stored.uuid,
        source_arn: stored.source_arn,
        function: stored.function.parse().map_err(|error| format!("{error}"))?,
        settings: stored.settings,
        modified_ms: stored.modified_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record of format 1 is behind its header.
    const BODY: &str = r#"{"uuid":"00000000-0000-0000-0000-000000000007","source_arn":"arn:aws:sqs:us-east-1:000000000000:q","function":"f:live","settings":{"enabled":false,"batch_max":5,"window_secs":1,"filters":["{}"],"reports_failures":true,"concurrency_max":2,"starting_position":null},"modified_ms":9}"#;
    const HEADER: &[u8] = b"\x01\x86\x85\x9e\x9a";

    #[test]
    fn records_of_format_1_are_read_and_written() {
        let mapping = Mapping {
            uuid: Uuid::from_u128(7),
            source_arn: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
            function: "f:live".parse().expect("a reference"),
            settings: Settings {
                enabled: false,
                batch_max: 5,
                window_secs: 1,
                filters: vec!["{}".to_owned()],
                reports_failures: true,
                concurrency_max: Some(2),
                starting_position: None,
            },
            modified_ms: 9,
        };
        let written = [HEADER, BODY.as_bytes()].concat();
        assert_eq!(decode(&written).as_ref(), Ok(&mapping));
        assert_eq!(encode(&mapping), written);
        let mut damaged = written;
        damaged[20] ^= 1;
        assert!(decode(&damaged).is_err());
    }
}
