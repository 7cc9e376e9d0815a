//! Lattices as JSON: what is asked of one, `{"method": "counter.add", "by": 1}`, and what it says.
//!
//! Elements are JSON values, kept as their shortest text; the fields of a map have values of any encoding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use squall_runtime::HostError;
use squall_state::lattice::{Body, Update};
use squall_state::{Encoding as StateEncoding, Key, Session, StateError, Value};

use crate::of_state;
use crate::refusal::{invalid, refusal};

/// A question to a lattice.
#[derive(Debug, Deserialize)]
#[serde(tag = "method", deny_unknown_fields)]
enum Method {
    #[serde(rename = "counter.add")]
    CounterAdd { by: i64 },
    #[serde(rename = "counter.get")]
    CounterGet,
    #[serde(rename = "set.add")]
    SetAdd { elements: Vec<Json> },
    #[serde(rename = "set.remove")]
    SetRemove { elements: Vec<Json> },
    #[serde(rename = "set.get")]
    SetGet,
    #[serde(rename = "ordered.add")]
    OrderedAdd { elements: Vec<Json>, scores: Vec<f64> },
    #[serde(rename = "ordered.remove")]
    OrderedRemove { elements: Vec<Json> },
    #[serde(rename = "ordered.get")]
    OrderedGet,
    #[serde(rename = "map.put")]
    MapPut { field: String, value: Option<Json> },
    #[serde(rename = "map.remove")]
    MapRemove { fields: Vec<String> },
    #[serde(rename = "map.get")]
    MapGet { field: Option<String> },
    #[serde(rename = "max.put")]
    MaxPut { number: f64 },
    #[serde(rename = "max.get")]
    MaxGet,
    #[serde(rename = "min.put")]
    MinPut { number: f64 },
    #[serde(rename = "min.get")]
    MinGet,
    #[serde(rename = "flag.set")]
    FlagSet,
    #[serde(rename = "flag.get")]
    FlagGet,
    #[serde(rename = "siblings.get")]
    SiblingsGet,
    /// Whatever it is: its type and its content.
    #[serde(rename = "get")]
    Get,
}

/// Asks. `arguments` is the question as JSON; `value` is what `map.put` writes, where it has no `value` of its own.
///
/// The answer is JSON; `None` where there is nothing to say.
///
/// # Errors
/// What cannot be read, and all that state refuses.
pub async fn ask(
    session: &Session,
    key: &Key,
    arguments: &[u8],
    value: Option<Value>,
) -> Result<Option<Json>, HostError> {
    let method: Method = serde_json::from_slice(arguments).map_err(|error| {
        invalid(format!(
            "`{}` is no question: {error}",
            String::from_utf8_lossy(arguments)
        ))
    })?;
    let update = match method {
        Method::CounterAdd { by } => {
            return Ok(Some(session.counter_add(key, by).await.map_err(refusal)?.into()));
        }
        Method::SetAdd { elements } => Update::SetAdd(texts(elements)),
        Method::SetRemove { elements } => Update::SetRemove(texts(elements)),
        Method::OrderedAdd { elements, scores } if elements.len() == scores.len() => {
            Update::OrderedAdd(scores.into_iter().zip(texts(elements)).collect())
        }
        Method::OrderedAdd { .. } => return Err(invalid("there are as many scores as elements")),
        Method::OrderedRemove { elements } => Update::OrderedRemove(texts(elements)),
        Method::MapPut { field, value: inline } => {
            let written = inline.map(|json| Value::json(json.to_string())).or(value);
            let written = written.ok_or_else(|| invalid("`map.put` writes a `value`"))?;
            Update::MapPut(vec![(field.into(), written)])
        }
        Method::MapRemove { fields } => Update::MapRemove(fields.into_iter().map(Bytes::from).collect()),
        Method::MaxPut { number } => Update::Max(number),
        Method::MinPut { number } => Update::Min(number),
        Method::FlagSet => Update::Raise,
        reading => return read(session, key, reading).await,
    };
    session.update(key, update).await.map_err(refusal)?;
    Ok(None)
}

