//! The Query protocol: a form with numbered members in, XML out. Both are read from and written to the JSON shapes.
//!
//! Lists and maps are flattened there: `Attribute.1.Name=…&Attribute.1.Value=…` is the map `Attributes`. One table
//! says what each member is called on the wire, in both directions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use percent_encoding::percent_decode;
use serde_json::{Map, Value, json};

use super::error::SqsError;
use crate::xml::escape;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";
/// The most members of a form.
const MEMBERS_MAX: usize = 1000;

/// What a flattened member is.
enum Kind {
    List,
    /// With the names of key and value.
    Map(&'static str, &'static str),
}

/// Name on the wire, name in JSON, kind; of requests.
const REQUEST: [(&str, &str, Kind); 12] = [
    ("Attribute", "Attributes", Kind::Map("Name", "Value")),
    ("AttributeName", "AttributeNames", Kind::List),
    (
        "MessageSystemAttributeName",
        "MessageSystemAttributeNames",
        Kind::List,
    ),
    ("MessageAttributeName", "MessageAttributeNames", Kind::List),
    (
        "MessageAttribute",
        "MessageAttributes",
        Kind::Map("Name", "Value"),
    ),
    (
        "MessageSystemAttribute",
        "MessageSystemAttributes",
        Kind::Map("Name", "Value"),
    ),
    ("SendMessageBatchRequestEntry", "Entries", Kind::List),
    ("DeleteMessageBatchRequestEntry", "Entries", Kind::List),
    ("ChangeMessageVisibilityBatchRequestEntry", "Entries", Kind::List),
    ("Tag", "Tags", Kind::Map("Key", "Value")),
    ("Tags", "Tags", Kind::Map("Key", "Value")),
    ("TagKey", "TagKeys", Kind::List),
];

/// A form's members as a tree: the parts between the dots.
#[derive(Default)]
struct Node {
    value: Option<String>,
    members: BTreeMap<String, Node>,
}

/// The action, and its input in JSON's shape. A queue's own address stands for its `QueueUrl`.
pub(super) fn read(query: &str, body: &[u8], path: &str) -> Result<(String, Value), SqsError> {
    let mut root = Node::default();
    let pairs = query
        .as_bytes()
        .split(|b| *b == b'&')
        .chain(body.split(|b| *b == b'&'));
    let pairs = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with(b"X-Amz-"));
    for (number, pair) in pairs.enumerate() {
        if number >= MEMBERS_MAX {
            return Err(SqsError::serialization("the form has too many members"));
        }
        let (name, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[..0]),
        };
        let mut node = &mut root;
        for part in decode(name)?.split('.') {
            node = node.members.entry(part.to_owned()).or_default();
        }
        node.value = Some(decode(value)?);
    }
    let action = root.members.remove("Action").and_then(|node| node.value);
    let action = action
        .ok_or_else(|| SqsError::new("MissingAction", "The request must contain the parameter Action."))?;
    let mut input = object(root);
    if action == "CreateQueue"
        && let Some(tags) = input.remove("Tags")
    {
        input.insert("tags".to_owned(), tags);
    }
    if !input.contains_key("QueueUrl") && path.len() > 1 {
        input.insert("QueueUrl".to_owned(), Value::from(path));
    }
    Ok((action, Value::Object(input)))
}

fn decode(bytes: &[u8]) -> Result<String, SqsError> {
    let spaced: Vec<u8> = bytes.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    let decoded: Vec<u8> = percent_decode(&spaced).collect();
    String::from_utf8(decoded).map_err(|_| SqsError::serialization("the form is not UTF-8"))
}

fn object(node: Node) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, node) in node.members {
        match REQUEST.iter().find(|(wire, ..)| *wire == name) {
            Some((_, json, Kind::List)) => {
                object.insert((*json).to_owned(), numbered(node).map(value).collect());
            }
            Some((_, json, Kind::Map(key, of))) => {
                object.insert((*json).to_owned(), Value::Object(map(node, key, of)));
            }
            None => {
                object.insert(name, value(node));
            }
        }
    }
    object
}

fn value(node: Node) -> Value {
    match node.value {
        Some(text) => Value::from(text),
        None => Value::Object(object(node)),
    }
}

/// The members `1`, `2`, … in their order.
fn numbered(node: Node) -> impl Iterator<Item = Node> {
    let mut members: Vec<(u32, Node)> = node
        .members
        .into_iter()
        .filter_map(|(number, node)| Some((number.parse().ok()?, node)))
        .collect();
    members.sort_by_key(|(number, _)| *number);
    members.into_iter().map(|(_, node)| node)
}

