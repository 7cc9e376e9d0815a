//! Event patterns: which events a rule or a mapping wants.
//!
//! A pattern is a JSON object whose leaves are lists; an event fits when, at each leaf, one of the list's values or
//! conditions holds. Fields of an event that the pattern does not name do not matter. Used for mappings' filters and
//! buses' rules. Bounded by the pattern's size and by how deep it goes.
//!
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>.

use serde_json::{Map, Value};

const PATTERN_BYTES_MAX: usize = 4096;
const DEPTH_MAX: usize = 20;

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Event pattern is not valid. Reason: {0}")]
pub struct PatternError(String);

/// A pattern that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// All of these fields, and one of the alternatives where there are any.
    Fields(Vec<(String, Node)>, Vec<Node>),
    /// One of these conditions.
    Leaf(Vec<Condition>),
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    PrefixIgnoreCase(String),
    Suffix(String),
    SuffixIgnoreCase(String),
    Wildcard(String),
    AnythingBut(Vec<Condition>),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Cidr(std::net::IpAddr, u8),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

type Parsed<T> = Result<T, PatternError>;

fn refuse<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(PatternError(reason.into()))
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return refuse(format!("it has more than {PATTERN_BYTES_MAX} bytes"));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields_of(&fields, 0)?)),
            Ok(_) => refuse("Filter is not an object"),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// Whether an event fits.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.matches(Some(event))
    }

    /// Whether the pattern looks into `name` as into an object; a mapping's filter says by it what a body must be.
    pub fn looks_into(&self, name: &str) -> bool {
        let Node::Fields(fields, _) = &self.0 else {
            return false;
        };
        fields
            .iter()
            .any(|(field, node)| field == name && matches!(node, Node::Fields(..)))
    }
}

fn fields_of(fields: &Map<String, Value>, depth: usize) -> Parsed<Node> {
    if depth >= DEPTH_MAX {
        return refuse(format!("it goes deeper than {DEPTH_MAX} fields"));
    }
    let (mut named, mut alternatives) = (Vec::new(), Vec::new());
    for (name, value) in fields {
        match value {
            Value::Array(items) if name == "$or" => {
                for item in items {
                    let Value::Object(fields) = item else {
                        return refuse("\"$or\" must be an array of objects");
                    };
                    alternatives.push(fields_of(fields, depth + 1)?);
                }
            }
            Value::Object(inner) => named.push((name.clone(), fields_of(inner, depth + 1)?)),
            Value::Array(items) if items.is_empty() => return refuse("Empty arrays are not allowed"),
            Value::Array(items) => {
                let conditions = items.iter().map(condition).collect::<Parsed<_>>()?;
                named.push((name.clone(), Node::Leaf(conditions)));
            }
            _ => return refuse(format!("\"{name}\" must be an object or an array")),
        }
    }
    if named.is_empty() && alternatives.is_empty() && depth > 0 {
        return refuse("Empty objects are not allowed");
    }
    Ok(Node::Fields(named, alternatives))
}

fn condition(value: &Value) -> Parsed<Condition> {
    match value {
        Value::Object(operator) => {
            let mut members = operator.iter();
            match (members.next(), members.next()) {
                (Some((name, operand)), None) => with_operator(name, operand),
                _ => refuse("Only one key allowed in match expression"),
            }
        }
        Value::Array(_) => refuse("an array within an array"),
        plain => Ok(Condition::Equals(plain.clone())),
    }
}

fn with_operator(name: &str, operand: &Value) -> Parsed<Condition> {
    match (name, operand) {
        ("prefix", Value::String(text)) => Ok(Condition::Prefix(text.clone())),
        ("suffix", Value::String(text)) => Ok(Condition::Suffix(text.clone())),
        ("prefix" | "suffix", Value::Object(inner)) => {
            let text = inner.get("equals-ignore-case").and_then(Value::as_str);
            match (name, text) {
                ("prefix", Some(text)) => Ok(Condition::PrefixIgnoreCase(text.to_lowercase())),
                (_, Some(text)) => Ok(Condition::SuffixIgnoreCase(text.to_lowercase())),
                (_, None) => refuse(format!("{name} match pattern must be a string")),
            }
        }
        ("equals-ignore-case", Value::String(text)) => Ok(Condition::EqualsIgnoreCase(text.to_lowercase())),
        ("wildcard", Value::String(text)) if text.contains("**") => {
            refuse("Consecutive wildcard characters are not allowed")
        }
        ("wildcard", Value::String(text)) => Ok(Condition::Wildcard(text.clone())),
        ("exists", Value::Bool(exists)) => Ok(Condition::Exists(*exists)),
        ("numeric", Value::Array(parts)) => numeric(parts),
        ("cidr", Value::String(text)) => cidr(text),
        ("anything-but", operand) => anything_but(operand),
        ("prefix" | "suffix" | "equals-ignore-case" | "wildcard", _) => {
            refuse(format!("{name} match pattern must be a string"))
        }
        ("exists", _) => refuse("exists match pattern must be either true or false."),
        ("numeric", _) => refuse("Value of numeric must be an array."),
        _ => refuse(format!("Unrecognized match type {name}")),
    }
}

