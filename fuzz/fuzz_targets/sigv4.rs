//! A signature that a stranger made is refused; one that our signer makes is taken, and not after a change.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

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
    let read = || {
        VERIFIER
            .read(&head, &SERVICES, now)
            .expect("what our signer wrote is read")
    };
    assert!(
        read().verify(&head, &body).is_ok(),
        "our own signature is refused"
    );
    let changed = [&body, b"x".as_slice()].concat();
    assert!(read().verify(&head, &changed).is_err(), "a changed body is taken");
});
