//! The canonical form of a request: what is signed.

use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const STRICT_IN_PATH: &AsciiSet = &STRICT.remove(b'/');

/// The canonical request. `path` and `query` are as they stand on the wire.
pub(super) fn request(
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    signed_headers: &[&str],
    payload_hash: &str,
) -> Option<String> {
    let mut text = String::with_capacity(512);
    text.push_str(method.as_str());
    text.push('\n');
    text.push_str(&canonical_path(path));
    text.push('\n');
    text.push_str(&canonical_query(query));
    text.push('\n');
    for name in signed_headers {
        text.push_str(name);
        text.push(':');
        push_values(&mut text, headers, name)?;
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&signed_headers.join(";"));
    text.push('\n');
    text.push_str(payload_hash);
    Some(text)
}

/// Dot segments and empty ones taken out, then encoded once more, as every service but S3 wants it.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut plain = String::with_capacity(path.len() + 1);
    for segment in &segments {
        plain.push('/');
        plain.push_str(segment);
    }
    // A dot segment at the end leaves its slash behind (RFC 3986, 5.2.4).
    let open_ended = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    if plain.is_empty() || open_ended {
        plain.push('/');
    }
    utf8_percent_encode(&plain, STRICT_IN_PATH).to_string()
}

/// Sorted pairs, strictly encoded; the signature itself is not among what it signs.
fn canonical_query(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name)), encode(&decode(value))))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// Percent-encodes all but unreserved characters.
pub(super) fn encode(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, STRICT).to_string()
}

pub(super) fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// The values of a header, joined by commas, with runs of blanks folded; `None` where one is not text.
fn push_values(text: &mut String, headers: &HeaderMap, name: &str) -> Option<()> {
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        for (index, word) in value.split_ascii_whitespace().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
    }
    Some(())
}
