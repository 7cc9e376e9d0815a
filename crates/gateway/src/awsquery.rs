//! The Query protocol as IAM and STS speak it: a form in, XML out, errors in XML.
//!
//! Lists have numbered members there: `TagKeys.member.1=a`, `Tags.member.1.Key=a`. SQS's dialect is its own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use http::{HeaderValue, Response, StatusCode, header};
use percent_encoding::percent_decode;
use serde_json::{Value, json};
use squall_types::RequestId;

use crate::error::ApiError;
use crate::reply::{self, Body};
use crate::xml;

/// The most members of a form.
const MEMBERS_MAX: usize = 1000;

/// A refusal, as its caller sees it.
#[derive(Debug)]
pub(crate) struct QueryError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl QueryError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationError", message)
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        let message = format!("{what} is not implemented by Squall");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    pub(crate) fn unknown(service: &str, action: &str) -> Self {
        let message = format!("{service} has no action `{action}`");
        Self::new(StatusCode::BAD_REQUEST, "InvalidAction", message)
    }
}

impl From<ApiError> for QueryError {
    /// What the front door refuses has other names in this protocol.
    fn from(error: ApiError) -> Self {
        let code = match error.name() {
            "AccessDeniedException" => "AccessDenied",
            "UnrecognizedClientException" => "InvalidClientTokenId",
            "InvalidSignatureException" => "SignatureDoesNotMatch",
            "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
            "IncompleteSignatureException" => "IncompleteSignature",
            "ValidationException" => "ValidationError",
            "ServiceException" => "ServiceFailure",
            other => other,
        };
        Self::new(error.status(), code, error.message())
    }
}

/// A request's members by their names on the wire.
#[derive(Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a query and a body.
    ///
    /// # Errors
    /// Where there are too many members, or they are no text.
    pub(crate) fn read(query: &str, body: &[u8]) -> Result<Self, QueryError> {
        let malformed = |what: &str| QueryError::new(StatusCode::BAD_REQUEST, "MalformedInput", what);
        let pairs = [query.as_bytes(), body]
            .into_iter()
            .flat_map(|form| form.split(|b| *b == b'&'));
        let mut members = BTreeMap::new();
        for pair in pairs.filter(|pair| !pair.is_empty() && !pair.starts_with(b"X-Amz-")) {
            if members.len() == MEMBERS_MAX {
                return Err(malformed("the form has too many members"));
            }
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let value = pair.get(at + 1..).unwrap_or_default();
            let decoded = decode(&pair[..at]).zip(decode(value));
            let (name, value) = decoded.ok_or_else(|| malformed("the form is not UTF-8"))?;
            members.insert(name, value);
        }
        Ok(Self(members))
    }

    /// What is to be done.
    pub(crate) fn action(&self) -> &str {
        self.text("Action").unwrap_or("")
    }

    /// A member, where it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Whether a member is there, even an empty one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// AWS's words for one that is not.
    pub(crate) fn required(&self, name: &str) -> Result<&str, QueryError> {
        self.text(name).ok_or_else(|| {
            let mut member = name.to_owned();
            if let Some(first) = member.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            QueryError::validation(format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// A member that is a number or a truth value.
    ///
    /// # Errors
    /// Where it is none.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let refuse = |_| QueryError::validation(format!("`{text}` is not a value for {name}"));
        text.parse().map(Some).map_err(refuse)
    }

    /// The values of a list, in their order.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.numbers(name);
        let values = values.into_iter();
        values
            .filter_map(|number| self.0.get(&format!("{name}.member.{number}")).cloned())
            .collect()
    }

    /// The pairs of a list of `Key` and `Value`.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let tag = |number: u32| {
            let member = |of: &str| self.0.get(&format!("Tags.member.{number}.{of}")).cloned();
            Some((member("Key")?, member("Value").unwrap_or_default()))
        };
        self.numbers("Tags").into_iter().filter_map(tag).collect()
    }

    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let prefix = format!("{name}.member.");
        let names = self.0.keys().filter_map(|known| known.strip_prefix(&prefix));
        names
            .filter_map(|rest| rest.split('.').next()?.parse().ok())
            .collect()
    }
}

fn decode(bytes: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = bytes.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    let decoded: Cow<'_, [u8]> = percent_decode(&spaced).into();
    String::from_utf8(decoded.into_owned()).ok()
}

/// Writes what an action came to.
pub(crate) fn respond(
    namespace: &str,
    action: &str,
    answer: Result<Value, QueryError>,
    request_id: RequestId,
) -> Response<Body> {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (status, root, content) = match answer {
        // Actions without an output have no result, either.
        Ok(Value::Null) => (StatusCode::OK, format!("{action}Response"), json!({})),
        Ok(value) => {
            let result = json!({ format!("{action}Result"): value });
            (StatusCode::OK, format!("{action}Response"), result)
        }
        Err(error) => {
            let fault = if error.status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            let error_shape = json!({ "Type": fault, "Code": error.code, "Message": error.message });
            let id = request_id.to_string();
            (
                error.status,
                "ErrorResponse".to_owned(),
                json!({ "Error": error_shape, "RequestId": id }),
            )
        }
    };
    text.push_str(&format!("<{root} xmlns=\"{namespace}\">"));
    xml::members(&mut text, &content);
    if status == StatusCode::OK {
        let metadata = json!({ "RequestId": request_id.to_string() });
        xml::element(&mut text, "ResponseMetadata", &metadata);
    }
    text.push_str(&format!("</{root}>"));
    let mut response = reply::plain(status, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    reply::name_request(&mut response, request_id);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_texts_lists_and_tags() {
        let body = b"Action=TagRole&Tags.member.10.Key=b&Tags.member.10.Value=&Tags.member.2.Key=a%26&\
            Tags.member.2.Value=x+y&TagKeys.member.1=one&TagKeys.member.2=two&Empty=&MaxItems=7";
        let form = Form::read("Version=2010-05-08", body).expect("a form");
        assert_eq!(
            (form.action(), form.text("Version")),
            ("TagRole", Some("2010-05-08"))
        );
        assert_eq!(form.list("TagKeys"), ["one", "two"]);
        let tags: Vec<(String, String)> = form.tags().into_iter().collect();
        assert_eq!(
            tags,
            [
                ("a&".to_owned(), "x y".to_owned()),
                ("b".to_owned(), String::new())
            ]
        );
        assert_eq!((form.text("Empty"), form.has("Empty")), (None, true));
        assert!(matches!(form.parsed("MaxItems"), Ok(Some(7))));
        assert!(form.parsed::<u32>("Action").is_err());
        let missing = form.required("RoleName").expect_err("not there");
        assert!(missing.message.contains("'roleName'"), "{missing:?}");
        assert!(Form::read("", b"a=%ff").is_err());
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|number| format!("m{number}=")).collect();
        assert!(Form::read("", many.join("&").as_bytes()).is_err());
    }
}