fn anything_but(operand: &Value) -> Parsed<Condition> {
    let each: Vec<&Value> = match operand {
        Value::Array(items) if items.is_empty() => return refuse("Empty arrays are not allowed"),
        Value::Array(items) => items.iter().collect(),
        // An operator's own operand may be a list: {"prefix": ["a", "b"]}.
        Value::Object(operator) => {
            let Some((name, Value::Array(items))) = operator.iter().next() else {
                return Ok(Condition::AnythingBut(vec![condition(operand)?]));
            };
            let each = items.iter().map(|item| with_operator(name, item));
            return Ok(Condition::AnythingBut(each.collect::<Parsed<_>>()?));
        }
        one => vec![one],
    };
    let refused = each.iter().map(|value| match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => condition(value),
        _ => refuse("Value of anything-but must be an array or single string/number value."),
    });
    Ok(Condition::AnythingBut(refused.collect::<Parsed<_>>()?))
}

fn numeric(parts: &[Value]) -> Parsed<Condition> {
    if parts.is_empty() || !parts.len().is_multiple_of(2) || parts.len() > 4 {
        return refuse("Invalid member in numeric match: it must be one or two pairs of operator and number");
    }
    let mut pairs = Vec::new();
    for pair in parts.chunks(2) {
        let comparison = match pair[0].as_str() {
            Some("=") => Comparison::Equal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            _ => return refuse(format!("Unrecognized numeric range operator: {}", pair[0])),
        };
        let Some(number) = pair[1].as_f64() else {
            return refuse("Value of numeric must be a number");
        };
        pairs.push((comparison, number));
    }
    Ok(Condition::Numeric(pairs))
}

fn cidr(text: &str) -> Parsed<Condition> {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let (address, bits): (std::net::IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        (bits <= bits_max).then_some(Condition::Cidr(address, bits))
    });
    parsed.ok_or_else(|| PatternError(format!("`{text}` is not a CIDR block")))
}

impl Node {
    fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Fields(fields, alternatives) => match value {
                // One of a list's objects is enough.
                Some(Value::Array(items)) => items.iter().any(|item| self.matches(Some(item))),
                other => {
                    let all = fields
                        .iter()
                        .all(|(name, node)| node.matches(other.and_then(|value| value.get(name))));
                    all && (alternatives.is_empty() || alternatives.iter().any(|node| node.matches(other)))
                }
            },
            Self::Leaf(conditions) => match value {
                Some(Value::Array(items)) => conditions
                    .iter()
                    .any(|condition| items.iter().any(|item| condition.matches(Some(item)))),
                other => conditions.iter().any(|condition| condition.matches(other)),
            },
        }
    }
}

impl Condition {
    fn matches(&self, value: Option<&Value>) -> bool {
        if let Self::Exists(wanted) = self {
            // Only a leaf exists.
            let exists = value.is_some_and(|value| !value.is_object());
            return exists == *wanted;
        }
        let Some(value) = value else { return false };
        let text = value.as_str();
        match self {
            Self::Equals(wanted) => equals(wanted, value),
            Self::EqualsIgnoreCase(wanted) => text.is_some_and(|text| text.to_lowercase() == *wanted),
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => text.is_some_and(|text| text.ends_with(suffix)),
            Self::PrefixIgnoreCase(prefix) => {
                text.is_some_and(|text| text.to_lowercase().starts_with(prefix))
            }
            Self::SuffixIgnoreCase(suffix) => text.is_some_and(|text| text.to_lowercase().ends_with(suffix)),
            Self::Wildcard(wildcard) => text.is_some_and(|text| fits_wildcard(wildcard, text)),
            Self::AnythingBut(these) => !these.iter().any(|condition| condition.matches(Some(value))),
            Self::Numeric(pairs) => value.as_f64().is_some_and(|number| {
                pairs.iter().all(|(comparison, bound)| match comparison {
                    Comparison::Equal => (number - bound).abs() < f64::EPSILON,
                    Comparison::Less => number < *bound,
                    Comparison::LessOrEqual => number <= *bound,
                    Comparison::Greater => number > *bound,
                    Comparison::GreaterOrEqual => number >= *bound,
                })
            }),
            Self::Cidr(network, bits) => text
                .and_then(|text| text.parse().ok())
                .is_some_and(|address| is_within(address, *network, *bits)),
            Self::Exists(_) => unreachable!("it was looked at first"),
        }
    }
}

/// Numbers are equal by value, whether they are written `1` or `1.0`.
fn equals(wanted: &Value, value: &Value) -> bool {
    match (wanted.as_f64(), value.as_f64()) {
        (Some(wanted), Some(value)) => wanted.to_bits() == value.to_bits(),
        _ => wanted == value,
    }
}

