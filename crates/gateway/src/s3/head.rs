//! What is checked of a request's head before `s3s` reads it, and which bucket its host names.
//!
//! `s3s` also takes version 2 of signatures in headers, posted forms and scopes of other services; nothing of that is
//! offered here. Links of version 2 are: boto3 and `aws s3 presign` make them.
//! A header `x-amz-…` that is not signed is refused: who has a presigned link to put an object must not be able to make
//! a copy of another one by it.

use std::collections::HashMap;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use s3s::host::{S3Host, VirtualHost};
use s3s::{S3Result, s3_error};
use squall_types::Home;

use super::error::unsupported;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest that a presigned link may be valid: seven days.
const EXPIRES_SECS_MAX: u64 = 604_800;

/// Refuses what is no signed request to S3 in this region.
///
/// # Errors
/// S3's refusals.
pub(super) fn check(request: &Parts, home: &Home) -> S3Result<()> {
    check_bucket(request)?;
    let is_form = request.headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.starts_with(b"multipart/form-data")
    });
    if request.method == Method::POST && is_form {
        return Err(unsupported("PostObject"));
    }
    let query = request.uri.query().unwrap_or("");
    let signed_headers = match request.headers.get(AUTHORIZATION) {
        Some(value) => check_header(value.to_str().unwrap_or(""), home)?,
        // All of its headers are signed.
        None if is_link_v2(query) => return Ok(()),
        None => check_query(query, home)?,
    };
    let is_signed = |name: &str| {
        signed_headers
            .split(';')
            .any(|signed| signed.eq_ignore_ascii_case(name))
    };
    let mut names = request.headers.keys().map(HeaderName::as_str);
    let loose =
        names.find(|name| name.starts_with("x-amz-") && *name != "x-amz-content-sha256" && !is_signed(name));
    if loose.is_some() || !is_signed("host") {
        return Err(s3_error!(
            AccessDenied,
            "There were headers present in the request which were not signed: {}",
            loose.unwrap_or("host")
        ));
    }
    Ok(())
}

/// `s3s` refuses such names, too, without a word.
fn check_bucket(request: &Parts) -> S3Result<()> {
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let path = request.uri.path().trim_start_matches('/');
    let in_path = path.split('/').next().unwrap_or("");
    let bucket = host.and_then(bucket_of).unwrap_or(in_path);
    let bucket = percent_decode_str(bucket).decode_utf8_lossy();
    match bucket.is_empty() {
        true => Ok(()),
        false => squall_objects::check_bucket_name(&bucket).map_err(super::error::of),
    }
}

/// Whether a query is a link's whose signature is of version 2.
pub(crate) fn is_link_v2(query: &str) -> bool {
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    has("AWSAccessKeyId") && has("Signature") && has("Expires")
}

/// Makes headers of what signers of links have put from headers into the query: all `x-amz-…` but the signature's own.
/// In version 2 they are signed as headers, in version 4 as parts of the query.
pub(super) fn lift(request: &mut Parts) {
    const OF_THE_SIGNATURE: [&str; 7] = [
        "algorithm",
        "credential",
        "date",
        "expires",
        "signedheaders",
        "signature",
        "content-sha256",
    ];
    let query = request.uri.query().unwrap_or("").to_owned();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let name = name.to_ascii_lowercase();
        let Some(rest) = name.strip_prefix("x-amz-") else {
            continue;
        };
        let value = percent_decode_str(value).decode_utf8_lossy();
        let header = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        );
        if let (Ok(name), Ok(value)) = header
            && !OF_THE_SIGNATURE.contains(&rest)
        {
            request.headers.entry(name).or_insert(value);
        }
    }
}

/// The signed headers.
fn check_header(value: &str, home: &Home) -> S3Result<String> {
    let Some(parameters) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
        return Err(s3_error!(
            InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
        ));
    };
    let mut named = HashMap::new();
    for parameter in parameters.split(',') {
        if let Some((name, value)) = parameter.trim().split_once('=') {
            named.insert(name, value);
        }
    }
    let scope = named.get("Credential").copied().unwrap_or("");
    if let Some(wrong) = wrong_scope(scope, home) {
        return Err(s3_error!(
            AuthorizationHeaderMalformed,
            "The authorization header is malformed; {wrong}"
        ));
    }
    Ok(named.get("SignedHeaders").copied().unwrap_or("").to_owned())
}

