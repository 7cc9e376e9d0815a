//! Executables that ask the Runtime API themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use squall_runtime::{Exit, Fault, LogCapture, Runtime};
use squall_types::{Revision, RuntimeName};

use crate::host::{Host, event};

fn revision(host: &Host, bootstrap: &str, mode: u32) -> Arc<Revision> {
    let mut revision = host.revision(&[("bootstrap", bootstrap)]);
    revision.runtime = RuntimeName::from("provided.al2023".to_owned());
    let file = revision.code.dir.join("bootstrap");
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    Arc::new(revision)
}

const ECHO: &str = "#!/usr/bin/env python3
import http.client, os, sys
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, body=None):
    api.request(method, '/2018-06-01/runtime/' + path, body)
    answer = api.getresponse()
    return answer, answer.read()
print('booted', os.environ['_HANDLER'], flush=True)
while True:
    head, event = call('GET', 'invocation/next')
    if event == b'9': sys.exit(9)
    print('got', event.decode(), flush=True)
    call('POST', 'invocation/' + head.headers['Lambda-Runtime-Aws-Request-Id'] + '/response', event)
";

#[tokio::test]
async fn a_bootstrap_answers_through_the_runtime_api_and_its_end_is_told() {
    let host = Host::new();
    let mut started = host.start(&revision(&host, ECHO, 0o755)).await;
    assert_eq!(started.answer("{\"a\":1}").await, json!({ "a": 1 }));
    assert_eq!(started.answer("2").await, json!(2));
    assert_eq!(started.lines(), ["booted app.handler", "got {\"a\":1}", "got 2"]);
    let fault = started.call("9").await.unwrap_err();
    assert!(matches!(fault, Fault::Exited(Exit::Status(9))), "{fault:?}");
}

#[tokio::test]
async fn a_bootstrap_is_stopped_by_a_signal() {
    let host = Host::new();
    let mut started = host.start(&revision(&host, ECHO, 0o755)).await;
    started
        .instance
        .invoke(&event("1"), &mut started.log)
        .await
        .unwrap();
    let mut exit = started.instance.exit();
    started.instance.stop(Duration::from_secs(10)).await;
    assert_eq!(
        *exit.wait_for(Option::is_some).await.unwrap(),
        Some(Exit::Signal(15))
    );
}

async fn check_init(revision: Arc<Revision>, host: &Host) -> Fault {
    let mut instance = host.runtime.create(&revision).await.unwrap();
    instance.init(&mut LogCapture::new(1 << 20)).await.unwrap_err()
}

#[tokio::test]
async fn a_bootstrap_that_cannot_run_is_the_functions_fault() {
    let host = Host::new();
    let not_executable = revision(&host, "#!/bin/sh\n", 0o644);
    let missing = revision(&host, "", 0o644);
    fs::remove_file(missing.code.dir.join("bootstrap")).unwrap();
    let no_program = revision(&host, "no interpreter is named", 0o755);
    for (revision, message) in [
        (no_program, "exec format error"),
        (not_executable, "permission denied"),
        (missing, "find valid bootstrap"),
    ] {
        let Fault::Init(error) = check_init(revision, &host).await else {
            panic!("`{message}` is no error of the function's");
        };
        let body = String::from_utf8_lossy(&error.body).into_owned();
        assert!(
            body.contains("Runtime.InvalidEntrypoint") && body.contains(message),
            "{body}"
        );
    }
    let fault = check_init(revision(&host, "#!/bin/sh\nexit 7\n", 0o755), &host).await;
    assert!(matches!(fault, Fault::Exited(Exit::Status(7))), "{fault:?}");
}
