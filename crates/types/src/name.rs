//! Function names, qualifiers, and the three ways in which a caller may write them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest bare function name, in characters.
const FUNCTION_NAME_CHARS_MAX: usize = 64;
/// The longest alias name, in characters.
const ALIAS_NAME_CHARS_MAX: usize = 128;

/// A name, qualifier or ARN that does not follow Lambda's patterns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `[a-zA-Z0-9-_]+`, or not 1 to 64 characters long.
    #[error("`{0}` is not a function name: use 1 to 64 of letters, digits, `-` and `_`")]
    Function(String),
    /// Neither `$LATEST`, nor a number, nor an alias name.
    #[error("`{0}` is not a qualifier: use `$LATEST`, a version number or an alias name")]
    Qualifier(String),
    /// An ARN of another shape than `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`.
    #[error("`{0}` is not the ARN of a function")]
    Arn(String),
    /// The name carries one qualifier and the query string another.
    #[error("the derived qualifier from the function name does not match the specified qualifier")]
    QualifierMismatch,
}

fn is_name(text: &str, chars_max: usize) -> bool {
    !text.is_empty()
        && text.len() <= chars_max
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The bare name of a function: 1 to 64 of `[a-zA-Z0-9-_]`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_name(text, FUNCTION_NAME_CHARS_MAX) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Function(text.to_owned()))
        }
    }
}

/// The name of an alias: 1 to 128 of `[a-zA-Z0-9-_]`, not digits alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(Arc<str>);

impl AliasName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AliasName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits_only = text.bytes().all(|b| b.is_ascii_digit());
        if is_name(text, ALIAS_NAME_CHARS_MAX) && !digits_only {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Qualifier(text.to_owned()))
        }
    }
}

macro_rules! text_conversions {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
text_conversions!(FunctionName);
text_conversions!(AliasName);

/// Which version of a function a caller means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// `$LATEST`: the mutable version.
    Latest,
    /// A published version, counted from 1.
    Version(u64),
    /// An alias, which points at one version, or at two with weights.
    Alias(AliasName),
}

impl FromStr for Qualifier {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "$LATEST" {
            return Ok(Self::Latest);
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(number) if number > 0 => Ok(Self::Version(number)),
                _ => Err(NameError::Qualifier(text.to_owned())),
            };
        }
        text.parse().map(Self::Alias)
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(number) => write!(f, "{number}"),
            Self::Alias(alias) => f.write_str(alias.as_str()),
        }
    }
}

/// A function as a caller names it: `NAME`, `ACCOUNT:function:NAME` or an ARN, each with an optional `:QUALIFIER`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionRef {
    /// The bare name.
    pub name: FunctionName,
    /// The qualifier, where the caller gave one.
    pub qualifier: Option<Qualifier>,
}

impl FunctionRef {
    /// A reference without a qualifier.
    pub fn unqualified(name: FunctionName) -> Self {
        Self {
            name,
            qualifier: None,
        }
    }

    /// Adds the qualifier of a query string. It must agree with one that the name carries already.
    ///
    /// # Errors
    /// [`NameError::Qualifier`] when it is none, [`NameError::QualifierMismatch`] when the two differ.
    pub fn with_qualifier(mut self, qualifier: Option<&str>) -> Result<Self, NameError> {
        let Some(given) = qualifier else { return Ok(self) };
        let given: Qualifier = given.parse()?;
        match &self.qualifier {
            Some(own) if *own != given => Err(NameError::QualifierMismatch),
            _ => {
                self.qualifier = Some(given);
                Ok(self)
            }
        }
    }
}

impl FromStr for FunctionRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (name, qualifier) = match parts.as_slice() {
            ["arn", _, "lambda", _, _, "function", name] => (name, None),
            ["arn", _, "lambda", _, _, "function", name, qualifier] => (name, Some(qualifier)),
            ["arn", ..] => return Err(NameError::Arn(text.to_owned())),
            [_, "function", name] => (name, None),
            [_, "function", name, qualifier] => (name, Some(qualifier)),
            [name] => (name, None),
            [name, qualifier] => (name, Some(qualifier)),
            _ => return Err(NameError::Function(text.to_owned())),
        };
        Ok(Self {
            name: name.parse()?,
            qualifier: qualifier.map(|q| q.parse()).transpose()?,
        })
    }
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.qualifier {
            None => write!(f, "{}", self.name),
            Some(qualifier) => write!(f, "{}:{qualifier}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ()>) {
        let parsed = text.parse::<FunctionRef>().map(|f| f.to_string());
        assert_eq!(parsed.as_deref().map_err(|_| ()), expected, "parsing `{text}`");
    }

    #[test]
    fn parses_every_form_in_which_a_function_is_named() {
        check("resize", Ok("resize"));
        check("resize:7", Ok("resize:7"));
        check("resize:$LATEST", Ok("resize:$LATEST"));
        check("000000000000:function:resize", Ok("resize"));
        check(
            "arn:aws:lambda:us-east-1:000000000000:function:resize",
            Ok("resize"),
        );
        check(
            "arn:aws:lambda:us-east-1:000000000000:function:resize:live",
            Ok("resize:live"),
        );
    }

    #[test]
    fn refuses_what_is_no_function() {
        check("", Err(()));
        check("a b", Err(()));
        check("resize:", Err(()));
        check("resize:0", Err(()));
        check("arn:aws:s3:::bucket", Err(()));
        check("../../etc/passwd", Err(()));
        check(&"x".repeat(65), Err(()));
    }

    #[test]
    fn refuses_two_qualifiers_that_differ() {
        let named: FunctionRef = "resize:7".parse().expect("a valid name");
        assert_eq!(
            named.clone().with_qualifier(Some("8")),
            Err(NameError::QualifierMismatch)
        );
        assert_eq!(named.clone().with_qualifier(Some("7")), Ok(named));
    }

    proptest::proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same(name in "[a-zA-Z0-9_-]{1,64}", version in 1u64..) {
            let reference = FunctionRef {
                name: name.parse().expect("the pattern is the name's own"),
                qualifier: Some(Qualifier::Version(version)),
            };
            proptest::prop_assert_eq!(reference.to_string().parse::<FunctionRef>(), Ok(reference));
        }
    }
}
