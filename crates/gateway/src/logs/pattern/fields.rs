//! Selectors of fields: `[ip, user, ..., status = 4* && status != 404, bytes > 1000]`. A line's fields stand between
//! spaces; what is in quotes or square brackets is one. A line fits that has as many fields; `...` stands for any
//! number of them.

use super::PatternError;
use super::compare::{Comparison, Operator};
use super::scan::Scanner;

/// The most fields of a pattern.
const FIELDS_MAX: usize = 64;
/// The most fields of a line that is looked at.
const LINE_FIELDS_MAX: usize = 1024;
/// What ends a word on the right side of a comparison.
const WORD_ENDS: &str = ",]&|()";

/// What is asked about a line's fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fields {
    before: Vec<Field>,
    /// Those behind `...`; `None` where there is no such thing.
    behind: Option<Vec<Field>>,
}

/// Any of these must hold of a field, and of each all: none where anything will do.
#[derive(Debug, Clone, Default, PartialEq)]
struct Field(Vec<Vec<Comparison>>);

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut fields = Self {
            before: Vec::new(),
            behind: None,
        };
        let mut scanner = Scanner::new(text);
        scanner.expect("[")?;
        let mut count = 0;
        loop {
            count += 1;
            if count > FIELDS_MAX {
                return Err(PatternError::new(format!("it has more than {FIELDS_MAX} fields")));
            }
            scanner.skip_spaces();
            if scanner.take("...") {
                if fields.behind.replace(Vec::new()).is_some() {
                    return Err(PatternError::new("`...` may stand once"));
                }
            } else {
                let field = Field::take(&mut scanner)?;
                fields.behind.as_mut().unwrap_or(&mut fields.before).push(field);
            }
            scanner.skip_spaces();
            if !scanner.take(",") {
                break;
            }
        }
        scanner.expect("]")?;
        scanner.skip_spaces();
        if !scanner.is_empty() {
            return Err(PatternError::new("something stands behind its `]`"));
        }
        Ok(fields)
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let fields = split(line);
        let behind = self.behind.as_deref().unwrap_or_default();
        let enough = self.before.len() + behind.len();
        let fits_count = match self.behind {
            Some(_) => fields.len() >= enough,
            None => fields.len() == enough,
        };
        if !fits_count {
            return false;
        }
        let last = &fields[fields.len() - behind.len()..];
        let fits = |(wanted, field): (&Field, &&str)| wanted.fits(field);
        self.before.iter().zip(&fields).all(fits) && behind.iter().zip(last).all(fits)
    }
}

impl Field {
    /// `name`, or `name > 7 && name < 9 || name = 0`; an empty one is any field.
    fn take(scanner: &mut Scanner<'_>) -> Result<Self, PatternError> {
        let mut alternatives = vec![Vec::new()];
        loop {
            scanner.skip_spaces();
            scanner.take_while(|letter| letter.is_alphanumeric() || "_-.@".contains(letter));
            let Some(operator) = Operator::take(scanner) else {
                return Ok(Self(alternatives));
            };
            let comparison = Comparison::take(operator, scanner, WORD_ENDS)?;
            if let Some(all) = alternatives.last_mut() {
                all.push(comparison);
            }
            scanner.skip_spaces();
            if scanner.take("||") {
                alternatives.push(Vec::new());
            } else if !scanner.take("&&") {
                return Ok(Self(alternatives));
            }
        }
    }

    fn fits(&self, field: &str) -> bool {
        let fits_all = |all: &Vec<Comparison>| all.iter().all(|one| one.fits_text(field));
        self.0.iter().any(fits_all)
    }
}

/// The fields of a line.
fn split(line: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && fields.len() < LINE_FIELDS_MAX {
        let end = match rest.chars().next() {
            Some('"') => Some('"'),
            Some('[') => Some(']'),
            _ => None,
        };
        let closed = end.and_then(|end| rest[1..].find(end));
        let (field, behind) = match closed {
            Some(at) => (&rest[1..=at], &rest[at + 2..]),
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        fields.push(field);
        rest = behind.trim_start();
    }
    fields
}
