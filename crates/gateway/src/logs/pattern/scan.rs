//! Reading a pattern from left to right.

use super::PatternError;

/// What is left of a pattern.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    pub(super) fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start();
    }

    /// Takes a text, if it is next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a text that must be next, behind spaces.
    pub(super) fn expect(&mut self, text: &str) -> Result<(), PatternError> {
        self.skip_spaces();
        if self.take(text) {
            return Ok(());
        }
        let found = match self.0.chars().take(10).collect::<String>() {
            rest if rest.is_empty() => "its end".to_owned(),
            rest => format!("`{rest}`"),
        };
        Err(PatternError::new(format!(
            "there must be `{text}` where there is {found}"
        )))
    }

    /// Takes letters as long as they are wanted; perhaps none.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|letter| !wanted(letter)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Takes a text in quotes, which are next; a backslash stands before what is meant as it is.
    pub(super) fn quoted(&mut self) -> Result<String, PatternError> {
        let mut text = String::new();
        let mut letters = self.0.char_indices();
        letters.next();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(text);
                }
                '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                letter => text.push(letter),
            }
        }
        Err(PatternError::new("a quoted text has no end"))
    }
}
