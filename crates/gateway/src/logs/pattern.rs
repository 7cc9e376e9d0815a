//! CloudWatch Logs' filter patterns: which lines somebody wants to see.
//!
//! Three languages, told apart by their first letter: terms (`error ?warn -debug "a phrase"`), selectors of JSON
//! (`{ $.level = "error" && $.ms > 7 }`) and of fields between spaces (`[ip, user, status = 4*, bytes > 1000]`).
//! Regular expressions (`%…%`) are refused by name. A pattern is bounded in length and depth, so that a line is tried
//! in bounded time.
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.

mod compare;
mod fields;
mod json;
mod scan;
mod terms;

use self::fields::Fields;
use self::json::Selector;
use self::terms::Terms;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter pattern: {0}")]
pub(crate) struct PatternError(String);

impl PatternError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pattern {
    /// Every line fits.
    All,
    /// Words and phrases.
    Terms(Terms),
    /// Members of a line that is JSON.
    Json(Selector),
    /// The fields of a line.
    Fields(Fields),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, or not supported.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::new(format!(
                "it has {} bytes, and at most {PATTERN_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        let text = text.trim();
        match text.chars().next() {
            None => Ok(Self::All),
            Some('{') => Selector::parse(text).map(Self::Json),
            Some('[') => Fields::parse(text).map(Self::Fields),
            Some(_) => Terms::parse(text).map(|terms| {
                if terms.is_empty() {
                    Self::All
                } else {
                    Self::Terms(terms)
                }
            }),
        }
    }

    /// Whether a line is wanted.
    pub(crate) fn matches(&self, line: &str) -> bool {
        match self {
            Self::All => true,
            Self::Terms(terms) => terms.matches(line),
            Self::Json(selector) => selector.matches(line),
            Self::Fields(fields) => fields.matches(line),
        }
    }
}

#[cfg(test)]
mod tests;
