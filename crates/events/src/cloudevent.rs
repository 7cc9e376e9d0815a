//! CloudEvents 1.0: one event in the two forms in which HTTP carries it. Pure.
//!
//! Structured: the whole event is a JSON document. Binary: the attributes are `ce-` headers and the data is the body.
//! The gateway reads and writes them. Sources: <https://github.com/cloudevents/spec/tree/v1.0.2>, its JSON format and
//! its HTTP binding. `cloudevents-sdk` was not taken: it has types of its own for what is here a JSON document.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// The media type of one event in structured form, and of several.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// See [`STRUCTURED`].
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What headers of the binary form start with.
pub const HEADER_PREFIX: &str = "ce-";

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Names of members that are not attributes.
const DATA: &str = "data";
const DATA_BASE64: &str = "data_base64";
const CONTENT_TYPE: &str = "datacontenttype";

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    /// The content type among them; each a string, a boolean or a whole number.
    attributes: BTreeMap<String, Value>,
    data: Data,
}

#[derive(Debug, Clone, PartialEq)]
enum Data {
    None,
    Json(Value),
    Bytes(Bytes),
}

/// Why something is no event, for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not a CloudEvent: {0}")]
pub struct CloudEventError(String);

impl CloudEvent {
    /// Reads the structured form.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn from_structured(document: Value) -> Result<Self, CloudEventError> {
        let Value::Object(members) = document else {
            return refuse("it is not a JSON object");
        };
        let (mut attributes, mut data) = (BTreeMap::new(), Data::None);
        for (name, value) in members {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                (DATA | DATA_BASE64, _) if data != Data::None => {
                    return refuse("it has both `data` and `data_base64`");
                }
                (DATA, value) => data = Data::Json(value),
                (DATA_BASE64, Value::String(text)) => match STANDARD.decode(&text) {
                    Ok(bytes) => data = Data::Bytes(bytes.into()),
                    Err(error) => return refuse(format!("its `data_base64` is not base64: {error}")),
                },
                (DATA_BASE64, _) => return refuse("its `data_base64` is not a string"),
                (_, value) => {
                    attributes.insert(name, value);
                }
            }
        }
        let event = Self { attributes, data };
        event.check()?;
        Ok(event)
    }

    /// Reads the binary form: names and values of the headers that start with [`HEADER_PREFIX`], without it.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn from_binary<'a>(
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Self, CloudEventError> {
        let mut attributes = BTreeMap::new();
        for (name, value) in headers {
            let value =
                unescape(value).map_err(|why| CloudEventError(format!("the header `{name}` {why}")))?;
            attributes.insert(name.to_ascii_lowercase(), Value::String(value));
        }
        if let Some(content_type) = content_type {
            attributes.insert(CONTENT_TYPE.to_owned(), content_type.into());
        }
        let data = match (body.is_empty(), content_type) {
            (true, _) => Data::None,
            (false, Some(content_type)) if !is_json(content_type) => Data::Bytes(body),
            // The JSON format is what is meant where nothing is said.
            (false, _) => match serde_json::from_slice(&body) {
                Ok(value) => Data::Json(value),
                Err(error) => return refuse(format!("its data is not the JSON that it says it is: {error}")),
            },
        };
        let event = Self { attributes, data };
        event.check()?;
        Ok(event)
    }

    /// Whether a document wants to be an event: it has the attributes that every event has.
    pub fn is_meant(document: &Value) -> bool {
        REQUIRED.iter().all(|name| document.get(name).is_some())
    }

    /// A string attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    /// The structured form.
    pub fn to_structured(&self) -> Value {
        let mut members: Map<String, Value> = self.attributes.clone().into_iter().collect();
        match &self.data {
            Data::None => {}
            Data::Json(value) => {
                members.insert(DATA.to_owned(), value.clone());
            }
            Data::Bytes(bytes) => match std::str::from_utf8(bytes) {
                // Text is text in JSON too.
                Ok(text)
                    if self
                        .text(CONTENT_TYPE)
                        .is_some_and(|kind| kind.starts_with("text/")) =>
                {
                    members.insert(DATA.to_owned(), text.into());
                }
                _ => {
                    members.insert(DATA_BASE64.to_owned(), STANDARD.encode(bytes).into());
                }
            },
        }
        Value::Object(members)
    }

    /// The binary form: headers with their whole names, the content type among them, and the body.
    pub fn to_binary(&self) -> (Vec<(String, String)>, Bytes) {
        let mut headers = Vec::with_capacity(self.attributes.len());
        for (name, value) in &self.attributes {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            headers.push(match name.as_str() {
                CONTENT_TYPE => ("content-type".to_owned(), text),
                name => (format!("{HEADER_PREFIX}{name}"), escape(&text)),
            });
        }
        let kind = self.text(CONTENT_TYPE);
        let body = match &self.data {
            Data::None => Bytes::new(),
            Data::Json(Value::String(text)) if kind.is_some_and(|kind| !is_json(kind)) => text.clone().into(),
            Data::Json(value) => {
                if kind.is_none() {
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                value.to_string().into()
            }
            Data::Bytes(bytes) => bytes.clone(),
        };
        (headers, body)
    }

    fn check(&self) -> Result<(), CloudEventError> {
        for name in REQUIRED {
            match self.attributes.get(name) {
                None => return refuse(format!("it has no `{name}`")),
                Some(Value::String(text)) if !text.is_empty() => {}
                Some(_) => return refuse(format!("its `{name}` is not a string with something in it")),
            }
        }
        if let Some(version) = self.text("specversion").filter(|version| *version != "1.0") {
            return refuse(format!("its `specversion` is `{version}`; this server reads 1.0"));
        }
        for (name, value) in &self.attributes {
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            if name.is_empty() || !name.bytes().all(allowed) {
                return refuse(format!(
                    "`{name}` is no name of an attribute: those have a-z and 0-9"
                ));
            }
            if !(value.is_string() || value.is_boolean() || value.is_i64()) {
                return refuse(format!(
                    "its `{name}` is not a string, a boolean or a whole number"
                ));
            }
        }
        for name in ["subject", "dataschema", "time", CONTENT_TYPE] {
            match self.attributes.get(name) {
                None => {}
                Some(Value::String(text)) if !text.is_empty() => {}
                Some(_) => return refuse(format!("its `{name}` is not a string with something in it")),
            }
        }
        match self.text("time").map(chrono::DateTime::parse_from_rfc3339) {
            Some(Err(error)) => refuse(format!("its `time` is not as RFC 3339 has it: {error}")),
            _ => Ok(()),
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, CloudEventError> {
    Err(CloudEventError(why.into()))
}

/// `application/json`, `text/json`, `application/vnd.x+json`, each with parameters or without.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind.ends_with("/json") || kind.ends_with("+json")
}

/// What headers cannot carry, percent-encoded; and the percent sign.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!' | b'#'..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
        let digits = std::str::from_utf8(&digits).ok();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => out.push(byte),
            None => return Err("has a `%` without two hexadecimal digits".to_owned()),
        }
    }
    String::from_utf8(out).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "paid"})
    }

    fn with(member: &str, value: Value) -> Value {
        let mut event = event();
        event[member] = value;
        event
    }

    /// Writes and reads the binary form.
    fn through_binary(event: &CloudEvent) -> CloudEvent {
        let (headers, body) = event.to_binary();
        let kind = headers.iter().find(|(name, _)| name == "content-type");
        let kind = kind.map(|(_, value)| value.as_str());
        let attributes = headers
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(HEADER_PREFIX)?, value.as_str())));
        CloudEvent::from_binary(attributes, kind, body).expect("what was written")
    }

    #[test]
    fn what_is_not_an_event_is_refused_with_the_reason() {
        for (document, why) in [
            (json!([]), "JSON object"),
            (json!({}), "no `specversion`"),
            (with("id", json!("")), "`id`"),
            (with("source", json!(5)), "`source`"),
            (with("specversion", json!("0.3")), "reads 1.0"),
            (with("Shout", json!("x")), "name of an attribute"),
            (with("a_b", json!("x")), "name of an attribute"),
            (with("ext", json!({"a": 1})), "whole number"),
            (with("ext", json!(1.5)), "whole number"),
            (with("subject", json!("")), "`subject`"),
            (with("time", json!("yesterday")), "RFC 3339"),
            (with("data_base64", json!("###")), "base64"),
        ] {
            let error = CloudEvent::from_structured(document.clone()).expect_err(&document.to_string());
            assert!(error.to_string().contains(why), "{document}: {error}");
        }
        let mut both = with("data", json!(1));
        both["data_base64"] = json!("AA==");
        assert!(CloudEvent::from_structured(both).is_err());
        let headers = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "s"),
            ("type", "t"),
        ];
        let json = Some("application/json");
        assert!(CloudEvent::from_binary(headers.into_iter(), json, Bytes::from_static(b"{")).is_err());
        let broken = headers.into_iter().chain([("x", "100%")]);
        assert!(CloudEvent::from_binary(broken, None, Bytes::new()).is_err());
    }

    #[test]
    fn data_keeps_its_kind_in_both_forms() {
        for (kind, member, value, body) in [
            (Some("application/json"), "data", json!({"n": 1}), r#"{"n":1}"#),
            (Some("application/vnd.x+json"), "data", json!([1]), "[1]"),
            (Some("text/plain"), "data", json!("hello"), "hello"),
            (Some("image/png"), "data_base64", json!("AAEC"), "\u{0}\u{1}\u{2}"),
            (None, "data", json!("quoted"), r#""quoted""#),
        ] {
            let mut document = with(member, value);
            if let Some(kind) = kind {
                document["datacontenttype"] = kind.into();
            }
            let event = CloudEvent::from_structured(document.clone()).expect("an event");
            assert_eq!(event.to_structured(), document);
            assert_eq!(event.to_binary().1, body, "{document}");
            let again = through_binary(&event).to_structured();
            assert_eq!(again[member], document[member], "{document}");
        }
    }

    proptest! {
        #[test]
        fn attributes_of_any_text_go_through_headers(text in "\\PC{1,40}", subject in "[ -~\u{e4}\u{20ac}%\"]{1,20}") {
            let mut document = with("ext", json!(text));
            document["subject"] = json!(subject);
            let event = CloudEvent::from_structured(document).expect("an event");
            let (headers, _) = event.to_binary();
            prop_assert!(headers.iter().all(|(_, value)| value.bytes().all(|b| (b'!'..=b'~').contains(&b))));
            prop_assert_eq!(through_binary(&event), event);
        }
    }
}
