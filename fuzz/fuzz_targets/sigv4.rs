//! A signature that a stranger made is refused; one that our signer makes is taken, and not after a change.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;
use squall_gateway::fuzzing::request;
use squall_gateway::sigv4::{Signer, Verifier, sign};

const SERVICES: [&str; 1] = ["lambda"];

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let secret_of = |id: &str| (id == "KEY").then(|| "secret".to_owned());
    Verifier::new(Arc::new(secret_of), "us-east-1")
});

fuzz_target!(|data: &[u8]| {
    let Some((mut head, body)) = request(data) else {
        return;
    };
    // 2026-01-01, as the seeds are signed: their time is right, so that all that comes after it is reached.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    if let Ok(signed) = VERIFIER.read(&head, &SERVICES, now) {
        assert!(
            signed.verify(&head, &body).is_err(),
            "a stranger's signature is taken"
        );
    }
    let signer = Signer {
        access_key_id: "KEY".to_owned(),
        secret_access_key: "secret".to_owned(),
        region: "us-east-1".to_owned(),
        service: "lambda".to_owned(),
    };
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        head.headers.remove(name);
    }
    // HTTP wants a host, and the verifier wants it signed.
    if !head.headers.contains_key("host") || sign(&signer, now, &mut head, &body).is_err() {
        return;
    }
    let verified = |head: &Parts, body: &[u8]| {
        let read = VERIFIER.read(head, &SERVICES, now);
        read.is_ok_and(|signed| signed.verify(head, body).is_ok())
    };
    assert!(verified(&head, &body), "our own signature is refused");
    assert!(
        !verified(&head, &[&body, b"x".as_slice()].concat()),
        "a changed body is taken"
    );
    let mut changed = head.clone();
    changed.method = if head.method == Method::PUT {
        Method::POST
    } else {
        Method::PUT
    };
    assert!(!verified(&changed, &body), "a changed method is taken");
    let mut changed = head.clone();
    let before = changed
        .headers
        .insert("host", HeaderValue::from_static("changed.invalid"));
    assert!(
        before == changed.headers.get("host").cloned() || !verified(&changed, &body),
        "a changed host is taken"
    );
    if let Ok(uri) = format!("{}/x", head.uri.path()).parse::<Uri>() {
        let mut changed = head.clone();
        changed.uri = uri;
        assert!(!verified(&changed, &body), "a changed path is taken");
    }
});
