//! How a line's text lies in a record: of those that the platform writes for every invocation, only what differs.
//!
//! They are most of what is kept of a function that says little itself. A line that is not exactly of their form is
//! kept as it is, whoever wrote it, so nothing depends on who does.

use serde::{Deserialize, Serialize};

const START: &str = "START RequestId: ";
const END: &str = "END RequestId: ";
const REPORT: &str = "REPORT RequestId: ";
const VERSION: &str = " Version: ";
/// What stands before and between the fields of a report.
const BETWEEN: [&str; 5] = [
    "\tDuration: ",
    " ms\tBilled Duration: ",
    " ms\tMemory Size: ",
    " MB\tMax Memory Used: ",
    " MB\t",
];

/// A text with what its form has in common left out. The forms of lines that name the record's own invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Text<'a> {
    /// As it is.
    Any(&'a str),
    /// `START`, by the version.
    Start(&'a str),
    /// `END`.
    End,
    /// `REPORT`, by the four figures that each has, as they were written, and what follows them.
    Report([&'a str; BETWEEN.len()]),
}

impl<'a> Text<'a> {
    /// `text` in a record of the invocation `id`, which is empty where there is none.
    pub(super) fn of(text: &'a str, id: &str) -> Self {
        let form = match text.as_bytes().first() {
            _ if id.is_empty() => None,
            Some(b'S') => {
                behind(text, START, id).and_then(|rest| rest.strip_prefix(VERSION).map(Self::Start))
            }
            Some(b'E') => behind(text, END, id).and_then(|rest| rest.is_empty().then_some(Self::End)),
            Some(b'R') => behind(text, REPORT, id).and_then(|rest| fields(rest).map(Self::Report)),
            _ => None,
        };
        form.unwrap_or(Self::Any(text))
    }

    /// How many bytes it takes, beside its form and its fields' lengths.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Any(text) | Self::Start(text) => text.len(),
            Self::End => 0,
            Self::Report(fields) => fields.iter().map(|field| field.len()).sum(),
        }
    }

    /// The text again.
    pub(super) fn write(self, id: &str) -> String {
        match self {
            Self::Any(text) => text.to_owned(),
            Self::Start(version) => [START, id, VERSION, version].concat(),
            Self::End => [END, id].concat(),
            Self::Report(fields) => {
                let mut text = [REPORT, id].concat();
                for (between, field) in BETWEEN.iter().zip(fields) {
                    text.push_str(between);
                    text.push_str(field);
                }
                text
            }
        }
    }
}

/// What follows a form's beginning and the invocation's id.
fn behind<'a>(text: &'a str, beginning: &str, id: &str) -> Option<&'a str> {
    text.strip_prefix(beginning)?.strip_prefix(id)
}

/// The fields of a report: each up to what stands before the next one, the last up to the end.
fn fields(rest: &str) -> Option<[&str; BETWEEN.len()]> {
    let mut rest = rest.strip_prefix(BETWEEN[0])?;
    let mut fields = [""; BETWEEN.len()];
    for (field, between) in fields.iter_mut().zip(&BETWEEN[1..]) {
        (*field, rest) = rest.split_once(between)?;
    }
    fields[BETWEEN.len() - 1] = rest;
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11";

    #[track_caller]
    fn check(text: &str, expected: Text<'_>) {
        let kept = Text::of(text, ID);
        assert_eq!(kept, expected);
        assert_eq!(kept.write(ID), text);
    }

    #[test]
    fn the_platforms_lines_are_kept_by_what_differs() {
        let line = |text: &str| text.replace("ID", ID);
        check(
            &line("START RequestId: ID Version: $LATEST"),
            Text::Start("$LATEST"),
        );
        check(&line("END RequestId: ID"), Text::End);
        let report = "REPORT RequestId: ID\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
                      Max Memory Used: 40 MB\t";
        check(&line(report), Text::Report(["1.23", "2", "128", "40", ""]));
        let first = format!("{report}Init Duration: 100.00 ms\t");
        check(
            &line(&first),
            Text::Report(["1.23", "2", "128", "40", "Init Duration: 100.00 ms\t"]),
        );
    }

    #[test]
    fn what_only_looks_like_them_is_kept_as_it_is() {
        let other = ID.replace('8', "9");
        for text in [
            String::new(),
            format!("START RequestId: {other} Version: 1"),
            format!("START RequestId: {ID}"),
            format!("END RequestId: {ID} "),
            format!("REPORT RequestId: {ID}\tDuration: 1 ms\tMemory Size: 1 MB\t"),
        ] {
            check(&text, Text::Any(&text));
        }
        assert_eq!(
            Text::of("END RequestId: ", ""),
            Text::Any("END RequestId: "),
            "of no invocation"
        );
    }

    proptest! {
        #[test]
        fn every_text_is_what_it_was(pieces in prop::collection::vec(0..12usize, 0..12), any in any::<String>()) {
            let of = |piece: &usize| -> &str {
                [START, END, REPORT, VERSION, ID, &any].into_iter().chain(BETWEEN).nth(*piece).unwrap_or("1")
            };
            let text: String = pieces.iter().map(of).collect();
            prop_assert_eq!(Text::of(&text, ID).write(ID), text);
        }
    }
}
