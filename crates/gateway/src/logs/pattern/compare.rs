//! Comparing a value with what a pattern says: `=`, `!=`, `<`, `<=`, `>`, `>=`, and texts with `*`.

use super::PatternError;
use super::scan::Scanner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// The longest first: `<=` begins with `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    pub(super) fn take(scanner: &mut Scanner<'_>) -> Option<Self> {
        scanner.skip_spaces();
        let found = Self::ALL.iter().find(|(text, _)| scanner.take(text));
        found.map(|(_, operator)| *operator)
    }
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Number(f64),
    /// The pieces between the `*` of a text.
    Text(Vec<String>),
}

/// An operator with its right side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    operator: Operator,
    wanted: Wanted,
}

impl Comparison {
    /// Reads the right side. A word ends at a space or at one of `ends`.
    pub(super) fn take(
        operator: Operator,
        scanner: &mut Scanner<'_>,
        ends: &str,
    ) -> Result<Self, PatternError> {
        scanner.skip_spaces();
        let wanted = match scanner.peek() {
            Some('"') => Wanted::text(&scanner.quoted()?),
            Some('%') => {
                return Err(PatternError::new(
                    "regular expressions (`%…%`) are not supported by Squall",
                ));
            }
            _ => {
                let word = scanner.take_while(|letter| !letter.is_whitespace() && !ends.contains(letter));
                if word.is_empty() {
                    return Err(PatternError::new("a comparison has nothing on its right side"));
                }
                // Not everything that Rust reads as a number is one in a log: `inf` and `nan` are words.
                let number = word.parse().ok().filter(|number: &f64| number.is_finite());
                number.map_or_else(|| Wanted::text(word), Wanted::Number)
            }
        };
        let is_order = !matches!(operator, Operator::Equal | Operator::NotEqual);
        if is_order && matches!(wanted, Wanted::Text(_)) {
            return Err(PatternError::new("<, <=, > and >= compare with numbers only"));
        }
        Ok(Self { operator, wanted })
    }

    /// Whether a text fits, read as a number where the comparison is with one.
    pub(super) fn fits_text(&self, text: &str) -> bool {
        match &self.wanted {
            Wanted::Number(number) => match text.trim().parse() {
                Ok(value) => self.fits_order(value, *number),
                Err(_) => self.operator == Operator::NotEqual,
            },
            Wanted::Text(pieces) => are_pieces_of(pieces, text) == (self.operator == Operator::Equal),
        }
    }

    /// Whether a number fits, read as a text where the comparison is with one.
    pub(super) fn fits_number(&self, value: f64, written: &str) -> bool {
        match &self.wanted {
            Wanted::Number(number) => self.fits_order(value, *number),
            Wanted::Text(_) => self.fits_text(written),
        }
    }

    #[expect(clippy::float_cmp, reason = "a pattern's `=` asks for the very number")]
    fn fits_order(&self, value: f64, number: f64) -> bool {
        match self.operator {
            Operator::Equal => value == number,
            Operator::NotEqual => value != number,
            Operator::Less => value < number,
            Operator::LessOrEqual => value <= number,
            Operator::Greater => value > number,
            Operator::GreaterOrEqual => value >= number,
        }
    }
}

impl Wanted {
    fn text(text: &str) -> Self {
        Self::Text(text.split('*').map(str::to_owned).collect())
    }
}

/// Whether a text is these pieces with anything between them: the first at its beginning, the last at its end.
fn are_pieces_of(pieces: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return pieces.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    for piece in middle {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}
