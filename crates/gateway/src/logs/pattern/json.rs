//! Selectors of JSON: `{ ($.user.id = 1) && ($.tags[0] != "x" || $.error IS TRUE) }`. A line that is not JSON does not
//! fit, nor does one whose members are not there, unless that is what is asked.

use serde_json::Value;

use super::PatternError;
use super::compare::{Comparison, Operator};
use super::scan::Scanner;

/// How deep parentheses may be.
const DEPTH_MAX: usize = 16;
/// What ends a word on the right side of a comparison.
const WORD_ENDS: &str = ")}&|";

/// A condition on a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Selector {
    All(Vec<Selector>),
    Any(Vec<Selector>),
    Test(Path, Test),
}

/// The way to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
    /// Every item of a list, or every member of an object.
    Every,
}

/// What is asked about a member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Compare(CompareMember),
    Is(Kind),
    NotExists,
    Exists,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompareMember(Comparison);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
}

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut scanner = Scanner::new(text);
        scanner.expect("{")?;
        let selector = Self::any(&mut scanner, 0)?;
        scanner.expect("}")?;
        scanner.skip_spaces();
        if !scanner.is_empty() {
            return Err(PatternError::new("something stands behind its `}`"));
        }
        Ok(selector)
    }

    fn any(scanner: &mut Scanner<'_>, depth: usize) -> Result<Self, PatternError> {
        let mut alternatives = vec![Self::all(scanner, depth)?];
        scanner.skip_spaces();
        while scanner.take("||") {
            alternatives.push(Self::all(scanner, depth)?);
            scanner.skip_spaces();
        }
        Ok(one_or(alternatives, Self::Any))
    }

    fn all(scanner: &mut Scanner<'_>, depth: usize) -> Result<Self, PatternError> {
        let mut parts = vec![Self::part(scanner, depth)?];
        scanner.skip_spaces();
        while scanner.take("&&") {
            parts.push(Self::part(scanner, depth)?);
            scanner.skip_spaces();
        }
        Ok(one_or(parts, Self::All))
    }

    fn part(scanner: &mut Scanner<'_>, depth: usize) -> Result<Self, PatternError> {
        scanner.skip_spaces();
        if !scanner.take("(") {
            return Self::test(scanner);
        }
        if depth == DEPTH_MAX {
            return Err(PatternError::new(format!(
                "parentheses are more than {DEPTH_MAX} deep"
            )));
        }
        let inner = Self::any(scanner, depth + 1)?;
        scanner.expect(")")?;
        Ok(inner)
    }

    fn test(scanner: &mut Scanner<'_>) -> Result<Self, PatternError> {
        let path = Path::take(scanner)?;
        if let Some(operator) = Operator::take(scanner) {
            let comparison = Comparison::take(operator, scanner, WORD_ENDS)?;
            return Ok(Self::Test(path, Test::Compare(CompareMember(comparison))));
        }
        let mut word = || {
            scanner.skip_spaces();
            scanner
                .take_while(|letter| letter.is_ascii_alphabetic())
                .to_ascii_uppercase()
        };
        let test = match (word().as_str(), word().as_str()) {
            ("IS", "NULL") => Test::Is(Kind::Null),
            ("IS", "TRUE") => Test::Is(Kind::True),
            ("IS", "FALSE") => Test::Is(Kind::False),
            ("NOT", "EXISTS") => Test::NotExists,
            ("EXISTS", "") => Test::Exists,
            _ => {
                return Err(PatternError::new(
                    "behind a member there must be =, !=, <, <=, >, >=, IS NULL, IS TRUE, IS FALSE or NOT EXISTS",
                ));
            }
        };
        Ok(Self::Test(path, test))
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let line = line.trim_start();
        // Most lines are no JSON; a look at the first letter says so.
        if !line.starts_with(['{', '[']) {
            return false;
        }
        serde_json::from_str(line).is_ok_and(|value: Value| self.fits(&value))
    }

    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.fits(value)),
            Self::Any(parts) => parts.iter().any(|part| part.fits(value)),
            Self::Test(path, Test::NotExists) => !path.any(value, &|_| true),
            Self::Test(path, Test::Exists) => path.any(value, &|_| true),
            Self::Test(path, Test::Is(kind)) => path.any(value, &|found| kind.is(found)),
            Self::Test(path, Test::Compare(comparison)) => path.any(value, &|found| comparison.fits(found)),
        }
    }
}

fn one_or(mut parts: Vec<Selector>, several: impl FnOnce(Vec<Selector>) -> Selector) -> Selector {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        several(parts)
    }
}

impl Kind {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::True => *value == Value::Bool(true),
            Self::False => *value == Value::Bool(false),
        }
    }
}

impl CompareMember {
    fn fits(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.0.fits_text(text),
            Value::Number(number) => {
                let written = number.to_string();
                self.0.fits_number(number.as_f64().unwrap_or(f64::NAN), &written)
            }
            Value::Bool(truth) => self.0.fits_text(if *truth { "true" } else { "false" }),
            // As on AWS: what is no single value cannot be compared.
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

impl Path {
    /// `$.a.b[0]["c d"]`, or `$` alone.
    fn take(scanner: &mut Scanner<'_>) -> Result<Self, PatternError> {
        scanner.expect("$")?;
        let mut steps = Vec::new();
        loop {
            if scanner.take(".") {
                let name = scanner.take_while(|letter| letter.is_alphanumeric() || "_-@#/*".contains(letter));
                match name {
                    "" => return Err(PatternError::new("a `.` is followed by no name of a member")),
                    "*" => steps.push(Step::Every),
                    name => steps.push(Step::Member(name.to_owned())),
                }
            } else if scanner.take("[") {
                let step = match scanner.peek() {
                    Some('"') => Step::Member(scanner.quoted()?),
                    Some('*') => {
                        scanner.take("*");
                        Step::Every
                    }
                    _ => {
                        let number = scanner.take_while(|letter| letter.is_ascii_digit());
                        let number = number.parse().map_err(|_| {
                            PatternError::new(
                                "between `[` and `]` there must be a number, a quoted name or `*`",
                            )
                        })?;
                        Step::Item(number)
                    }
                };
                scanner.expect("]")?;
                steps.push(step);
            } else {
                return Ok(Self(steps));
            }
        }
    }

    /// Whether any value at the end of the way fits.
    fn any(&self, value: &Value, fits: &dyn Fn(&Value) -> bool) -> bool {
        walk(&self.0, value, fits)
    }
}

fn walk(steps: &[Step], value: &Value, fits: &dyn Fn(&Value) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return fits(value);
    };
    match (step, value) {
        (Step::Member(name), Value::Object(members)) => {
            members.get(name).is_some_and(|found| walk(rest, found, fits))
        }
        (Step::Item(number), Value::Array(items)) => {
            items.get(*number).is_some_and(|found| walk(rest, found, fits))
        }
        (Step::Every, Value::Array(items)) => items.iter().any(|found| walk(rest, found, fits)),
        (Step::Every, Value::Object(members)) => members.values().any(|found| walk(rest, found, fits)),
        _ => false,
    }
}
