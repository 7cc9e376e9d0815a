//! Answers of the Query protocol, written from JSON's shapes: an object's members are elements, and a list's items are
//! `member` elements.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes an object's members.
pub(crate) fn members(text: &mut String, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        element(text, name, value);
    }
}

/// Writes one element.
pub(crate) fn element(text: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    let _ = write!(text, "<{name}>");
    match value {
        Value::String(string) => escape(text, string),
        Value::Object(_) => members(text, value),
        Value::Array(items) => items.iter().for_each(|item| element(text, "member", item)),
        other => {
            let _ = write!(text, "{other}");
        }
    }
    let _ = write!(text, "</{name}>");
}

/// Writes a text. What XML cannot say is left out.
pub(crate) fn escape(text: &mut String, string: &str) {
    for c in string.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            // A parser would make a line end of it.
            '\r' => text.push_str("&#xD;"),
            '\t' | '\n' => text.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => {}
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_objects_and_odd_letters_are_written() {
        let mut text = String::new();
        members(
            &mut text,
            &json!({ "A": [{ "B": "<&>\r\u{0}" }, { "B": null }], "C": false, "D": [] }),
        );
        assert_eq!(
            text,
            "<A><member><B>&lt;&amp;&gt;&#xD;</B></member><member></member></A><C>false</C><D></D>"
        );
    }
}