fn map(node: Node, key: &str, of: &str) -> Map<String, Value> {
    // `Attribute.Name=…` without a number is what old clients send for one.
    let is_single = node.members.contains_key(key);
    let entries: Vec<Node> = if is_single {
        vec![node]
    } else {
        numbered(node).collect()
    };
    entries
        .into_iter()
        .filter_map(|mut entry| {
            let name = entry.members.remove(key)?.value?;
            Some((name, value(entry.members.remove(of)?)))
        })
        .collect()
}

/// An answer's document.
pub(super) fn answer(action: &str, value: &Value, request_id: &str) -> String {
    let mut text = format!("<?xml version=\"1.0\"?><{action}Response xmlns=\"{NAMESPACE}\">");
    let is_empty = value.as_object().is_none_or(Map::is_empty);
    if !is_empty {
        let _ = write!(text, "<{action}Result>");
        members(&mut text, action, value);
        let _ = write!(text, "</{action}Result>");
    }
    let _ = write!(
        text,
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    );
    text
}

/// A refusal's document.
pub(super) fn refusal(fault: &str, code: &str, message: &str, request_id: &str) -> String {
    let mut text =
        format!("<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type>");
    element(&mut text, "Code", &json!(code));
    element(&mut text, "Message", &json!(message));
    let _ = write!(
        text,
        "<Detail/></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    );
    text
}

fn members(text: &mut String, action: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let result_entry = format!("{action}ResultEntry");
        let flat = match name.as_str() {
            "QueueUrls" | "queueUrls" => ("QueueUrl", None),
            "Messages" => ("Message", None),
            "Successful" | "Results" => (result_entry.as_str(), None),
            "Failed" => ("BatchResultErrorEntry", None),
            "Attributes" => ("Attribute", Some(("Name", "Value"))),
            "MessageAttributes" => ("MessageAttribute", Some(("Name", "Value"))),
            "Tags" => ("Tag", Some(("Key", "Value"))),
            _ => {
                element(text, name, value);
                continue;
            }
        };
        match (flat, value) {
            ((wire, Some((key, of))), Value::Object(entries)) => {
                for (name, entry) in entries {
                    let _ = write!(text, "<{wire}>");
                    element(text, key, &json!(name));
                    element(text, of, entry);
                    let _ = write!(text, "</{wire}>");
                }
            }
            ((wire, _), Value::Array(items)) => items.iter().for_each(|item| element(text, wire, item)),
            ((wire, _), other) => element(text, wire, other),
        }
    }
}

fn element(text: &mut String, name: &str, value: &Value) {
    let _ = write!(text, "<{name}>");
    match value {
        Value::String(string) => escape(text, string),
        Value::Object(_) => members(text, "", value),
        other => {
            let _ = write!(text, "{other}");
        }
    }
    let _ = write!(text, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_json_shape() {
        let body = "Action=SendMessage&MessageBody=a+b%26c&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=\
                    String&MessageAttribute.1.Value.StringValue=v&AttributeName.2=two&AttributeName.1=one";
        let (action, input) = read("", body.as_bytes(), "/000000000000/q").expect("a good form");
        assert_eq!(action, "SendMessage");
        assert_eq!(
            input,
            json!({
                "QueueUrl": "/000000000000/q",
                "MessageBody": "a b&c",
                "MessageAttributes": { "n": { "DataType": "String", "StringValue": "v" } },
                "AttributeNames": ["one", "two"],
            })
        );
        let batch =
            b"Action=X&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=b";
        let (_, input) = read("", batch, "/").expect("a good form");
        assert_eq!(input, json!({ "Entries": [{ "Id": "a", "MessageBody": "b" }] }));
        assert!(read("", b"MessageBody=a", "/").is_err());
        assert!(read("", b"Action=%ff", "/").is_err());
    }

    #[test]
    fn an_answer_becomes_flat_xml() {
        let value = json!({ "Messages": [{ "Body": "<&>\r", "Attributes": { "SenderId": "s" } }] });
        let text = answer("ReceiveMessage", &value, "id");
        let inner = "<ReceiveMessageResult><Message><Attribute><Name>SenderId</Name><Value>s</Value></Attribute>\
                     <Body>&lt;&amp;&gt;&#xD;</Body></Message></ReceiveMessageResult>";
        assert!(text.contains(inner), "{text}");
        assert!(!answer("DeleteQueue", &json!({}), "id").contains("Result"));
    }
}
