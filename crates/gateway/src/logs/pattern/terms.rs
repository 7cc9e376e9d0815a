//! Terms: all of `one two` must be in a line, at least one of `?one ?two`, none of `-one -two`. Case counts.

use super::PatternError;
use super::scan::Scanner;

/// Texts that a line is searched for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Terms {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut terms = Self::default();
        let mut scanner = Scanner::new(text);
        loop {
            scanner.skip_spaces();
            if scanner.is_empty() {
                break;
            }
            let into = if scanner.take("?") {
                &mut terms.any
            } else if scanner.take("-") {
                &mut terms.none
            } else {
                &mut terms.all
            };
            let term = match scanner.peek() {
                Some('"') => scanner.quoted()?,
                Some('%') => {
                    return Err(PatternError::new(
                        "regular expressions (`%…%`) are not supported by Squall",
                    ));
                }
                _ => {
                    let word = scanner.take_while(|letter| !letter.is_whitespace());
                    let odd = word
                        .chars()
                        .find(|letter| !letter.is_alphanumeric() && *letter != '_');
                    if let Some(odd) = odd {
                        let text = format!("`{word}` has `{odd}`: put it in double quotes");
                        return Err(PatternError::new(text));
                    }
                    word.to_owned()
                }
            };
            if term.is_empty() {
                return Err(PatternError::new("a term is empty"));
            }
            into.push(term);
        }
        // With terms that must be there, AWS passes over those of which one would do.
        if !terms.all.is_empty() {
            terms.any.clear();
        }
        Ok(terms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let has = |term: &String| line.contains(term.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }
}
