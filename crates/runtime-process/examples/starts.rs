//! Measures starts and warm calls of Python instances, without the rest of the server.
//!
//! `cargo run --release -p squall-runtime-process --example starts [IMPORTS]`, for instance with `json` or `boto3,numpy`.
//! The first `python3.11` on `PATH` runs it. Prints medians and 99th percentiles, in microseconds:
//! `zygote`: create, init and first answer by a fork of a ready zygote; `fresh`: the same in a process of its own;
//! `warm`: one call of a small event, a thousand times and more.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that a person runs and reads"
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use squall_runtime::{Event, Instance, LogCapture, Runtime};
use squall_runtime_process::{ProcessConfig, ProcessRuntime};
use squall_types::{Code, Encoding, RequestId, Revision, RevisionId, RuntimeName, Version};

const STARTS: usize = 100;
const FRESH_STARTS: usize = 15;
const WARM_CALLS: usize = 10_000;

fn main() {
    let imports = std::env::args().nth(1).unwrap_or_else(|| "json".to_owned());
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async { tokio::spawn(measure(imports)).await.unwrap() });
}

async fn measure(imports: String) {
    let dir = tempfile::TempDir::new().unwrap();
    let runtime = ProcessRuntime::new(ProcessConfig::new(dir.path().join("run"))).unwrap();
    let handler = format!("import {imports}\ndef handler(event, context):\n    return event\n");

    let revision = Arc::new(revision(dir.path(), "forked", &handler));
    let begin = Instant::now();
    drop(first_answer(&runtime, &revision).await);
    println!(
        "{imports}: the very first start, zygote included: {} us",
        begin.elapsed().as_micros()
    );
    report(&imports, "zygote", starts(&runtime, &revision, STARTS).await);

    // A thread in the zygote is what makes a revision start fresh processes.
    let threaded = format!("{handler}import threaded\n");
    let revision = Arc::new(self::revision(dir.path(), "fresh", &threaded));
    report(&imports, "fresh", starts(&runtime, &revision, FRESH_STARTS).await);

    let (mut instance, mut log) = first_answer(&runtime, &revision).await;
    let mut times = Vec::with_capacity(WARM_CALLS);
    let event = event();
    for _ in 0..WARM_CALLS {
        let begin = Instant::now();
        instance.invoke(&event, &mut log).await.unwrap();
        times.push(begin.elapsed());
    }
    report(&imports, "warm", times);
    runtime.shutdown().await;
}

async fn starts(runtime: &ProcessRuntime, revision: &Arc<Revision>, count: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let (instance, _) = first_answer(runtime, revision).await;
        times.push(begin.elapsed());
        instance.stop(Duration::from_secs(5)).await;
    }
    times
}

async fn first_answer(runtime: &ProcessRuntime, revision: &Arc<Revision>) -> (Box<dyn Instance>, LogCapture) {
    let mut log = LogCapture::new(1 << 20);
    let mut instance = runtime.create(revision).await.unwrap();
    instance.init(&mut log).await.unwrap();
    instance.invoke(&event(), &mut log).await.unwrap().result.unwrap();
    (instance, log)
}

fn report(imports: &str, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    let (p50, p99, count) = (at(50), at(99), times.len());
    println!("{imports}: {what}: p50 {p50} us, p99 {p99} us, n {count}");
}

fn revision(dir: &std::path::Path, name: &str, handler: &str) -> Revision {
    let code = dir.join(name);
    std::fs::create_dir_all(code.join("threaded-1.dist-info")).unwrap();
    std::fs::write(code.join("threaded-1.dist-info/top_level.txt"), "threaded\n").unwrap();
    let threaded =
        "import threading, time\nthreading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n";
    std::fs::write(code.join("threaded.py"), threaded).unwrap();
    std::fs::write(code.join("app.py"), handler).unwrap();
    Revision {
        id: RevisionId::random(),
        name: name.parse().unwrap(),
        version: Version::Latest,
        function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
        runtime: RuntimeName::Python { minor: 11 },
        handler: "app.handler".to_owned(),
        memory_mib: 512,
        ephemeral_storage_mib: 512,
        timeout: Duration::from_secs(60),
        environment: std::collections::BTreeMap::new(),
        code: Code {
            sha256: String::new(),
            dir: code,
        },
        log_group: format!("/aws/lambda/{name}"),
    }
}

fn event() -> Event {
    Event {
        request_id: RequestId::random(),
        payload: Bytes::from_static(br#"{"a":1}"#),
        deadline: SystemTime::now() + Duration::from_secs(60),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        trace_id: None,
        client_context: None,
        encoding: Encoding::Json,
        host: None,
    }
}