/// `*` stands for any characters; `\*` and `\\` for themselves. Linear in the text for each star: never exponential.
fn fits_wildcard(wildcard: &str, text: &str) -> bool {
    let mut pieces = vec![String::new()];
    let mut chars = wildcard.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pieces.push(String::new()),
            c => {
                let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
                pieces.last_mut().expect("there is always one").push(c);
            }
        }
    }
    let (first, last) = (&pieces[0], &pieces[pieces.len() - 1]);
    if pieces.len() == 1 {
        return text == first;
    }
    let Some(rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else {
        return false;
    };
    for piece in &pieces[1..pieces.len() - 1] {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

fn is_within(address: std::net::IpAddr, network: std::net::IpAddr, bits: u8) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (address, network) {
        (V4(a), V4(n)) => bits == 0 || (u32::from(a) ^ u32::from(n)) >> (32 - u32::from(bits)) == 0,
        (V6(a), V6(n)) => bits == 0 || (u128::from(a) ^ u128::from(n)) >> (128 - u32::from(bits)) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(pattern: &Value, event: &Value, expected: bool) {
        let parsed = Pattern::parse(&pattern.to_string()).expect("a good pattern");
        assert_eq!(parsed.matches(event), expected, "{pattern} on {event}");
    }

    #[test]
    fn every_operator_matches_what_it_says() {
        let cases = [
            (json!(["a", "b"]), json!("b"), json!("c")),
            (json!([1]), json!(1.0), json!("1")),
            (json!([null]), json!(null), json!("")),
            (json!([true]), json!(true), json!("true")),
            (json!([{"prefix": "ab"}]), json!("abc"), json!("cab")),
            (json!([{"suffix": ".png"}]), json!("x.png"), json!("x.jpg")),
            (
                json!([{"prefix": {"equals-ignore-case": "AB"}}]),
                json!("aBc"),
                json!("b"),
            ),
            (
                json!([{"equals-ignore-case": "Alice"}]),
                json!("aLICE"),
                json!("bob"),
            ),
            (json!([{"wildcard": "a*c*e"}]), json!("abcde"), json!("abcd")),
            (json!([{"wildcard": "a\\*"}]), json!("a*"), json!("ab")),
            (json!([{"anything-but": ["a", "b"]}]), json!("c"), json!("a")),
            (
                json!([{"anything-but": {"prefix": "in"}}]),
                json!("out"),
                json!("init"),
            ),
            (
                json!([{"anything-but": {"suffix": ["x", "y"]}}]),
                json!("az"),
                json!("ay"),
            ),
            (json!([{"numeric": [">", 0, "<=", 5]}]), json!(5), json!(5.1)),
            (json!([{"numeric": ["=", 3.5]}]), json!(3.5), json!("3.5")),
            (
                json!([{"cidr": "10.0.0.0/24"}]),
                json!("10.0.0.7"),
                json!("10.0.1.7"),
            ),
            (json!([{"exists": true}]), json!(0), json!({"b": 1})),
            (json!(["x"]), json!(["y", "x"]), json!([])),
        ];
        for (condition, good, bad) in cases {
            let pattern = json!({ "a": condition });
            check(&pattern, &json!({ "a": good, "other": 1 }), true);
            check(&pattern, &json!({ "a": bad }), false);
        }
        check(&json!({"a": [{"exists": false}]}), &json!({"b": 1}), true);
        check(&json!({"a": [{"exists": false}]}), &json!({"a": 1}), false);
        check(&json!({"a": [{"anything-but": "x"}]}), &json!({}), false);
    }

    #[test]
    fn fields_are_all_wanted_and_alternatives_are_enough() {
        let pattern = json!({"a": {"b": ["x"]}, "c": [1]});
        check(&pattern, &json!({"a": {"b": "x", "z": 0}, "c": 1}), true);
        check(&pattern, &json!({"a": {"b": "x"}, "c": 2}), false);
        check(&pattern, &json!({"a": "x", "c": 1}), false);
        check(&pattern, &json!({"a": [{"b": "y"}, {"b": "x"}], "c": 1}), true);
        let either = json!({"$or": [{"a": [1]}, {"b": [2]}]});
        check(&either, &json!({"b": 2}), true);
        check(&either, &json!({"a": 2, "b": 1}), false);
        check(&json!({}), &json!({"a": 1}), true);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "[]",
            "{\"a\": 1}",
            "{\"a\": []}",
            "{\"a\": {}}",
            "{\"a\": [[1]]}",
            "{\"a\": [{\"color\": 1}]}",
            "{\"a\": [{\"numeric\": [\">\"]}]}",
            "{\"a\": [{\"prefix\": 1}]}",
            "{\"a\": [{\"exists\": 1}]}",
            "{\"a\": [{\"prefix\": \"a\", \"suffix\": \"b\"}]}",
            "{\"a\": [{\"wildcard\": \"a**\"}]}",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}[1]{}", "{\"a\":".repeat(30), "}".repeat(30));
        assert!(Pattern::parse(&deep).is_err());
    }
}
