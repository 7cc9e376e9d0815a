//! Held against AWS's own signer, both ways.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as aws_sign};
use aws_sigv4::sign::v4::SigningParams;
use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;

const KEY: &str = "SQUAABCDEFGHIJKLMNOP";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000)
}

fn verifier() -> Verifier {
    let secret_of = |id: &str| (id == KEY).then(|| SECRET.to_owned());
    Verifier::new(std::sync::Arc::new(secret_of), "us-east-1")
}

fn signer() -> Signer {
    Signer {
        access_key_id: KEY.into(),
        secret_access_key: SECRET.into(),
        region: "us-east-1".into(),
        service: "lambda".into(),
    }
}

fn request(path: &str, headers: &[(&str, &str)]) -> http::request::Parts {
    let mut request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", "127.0.0.1:9400");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request").into_parts().0
}

/// Signs as every AWS SDK for Rust does.
fn aws_signed(path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::request::Parts {
    let identity = Credentials::new(KEY, SECRET, None, None, "test").into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("lambda")
        .time(now())
        .settings(SigningSettings::default())
        .build()
        .expect("all parameters are given");
    let uri = format!("http://127.0.0.1:9400{path}");
    let all = [&[("host", "127.0.0.1:9400")], headers].concat();
    let signable = SignableRequest::new("POST", uri, all.into_iter(), SignableBody::Bytes(body));
    let (instructions, _) = aws_sign(signable.expect("signable"), &parameters.into())
        .expect("signed")
        .into_parts();
    let mut signed = Request::from_parts(request(path, headers), ());
    instructions.apply_to_request_http1x(&mut signed);
    signed.into_parts().0
}

fn verify(request: &http::request::Parts, body: &[u8], at: SystemTime) -> Result<String, SignatureError> {
    verifier().read(request, &["lambda"], at)?.verify(request, body)
}

proptest! {
    #[test]
    fn what_awss_signer_signs_is_verified(
        segments in proptest::collection::vec("[a-zA-Z0-9._~-]{1,12}|arn%3Aaws%3Alambda|a%20b|%24LATEST", 1..4),
        query in proptest::collection::vec(("[a-zA-Z]{1,8}", "[a-zA-Z0-9._~-]{0,8}|%3A%2F|a%20b"), 0..4),
        value in "[a-z0-9]{1,5}( {1,3}[a-z0-9]{1,5})?",
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut path = format!("/{}", segments.join("/"));
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let headers = [("x-amz-invocation-type", value.as_str()), ("content-type", "application/json")];
        let signed = aws_signed(&path, &headers, &body);
        prop_assert_eq!(verify(&signed, &body, now()), Ok(KEY.to_owned()), "{}", path);
        let mut ours = request(&path, &headers);
        sign(&signer(), now(), &mut ours, &body).expect("signed");
        prop_assert_eq!(verify(&ours, &body, now()), Ok(KEY.to_owned()));
    }

    #[test]
    fn no_input_makes_it_panic(authorization in "\\PC{0,200}", date in "\\PC{0,30}", query in "[ -~]{0,80}") {
        let mut head = request("/", &[]);
        if let (Ok(authorization), Ok(date)) = (HeaderValue::from_str(&authorization), HeaderValue::from_str(&date)) {
            head.headers.insert("authorization", authorization);
            head.headers.insert("x-amz-date", date);
            prop_assert!(verify(&head, b"", now()).is_err());
        }
        if let Ok(uri) = format!("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}").parse() {
            let mut head = request("/", &[]);
            head.uri = uri;
            prop_assert!(verify(&head, b"", now()).is_err());
        }
    }
}

#[track_caller]
fn check_refused(spoil: impl FnOnce(&mut http::request::Parts), body: &[u8], at: SystemTime, expected: &str) {
    let mut head = aws_signed(
        "/2015-03-31/functions/f/invocations?Qualifier=1",
        &[("x-amz-log-type", "Tail")],
        b"{}",
    );
    spoil(&mut head);
    let error = verify(&head, body, at)
        .expect_err("it must be refused")
        .to_string();
    assert!(error.contains(expected), "expected `{expected}` in: {error}");
}

#[test]
fn refuses_whatever_was_changed_on_the_way() {
    let mismatch = "does not match the signature you provided";
    check_refused(|_| {}, b"{ }", now(), mismatch);
    check_refused(|head| head.method = http::Method::GET, b"{}", now(), mismatch);
    check_refused(
        |head| {
            head.uri = "/2015-03-31/functions/g/invocations?Qualifier=1"
                .parse()
                .expect("a path")
        },
        b"{}",
        now(),
        mismatch,
    );
    check_refused(
        |head| {
            head.uri = "/2015-03-31/functions/f/invocations?Qualifier=2"
                .parse()
                .expect("a path")
        },
        b"{}",
        now(),
        mismatch,
    );
    check_refused(
        |head| {
            drop(
                head.headers
                    .insert("x-amz-log-type", HeaderValue::from_static("None")),
            )
        },
        b"{}",
        now(),
        mismatch,
    );
    check_refused(
        |head| drop(head.headers.insert("host", HeaderValue::from_static("elsewhere"))),
        b"{}",
        now(),
        mismatch,
    );
}

#[test]
fn refuses_strangers_and_what_is_too_old_or_too_new() {
    let later = now() + Duration::from_secs(301);
    let earlier = now() - Duration::from_secs(301);
    check_refused(|_| {}, b"{}", later, "Signature expired");
    check_refused(|_| {}, b"{}", earlier, "Signature not yet current");
    check_refused(
        |head| drop(head.headers.remove("authorization")),
        b"{}",
        now(),
        "Missing Authentication Token",
    );
    check_refused(
        |head| drop(head.headers.remove("x-amz-date")),
        b"{}",
        now(),
        "X-Amz-Date",
    );
    let other_key = |head: &mut http::request::Parts| {
        let value = head.headers["authorization"]
            .to_str()
            .expect("text")
            .replace(KEY, "AKIAOTHER");
        head.headers
            .insert("authorization", HeaderValue::from_str(&value).expect("a header"));
    };
    check_refused(
        other_key,
        b"{}",
        now(),
        "security token included in the request is invalid",
    );
    let other_region = |head: &mut http::request::Parts| {
        let value = head.headers["authorization"]
            .to_str()
            .expect("text")
            .replace("us-east-1", "eu-west-1");
        head.headers
            .insert("authorization", HeaderValue::from_str(&value).expect("a header"));
    };
    check_refused(other_region, b"{}", now(), "this server is in us-east-1");
}

#[test]
fn a_link_is_valid_until_it_expires_and_for_nothing_else() {
    let host = HeaderValue::from_static("127.0.0.1:9400");
    let query = presign(
        &signer(),
        now(),
        Duration::from_secs(60),
        &host,
        "/squall/v1/packages/abc",
    )
    .expect("a host of text");
    let link = |path: &str| {
        let mut head = request(&format!("{path}?{query}"), &[]);
        head.method = http::Method::GET;
        head
    };
    let good = link("/squall/v1/packages/abc");
    assert_eq!(
        verify(&good, b"", now() + Duration::from_secs(59)),
        Ok(KEY.to_owned())
    );
    let late = verify(&good, b"", now() + Duration::from_secs(61)).expect_err("it has expired");
    assert!(late.to_string().contains("Signature expired"), "{late}");
    assert_eq!(
        verify(&link("/squall/v1/packages/abd"), b"", now()),
        Err(SignatureError::Mismatch)
    );
}

#[test]
fn what_is_not_text_is_not_signed() {
    let host = HeaderValue::from_bytes(b"\xff").expect("bytes that a header may hold");
    let mut head = request("/", &[]);
    head.headers.insert("x-note", host.clone());
    let refused = sign(&signer(), now(), &mut head, b"");
    assert!(matches!(refused, Err(SignError::NotText)), "{refused:?}");
    assert!(!head.headers.contains_key("authorization"));
    assert!(presign(&signer(), now(), Duration::from_secs(60), &host, "/").is_err());
}
