//! What AWS's models demand of texts and numbers, and how its services say that a member does not comply.
//!
//! Called by the services whose engines take names as they come: event buses and schedules.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A pattern as it is written, and which characters that allows.
type Pattern = (&'static str, fn(char) -> bool);

/// What a text must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    /// The member, as messages name it.
    pub(crate) member: &'static str,
    /// Its length, in characters.
    pub(crate) length: (usize, usize),
    /// What it is made of; `None` for anything.
    pub(crate) pattern: Option<Pattern>,
}

impl Text {
    /// Checks a value.
    ///
    /// # Errors
    /// AWS's message.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let (min, max) = self.length;
        let length = value.chars().count();
        if length < min {
            return Err(self.refusal(value, &format!("have length greater than or equal to {min}")));
        }
        if length > max {
            return Err(self.refusal(value, &format!("have length less than or equal to {max}")));
        }
        match self.pattern {
            Some((pattern, allows)) if !value.chars().all(allows) => {
                Err(self.refusal(value, &format!("satisfy regular expression pattern: {pattern}")))
            }
            _ => Ok(()),
        }
    }

    fn refusal(&self, value: &str, must: &str) -> String {
        // A text that is too long is not worth repeating.
        let said: String = value.chars().take(256).collect();
        broken(self.member, said, must)
    }
}

/// Checks a number.
///
/// # Errors
/// AWS's message.
pub(crate) fn number<N>(member: &str, value: N, range: RangeInclusive<N>) -> Result<N, String>
where
    N: PartialOrd + Display + Copy,
{
    if range.contains(&value) {
        return Ok(value);
    }
    let must = if value < *range.start() {
        format!("have value greater than or equal to {}", range.start())
    } else {
        format!("have value less than or equal to {}", range.end())
    };
    Err(broken(member, value, &must))
}

/// AWS's message for a member that is missing.
pub(crate) fn missing(member: &str) -> String {
    broken(member, "null", "not be null")
}

/// AWS's message for a member that does not comply.
pub(crate) fn broken(member: &str, value: impl Display, must: &str) -> String {
    format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {must}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_constraint_is_said_in_aws_words() {
        let name = Text {
            member: "name",
            length: (1, 4),
            pattern: Some(("[a-z]+", |c| c.is_ascii_lowercase())),
        };
        assert_eq!(name.check("abc"), Ok(()));
        for (value, must) in [
            ("", "have length greater than or equal to 1"),
            ("abcde", "have length less than or equal to 4"),
            ("aB", "satisfy regular expression pattern: [a-z]+"),
        ] {
            assert_eq!(name.check(value), Err(broken("name", value, must)));
        }
        assert_eq!(number("limit", 5, 1..=100), Ok(5));
        assert!(number("limit", 0, 1..=100).is_err_and(|text| text.contains("greater than or equal to 1")));
        assert!(number("limit", 101, 1..=100).is_err_and(|text| text.contains("less than or equal to 100")));
    }
}
