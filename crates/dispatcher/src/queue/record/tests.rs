//! What is written is read, also what earlier releases wrote; what was damaged is refused.

use super::*;

fn sample() -> Event {
    Event {
        request_id: "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().expect("a UUID"),
        target: "resize:live".parse().expect("a valid reference"),
        payload: Bytes::from_static(b"{\"a\":1}"),
        client_context: Some(Bytes::from_static(b"{}")),
        trace_id: Some("Root=1-a".to_owned()),
        accepted: at(1_000),
        failures: 1,
        due: at(61_000),
        notes: Vec::new(),
        ending: None,
    }
}

fn ended() -> Event {
    let pending = Pending {
        arn: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
        kind: Kind::DeadLetter,
        id: "c9bd1f0e-7e0b-4f0c-a4c6-2f6c1b3b1c11".parse().expect("a UUID"),
        error: "full".to_owned(),
    };
    let mut event = sample();
    event.note(at(2_000), "ValueError: no".to_owned());
    event.ending = Some(Ending {
        at: at(3_000),
        condition: Condition::RetriesExhausted,
        response: Some(("$LATEST".to_owned(), Bytes::from_static(b"{}"))),
        pending: vec![pending],
    });
    event
}

#[test]
fn what_is_written_is_read() {
    let plain = Event::new(Invocation::new("f".parse().expect("a name"), Bytes::new()), at(5));
    for event in [sample(), plain, ended()] {
        let read = Event::decode(&event.encode()).expect("a whole record");
        assert_eq!(format!("{read:?}"), format!("{event:?}"));
    }
}

/// [`sample`] as the first release wrote it.
const FORMAT_1: &str = "01adcdd1ab108f5a3c529a3b4c7e9d550d2f7a1b6c1106726573697a6501046c697665077b2261223a31\
                        7d01027b7d0108526f6f743d312d61d00f0190b907";

/// [`ended`] as format 2 was first written.
const FORMAT_2: &str = "02efd265a6108f5a3c529a3b4c7e9d550d2f7a1b6c1106726573697a6501046c697665077b2261223a31\
                        7d01027b7d0108526f6f743d312d61d00f0190b90701a01f0e56616c75654572726f723a206e6f01f02e\
                        010107244c4154455354027b7d012461726e3a6177733a7371733a75732d656173742d313a3030303030\
                        303030303030303a710110c9bd1f0e7e0b4f0ca4c62f6c1b3b1c110466756c6c";

#[track_caller]
fn check(fixture: &str, expected: &Event) {
    let digits = fixture.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let read = Event::decode(&bytes.collect()).expect("a whole record");
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
}

#[test]
fn records_of_all_formats_are_read() {
    check(FORMAT_1, &sample());
    check(FORMAT_2, &ended());
}

#[test]
fn a_record_that_changed_in_any_byte_is_refused() {
    let record = ended().encode();
    for place in 0..record.len() {
        let mut damaged = record.to_vec();
        damaged[place] ^= 0x40;
        assert!(Event::decode(&damaged.into()).is_err(), "byte {place}");
    }
    for length in 0..record.len() {
        assert!(Event::decode(&record.slice(..length)).is_err(), "{length} bytes");
    }
}

#[test]
fn a_key_names_its_sequence_number() {
    assert_eq!(sequence(PREFIX, &key(7)).ok(), Some(7));
    assert_eq!(sequence(FAILED, &failed_key(7)).ok(), Some(7));
    assert!(sequence(PREFIX, b"e123").is_err());
    assert!(sequence(PREFIX, b"x00000000\0\0\0\0").is_err());
}

#[test]
fn notes_are_bounded_and_the_newest_stay() {
    let mut event = sample();
    for number in 0..20 {
        event.note(at(number), format!("{number} {}", "ü".repeat(1000)));
    }
    assert_eq!(event.notes.len(), NOTES_MAX);
    assert!(event.notes.iter().all(|note| note.text.len() <= NOTE_BYTES_MAX));
    assert!(event.notes[NOTES_MAX - 1].text.starts_with("19 "));
}
