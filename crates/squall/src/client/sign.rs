//! AWS Signature Version 4 on a request that is about to be sent.
//!
//! Called by `Client` for every request. The server verifies with code of its own, so that each checks the other.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write as _;

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::encode;

/// Whose signature, and what it is good for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// What is signed.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// As sent, that is: encoded once.
    pub(super) path: &'a str,
    /// Not encoded; in any order.
    pub(super) query: &'a [(&'static str, String)],
    /// Names in lower case, sorted.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The Authorization header's value. `date` is the `x-amz-date` header's, as [`date`] writes it.
pub(super) fn authorization(scope: Scope<'_>, signed: Signed<'_>, date: &str) -> String {
    let day = &date[..8];
    let names: Vec<&str> = signed.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hash = hex(&Sha256::digest(canonical(signed, &names)));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{place}\n{hash}");
    let secret = format!("AWS4{}", scope.secret_access_key);
    let key = [day, scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let signature = hex(&mac(&key, text.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        scope.access_key_id
    )
}

/// The canonical request: the path is encoded a second time, pairs are sorted as they are encoded.
fn canonical(signed: Signed<'_>, names: &str) -> String {
    let path: Vec<String> = signed.path.split('/').map(encode).collect();
    let mut query: Vec<(String, String)> = signed.query.iter().map(|(k, v)| (encode(k), encode(v))).collect();
    query.sort();
    let query: Vec<String> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut headers = String::new();
    for (name, value) in signed.headers {
        let _ = writeln!(
            headers,
            "{name}:{}",
            value.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    let body = body_hash(signed.body);
    format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{body}",
        signed.method,
        path.join("/"),
        query.join("&")
    )
}

/// Hexadecimal SHA-256, the `x-amz-content-sha256` header's value.
pub(super) fn body_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// `20260102T030405Z`.
pub(super) fn date(at: OffsetDateTime) -> anyhow::Result<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    at.format(&format).context("the clock shows no date")
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of AWS's documentation.
    #[test]
    fn signs_as_aws_shows_it() {
        let scope = Scope {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "iam",
        };
        let signed = Signed {
            method: "GET",
            path: "/",
            query: &[
                ("Version", "2010-05-08".to_owned()),
                ("Action", "ListUsers".to_owned()),
            ],
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
        };
        assert_eq!(
            authorization(scope, signed, "20150830T123600Z"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn an_encoded_path_is_encoded_again() {
        let signed = Signed {
            method: "GET",
            path: "/functions/a%3Ab/configuration",
            query: &[("b", "$LATEST".to_owned()), ("a", String::new())],
            headers: &[("host", "h")],
            body: b"",
        };
        let canonical = canonical(signed, "host");
        assert!(
            canonical.starts_with("GET\n/functions/a%253Ab/configuration\na=&b=%24LATEST\nhost:h\n\nhost\n")
        );
    }

    #[test]
    fn dates_have_no_marks() {
        let at = OffsetDateTime::from_unix_timestamp(1_767_323_045).expect("in range");
        assert_eq!(date(at).expect("a date"), "20260102T030405Z");
    }
}