/// The signed headers of a presigned request.
fn check_query(query: &str, home: &Home) -> S3Result<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named: HashMap<&str, String> = pairs
        .map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy().into_owned()))
        .collect();
    let get = |name| named.get(name).map_or("", String::as_str);
    if get("X-Amz-Algorithm") != ALGORITHM {
        return Err(s3_error!(AccessDenied, "Access Denied"));
    }
    if let Some(wrong) = wrong_scope(get("X-Amz-Credential"), home) {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "Error parsing the X-Amz-Credential parameter; {wrong}"
        ));
    }
    let expires = get("X-Amz-Expires").parse::<u64>();
    if !expires.is_ok_and(|secs| (1..=EXPIRES_SECS_MAX).contains(&secs)) {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "X-Amz-Expires must be a number of seconds between 1 and {EXPIRES_SECS_MAX}"
        ));
    }
    Ok(get("X-Amz-SignedHeaders").to_owned())
}

/// What is wrong with `KEY/DATE/REGION/SERVICE/aws4_request`.
fn wrong_scope(scope: &str, home: &Home) -> Option<String> {
    let parts: Vec<&str> = scope.split('/').collect();
    let [_, _, region, service, "aws4_request"] = parts.as_slice() else {
        return Some(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
                .to_owned(),
        );
    };
    if *service != "s3" {
        return Some(format!(
            "incorrect service \"{service}\". This endpoint belongs to \"s3\"."
        ));
    }
    (*region != home.region).then(|| format!("the region '{region}' is wrong; expecting '{}'", home.region))
}

/// Which bucket a host names: `BUCKET.s3.…`, and below `localhost`, which all systems resolve, also `BUCKET.localhost`.
pub(super) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let bucket = bucket_of(host);
        Ok(match bucket {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

fn bucket_of(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name.starts_with("s3.") {
        return None;
    }
    if let Some((bucket, _)) = name.rsplit_once(".s3.") {
        return Some(bucket);
    }
    name.strip_suffix(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_its_bucket() {
        for (host, bucket) in [
            ("photos.s3.localhost:9400", Some("photos")),
            ("my.photos.s3.us-east-1.localhost", Some("my.photos")),
            ("photos.localhost:9400", Some("photos")),
            ("s3.localhost", None),
            ("s3.us-east-1.localhost:80", None),
            ("localhost:9400", None),
            ("squall.example.org", None),
        ] {
            assert_eq!(bucket_of(host), bucket, "{host}");
        }
    }

    #[track_caller]
    fn refused(uri: &str, headers: &[(&str, &str)], words: &str) {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (request, ()) = request.body(()).expect("a request").into_parts();
        let error = check(&request, &Home::default()).expect_err(words);
        let text = format!("{} {}", error.code().as_str(), error.message().unwrap_or(""));
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn what_is_not_signed_for_s3_here_is_refused() {
        let auth = |scope: &str, signed: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=K/20261125/{scope}/aws4_request, SignedHeaders={signed}, Signature=0"
            )
        };
        refused(
            "/ab/k",
            &[],
            "InvalidBucketName The specified bucket is not valid: ",
        );
        refused("/..%2f..%2fetc/k", &[], "InvalidBucketName");
        refused("/bbb/k", &[], "AccessDenied");
        refused("/bbb/k?Signature=x&AWSAccessKeyId=K", &[], "AccessDenied");
        refused(
            "/bbb/k",
            &[("authorization", "AWS K:sig")],
            "Please use AWS4-HMAC-SHA256",
        );
        refused(
            "/bbb",
            &[("authorization", &auth("eu-west-1/s3", "host"))],
            "expecting 'us-east-1'",
        );
        refused(
            "/bbb",
            &[("authorization", &auth("us-east-1/sts", "host"))],
            "belongs to \"s3\"",
        );
        let copy = ("x-amz-copy-source", "/secret/key");
        refused(
            "/bbb/k",
            &[("authorization", &auth("us-east-1/s3", "host")), copy],
            "not signed: x-amz-copy-source",
        );
        refused(
            "/bbb/k",
            &[("authorization", &auth("us-east-1/s3", "x-amz-date"))],
            "not signed: host",
        );
        let link = "/bbb/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20261125%2Fus-east-1%2Fs3%2Faws4_request\
                    &X-Amz-SignedHeaders=host&X-Amz-Expires=";
        refused(&format!("{link}60"), &[copy], "not signed: x-amz-copy-source");
        refused(&format!("{link}604801"), &[], "X-Amz-Expires");
    }

    #[test]
    fn headers_that_were_put_into_a_links_query_are_headers_again() {
        let uri = "/bbb/k?x-amz-security-token=a%2Fb&X-Amz-Acl=private&X-Amz-Signature=0&Signature=1";
        let request = http::Request::builder()
            .uri(uri)
            .header("x-amz-acl", "kept")
            .body(());
        let (mut head, ()) = request.expect("a request").into_parts();
        lift(&mut head);
        assert_eq!(
            (head.headers.len(), &head.headers["x-amz-security-token"]),
            (2, &HeaderValue::from_static("a/b"))
        );
        assert_eq!(head.headers["x-amz-acl"], "kept");
    }
}
