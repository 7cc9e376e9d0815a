//! What a Python handler does, and what the caller and the log get.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use squall_runtime::{Exit, Fault, LogCapture, Runtime};

use crate::host::{Host, event, runs};

#[tokio::test]
async fn answers_with_what_the_handler_returns() {
    let host = Host::new();
    let mut started = host
        .python("def handler(event, context):\n    return {'got': event, 'who': 'é'}\n")
        .await;
    for number in 0..3 {
        assert_eq!(
            started.answer(&format!("[{number}]")).await,
            json!({ "got": [number], "who": "é" })
        );
    }
}

#[tokio::test]
async fn the_context_and_the_environment_are_lambdas() {
    let host = Host::new();
    let source = "
import os
def handler(event, context):
    left = context.get_remaining_time_in_millis()
    return [context.function_name, context.function_version, context.invoked_function_arn,
            context.memory_limit_in_mb, context.log_group_name, context.client_context.client.app_title,
            context.client_context.custom, context.identity.cognito_identity_id, 50000 < left <= 60000,
            os.environ['_X_AMZN_TRACE_ID'], os.environ['COLOUR'], os.environ['AWS_ACCESS_KEY_ID'][:4],
            len(os.environ['AWS_SECRET_ACCESS_KEY']), len(os.environ['AWS_SESSION_TOKEN']),
            os.environ['LAMBDA_TASK_ROOT'] == os.getcwd() == os.path.dirname(__file__),
            os.environ['AWS_EXECUTION_ENV'], os.environ['_HANDLER'], len(context.aws_request_id),
            '[$LATEST]' in context.log_stream_name, os.path.isdir(os.environ['TMPDIR']),
            'SQUALL_SOCKET_FD' in os.environ]
";
    let mut started = host.python(source).await;
    let expected = json!([
        "probe", "$LATEST", "arn:aws:lambda:us-east-1:000000000000:function:probe:live",
        "256", "/aws/lambda/probe", "shop", { "a": 1 }, null, true,
        "Root=1-abc", "blue", "ASIA", 40, 64, true, "AWS_Lambda_python3.11", "app.handler", 36,
        true, true, false
    ]);
    assert_eq!(started.answer("{}").await, expected);
}

#[tokio::test]
async fn an_exception_becomes_lambdas_error_and_the_instance_lives_on() {
    let host = Host::new();
    let source =
        "def handler(event, context):\n    if event: raise ValueError('no ' + event)\n    return 1\n";
    let mut started = host.python(source).await;
    let error = started.error("\"good\"").await;
    assert_eq!(error["errorType"], "ValueError");
    assert_eq!(error["errorMessage"], "no good");
    assert_eq!(error["requestId"].as_str().unwrap().len(), 36);
    let trace = error["stackTrace"][0].as_str().unwrap();
    assert!(trace.contains("app.py\", line 2, in handler"), "{trace}");
    assert_eq!(
        started.lines()[..2],
        [
            "[ERROR] ValueError: no good",
            "Traceback (most recent call last):"
        ]
    );
    assert_eq!(started.answer("null").await, json!(1));
}

