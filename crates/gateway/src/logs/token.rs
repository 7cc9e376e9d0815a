//! Tokens of pages: a place between two lines of a function's log.
//!
//! A place names a record and how many of its lines are before it. What was removed meanwhile moves none of the rest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use squall_store::logs::Place;

/// A place between two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Between {
    pub(super) record: Place,
    /// So many lines of the record are before it.
    pub(super) lines: u32,
}

impl Between {
    /// Before all lines.
    pub(super) const START: Self = Self {
        record: [0; size_of::<Place>()],
        lines: 0,
    };

    /// Behind the lines of a record, all of them.
    pub(super) fn behind(record: Place) -> Self {
        Self {
            record,
            lines: u32::MAX,
        }
    }

    /// The token of it.
    pub(super) fn token(self) -> String {
        let mut bytes = self.record.to_vec();
        bytes.extend(self.lines.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token.
    pub(super) fn read(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (record, lines) = bytes.split_first_chunk()?;
        Some(Self {
            record: *record,
            lines: u32::from_be_bytes(lines.try_into().ok()?),
        })
    }

    /// The place that a scan to the end starts behind, so that it looks at this record, too.
    pub(super) fn before_record(self) -> Option<Place> {
        step(self.record, |byte| byte.overflowing_sub(1))
    }

    /// The same for a scan to the start.
    pub(super) fn behind_record(self) -> Option<Place> {
        step(self.record, |byte| byte.overflowing_add(1))
    }
}

/// The number that a place is, one less or more; `None` past either end.
fn step(mut place: Place, by_one: impl Fn(u8) -> (u8, bool)) -> Option<Place> {
    for byte in place.iter_mut().rev() {
        let (stepped, carries) = by_one(*byte);
        *byte = stepped;
        if !carries {
            return Some(place);
        }
    }
    None
}

/// The id of a line: 56 digits, as on AWS, that grow from line to line.
pub(super) fn event_id(record: Place, line: usize) -> String {
    let number = record
        .iter()
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:046}{line:010}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_back_and_its_neighbours_surround_it(record: Place, lines: u32) {
            let between = Between { record, lines };
            prop_assert_eq!(Between::read(&between.token()), Some(between));
            prop_assert!(between.before_record().is_none_or(|before| before < record));
            prop_assert!(between.behind_record().is_none_or(|behind| behind > record));
            prop_assert_eq!(event_id(record, 7).len(), 56);
        }
    }

    #[test]
    fn the_ends_have_no_neighbours_and_odd_tokens_are_none() {
        assert_eq!(Between::START.before_record(), None);
        assert_eq!(Between::behind([255; 12]).behind_record(), None);
        assert_eq!(Between::read("?"), None);
        assert_eq!(Between::read(""), None);
        let (one, other) = ([0; 12], [1; 12]);
        assert!(event_id(one, 9) < event_id(one, 10) && event_id(one, 10) < event_id(other, 0));
    }
}