async fn read(session: &Session, key: &Key, method: Method) -> Result<Option<Json>, HostError> {
    if matches!(method, Method::SiblingsGet) {
        let values = session.get_all(key).await.map_err(refusal)?;
        return Ok(Some(values.iter().map(written).collect()));
    }
    let capsule = session.read(key).await.map_err(refusal)?;
    let body = capsule.body();
    if matches!(body, Body::Absent) {
        return Ok(None);
    }
    let content = match (method, body) {
        (Method::Get, body) => json!({ "type": body.name(), "content": content(body) }),
        (Method::CounterGet, Body::Counter(_))
        | (Method::SetGet, Body::Set(_))
        | (Method::OrderedGet, Body::OrderedSet(_))
        | (Method::MapGet { field: None }, Body::Map(_))
        | (Method::MaxGet, Body::Max(_))
        | (Method::MinGet, Body::Min(_))
        | (Method::FlagGet, Body::Flag(_)) => content(body),
        (Method::MapGet { field: Some(field) }, Body::Map(map)) => match map.field(field.as_bytes()) {
            Some(value) => json!({ field: written(value) }),
            None => return Ok(None),
        },
        (method, body) => {
            return Err(refusal(StateError::OtherLattice {
                key: key.to_string(),
                found: body.name(),
                asked: asked(&method),
            }));
        }
    };
    Ok(Some(content))
}

fn asked(method: &Method) -> &'static str {
    match method {
        Method::CounterAdd { .. } | Method::CounterGet => "counter",
        Method::SetAdd { .. } | Method::SetRemove { .. } | Method::SetGet => "set",
        Method::OrderedAdd { .. } | Method::OrderedRemove { .. } | Method::OrderedGet => "ordered set",
        Method::MapPut { .. } | Method::MapRemove { .. } | Method::MapGet { .. } => "map",
        Method::MaxPut { .. } | Method::MaxGet => "maximum",
        Method::MinPut { .. } | Method::MinGet => "minimum",
        Method::FlagSet | Method::FlagGet => "flag",
        Method::SiblingsGet | Method::Get => "register",
    }
}

fn content(body: &Body) -> Json {
    match body {
        Body::Absent => Json::Null,
        Body::Register(register) => register.value().map_or(Json::Null, written),
        Body::Counter(counter) => counter.value().into(),
        Body::Set(set) => set.elements().map(element).collect(),
        Body::OrderedSet(set) => {
            let scored = set.elements().into_iter();
            scored
                .map(|(score, text)| json!([element(&text), score]))
                .collect()
        }
        Body::Map(map) => map
            .fields()
            .map(|(field, value)| (String::from_utf8_lossy(field).into_owned(), written(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Body::Max(number) | Body::Min(number) => number.value().into(),
        Body::Flag(flag) => flag.0.into(),
    }
}

/// A value as JSON: as it is where it is JSON, in base64 otherwise.
fn written(value: &Value) -> Json {
    let encoding = of_state(value.encoding).as_str();
    match value.encoding {
        StateEncoding::Json => {
            let read: Json = serde_json::from_slice(&value.bytes).unwrap_or(Json::Null);
            json!({ "encoding": encoding, "value": read })
        }
        _ => json!({ "encoding": encoding, "base64": STANDARD.encode(&value.bytes) }),
    }
}

fn texts(elements: Vec<Json>) -> Vec<Bytes> {
    elements
        .into_iter()
        .map(|element| element.to_string().into())
        .collect()
}

fn element(text: &Bytes) -> Json {
    let read = serde_json::from_slice(text);
    // What another client wrote, of bytes of its own.
    read.unwrap_or_else(|_| String::from_utf8_lossy(text).into_owned().into())
}