#[track_caller]
fn check_log(lines: &[String], expected: &[&str]) {
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn prints_and_logging_are_in_order_and_complete_when_the_answer_is_there() {
    let host = Host::new();
    let source = "
import logging, os, sys
print('loaded')
def handler(event, context):
    print('one'); logging.warning('two'); print('three', file=sys.stderr); os.write(1, b'four\\n')
    os.system('echo five'); print('six', end='')
    return None
";
    let mut started = host.python(source).await;
    started.answer("{}").await;
    let mut lines = started.lines();
    let warning = lines.remove(2);
    assert!(
        warning.starts_with("[WARNING]\t20") && warning.ends_with("\ttwo"),
        "{warning}"
    );
    check_log(&lines, &["loaded", "one", "three", "four", "five", "six"]);
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_nor_gets_lost() {
    let host = Host::new();
    let source = "
def handler(event, context):
    for number in range(20000): print('line', number)
    return 'x' * 300000
";
    let mut started = host.python(source).await;
    assert_eq!(started.answer("{}").await.as_str().unwrap().len(), 300_000);
    let lines = started.lines();
    assert_eq!((lines.len(), lines[19_999].as_str()), (20_000, "line 19999"));
}

/// Initialises `files`, which must fail, and returns the error and the log.
async fn check_init(files: &[(&str, &str)], handler: &str, error_type: &str, message: &str) {
    let host = Host::new();
    let mut revision = host.revision(files);
    revision.handler = handler.to_owned();
    let mut instance = host.runtime.create(&Arc::new(revision)).await.unwrap();
    let mut log = LogCapture::new(1 << 20);
    let Err(Fault::Init(error)) = instance.init(&mut log).await else {
        panic!("`{handler}` was loaded");
    };
    let error: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
    assert_eq!(error["errorType"], error_type);
    assert!(
        error["errorMessage"].as_str().unwrap().starts_with(message),
        "{error}"
    );
    assert_eq!(error["requestId"], "");
    let first = log.finish().remove(0).text;
    assert!(
        first.starts_with(&format!("[ERROR] {error_type}: {message}")),
        "{first}"
    );
    let mut exit = instance.exit();
    assert_eq!(
        *exit.wait_for(Option::is_some).await.unwrap(),
        Some(Exit::Status(1))
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_code_is_said_in_lambdas_words() {
    let missing = "Unable to import module 'app': No module named 'nowhere'";
    check_init(
        &[("app.py", "import nowhere")],
        "app.handler",
        "Runtime.ImportModuleError",
        missing,
    )
    .await;
    let syntax = "Syntax error in module 'app': ";
    check_init(
        &[("app.py", "def (")],
        "app.handler",
        "Runtime.UserCodeSyntaxError",
        syntax,
    )
    .await;
    let absent = "Handler 'handler' missing on module 'app'";
    check_init(
        &[("app.py", "x = 1")],
        "app.handler",
        "Runtime.HandlerNotFound",
        absent,
    )
    .await;
    let bad = "Bad handler 'handler': ";
    check_init(&[], "handler", "Runtime.MalformedHandlerName", bad).await;
    check_init(
        &[("app.py", "1 / 0")],
        "app.handler",
        "ZeroDivisionError",
        "division by zero",
    )
    .await;
}

#[tokio::test]
async fn a_handler_is_found_in_a_package_by_either_spelling() {
    let host = Host::new();
    for handler in ["pkg/inner.run", "pkg.inner.run"] {
        let mut revision = host.revision(&[("pkg/inner.py", "def run(event, context): return 7")]);
        revision.handler = handler.into();
        assert_eq!(host.start(&Arc::new(revision)).await.answer("{}").await, json!(7));
    }
}

/// Runs a handler that ends its process.
async fn check_end(statement: &str, expected: Exit) {
    let host = Host::new();
    let source = format!(
        "import ctypes, os, signal, sys\ndef handler(event, context):\n    print('bye', end='')\n    {statement}\n"
    );
    let mut started = host.python(&source).await;
    match started.call("{}").await {
        Err(Fault::Exited(exit)) => assert_eq!(exit, expected, "after `{statement}`"),
        other => panic!("`{statement}` came to {other:?}"),
    }
    assert_eq!(started.lines()[0], "bye");
}

#[tokio::test]
async fn how_a_process_ended_is_told() {
    check_end("sys.exit(3)", Exit::Status(3)).await;
    check_end("os._exit(4)", Exit::Status(4)).await;
    check_end("ctypes.string_at(0)", Exit::Signal(11)).await;
    check_end("os.kill(os.getpid(), signal.SIGKILL)", Exit::Signal(9)).await;
}

#[tokio::test]
async fn leaving_while_the_code_is_loaded_is_an_exit() {
    let host = Host::new();
    let revision = host.revision(&[("app.py", "import sys; sys.exit(9)")]);
    let mut instance = host.runtime.create(&Arc::new(revision)).await.unwrap();
    let fault = instance.init(&mut LogCapture::new(1000)).await.unwrap_err();
    assert!(matches!(fault, Fault::Exited(Exit::Status(9))), "{fault:?}");
}

#[tokio::test]
async fn answers_are_written_as_lambda_writes_them() {
    let host = Host::new();
    let source = "
from decimal import Decimal
def handler(event, context):
    if event == 'set': return {1, 2}
    if event == 'bytes': return b'{\"raw\": 1}'
    return {'d': Decimal('1.10'), 'n': [Decimal('3')]}
";
    let mut started = host.python(source).await;
    let error = started.error("\"set\"").await;
    assert_eq!(error["errorType"], "Runtime.MarshalError");
    assert!(
        error["errorMessage"]
            .as_str()
            .unwrap()
            .starts_with("Unable to marshal response: ")
    );
    assert_eq!(started.answer("\"bytes\"").await, json!({ "raw": 1 }));
    let reply = started.call("1").await.unwrap().result.unwrap();
    assert_eq!(reply, &br#"{"d": 1.10, "n": [3]}"#[..]);
}

#[tokio::test]
async fn a_response_that_is_too_large_is_lambdas_error() {
    let host = Host::new();
    let mut started = host
        .python("def handler(event, context): return 'x' * event\n")
        .await;
    assert_eq!(started.answer("6291554").await.as_str().unwrap().len(), 6_291_554);
    let error = started.error("6291555").await;
    let message = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    assert_eq!(
        error,
        json!({ "errorMessage": message, "errorType": "Function.ResponseSizeTooLarge" })
    );
}

#[tokio::test]
async fn what_breaks_the_protocol_is_a_fault_and_never_hangs() {
    let host = Host::new();
    for bytes in [
        "b'\\xff' * 64",
        "b'\\5\\0\\0\\0\\x83\\7\\0\\0\\0'",
        "b'\\5\\0\\0\\0\\1\\0\\0\\0\\0'",
    ] {
        let source = format!("import os\ndef handler(event, context):\n    os.write(3, {bytes})\n");
        let fault = host.python(&source).await.call("{}").await.unwrap_err();
        assert!(matches!(fault, Fault::Protocol(_)), "{bytes}: {fault:?}");
    }
}

#[tokio::test]
async fn the_end_of_an_idle_instance_is_noticed() {
    let host = Host::new();
    let source = "
import os, threading
def handler(event, context):
    threading.Timer(0.01, os._exit, [5]).start()
";
    let mut started = host.python(source).await;
    started.answer("{}").await;
    let mut exit = started.instance.exit();
    assert_eq!(
        *exit.wait_for(Option::is_some).await.unwrap(),
        Some(Exit::Status(5))
    );
}

#[tokio::test]
async fn dropping_an_instance_kills_it_and_what_it_started() {
    let host = Host::new();
    let source = "
import os, subprocess
def handler(event, context):
    return [os.getpid(), subprocess.Popen(['sleep', '1000']).pid]
";
    let mut started = host.python(source).await;
    let pids = started.answer("{}").await;
    let pids: Vec<String> = pids.as_array().unwrap().iter().map(ToString::to_string).collect();
    assert!(pids.iter().all(|pid| runs(pid)));
    let mut exit = started.instance.exit();
    drop(started);
    assert_eq!(
        *exit.wait_for(Option::is_some).await.unwrap(),
        Some(Exit::Signal(9))
    );
    while pids.iter().any(|pid| runs(pid)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_deadline_keeps_the_last_words() {
    let host = Host::new();
    let source = "def handler(event, context):\n    print('working', end='')\n    while True: pass\n";
    let mut started = host.python(source).await;
    let event = event("{}");
    let log = &mut started.log;
    let call = tokio::time::timeout(Duration::from_millis(200), started.instance.invoke(&event, log));
    assert!(call.await.is_err());
    started.instance.drain(log);
    assert_eq!(started.lines(), ["working"]);
    started.instance.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn an_event_larger_than_the_socket_holds_arrives() {
    let host = Host::new();
    let mut started = host
        .python("def handler(event, context): return len(event)\n")
        .await;
    let event = format!("\"{}\"", "y".repeat(6_000_000));
    assert_eq!(started.answer(&event).await, json!(6_000_000));
}
