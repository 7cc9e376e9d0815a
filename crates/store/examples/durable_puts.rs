//! How many durable puts a second the store takes from 64 writers, beside what the disk allows: appending the same bytes
//! to a plain file and syncing it once per group.
//!
//! `cargo run --release -p squall-store --example durable_puts -- [DIR]`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use squall_store::logs::{LogBatch, LogConfig, LogEvent, LogStore};
use squall_store::{Batch, Embedded, EmbeddedConfig, Space, Store};
use squall_types::RequestId;
use tokio::sync::{mpsc, oneshot};

const WRITERS: u64 = 64;
const RUN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const VALUE_BYTES: usize = 100;
const SPACE: Space = Space("bench");

#[tokio::main]
async fn main() {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    println!(
        "{WRITERS} writers, {VALUE_BYTES} byte values, {} s each, in {}",
        RUN.as_secs(),
        dir.display()
    );
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(&dir).expect("a directory");
        let file = measure(raw(&dir.path().join("log"))).await;
        let store = Embedded::open(dir.path().join("store"), EmbeddedConfig::default()).expect("opens");
        let store = Arc::new(store);
        let puts = measure(Arc::new({
            let store = store.clone();
            move |key| put(store.clone(), key, Batch::durable())
        }))
        .await;
        let buffered = measure(Arc::new({
            let store = store.clone();
            move |key| put(store.clone(), key, Batch::buffered())
        }))
        .await;
        let logs = LogStore::open(store.clone(), LogConfig::default())
            .await
            .expect("opens");
        let appends = measure(Arc::new({
            let logs = logs.clone();
            move |n| append(logs.clone(), n)
        }))
        .await;
        let flood = tokio::spawn({
            let logs = logs.clone();
            async move {
                for n in 0.. {
                    append(logs.clone(), n).await;
                }
            }
        });
        let beside = measure(Arc::new({
            let store = store.clone();
            move |key| put(store.clone(), key | 1 << 63, Batch::durable())
        }))
        .await;
        flood.abort();
        println!("log appends {appends}/s, store {beside}/s beside log appends without end");
        logs.flush().await.expect("flushes");
        store.close().await.expect("closes");
        drop((logs, flood.await));
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
        drop(store);
        let started = Instant::now();
        drop(Embedded::open(dir.path().join("store"), EmbeddedConfig::default()).expect("opens"));
        let reopened = started.elapsed();
        println!(
            "file {file}/s, store {puts}/s ({:.0} %), buffered {buffered}/s, opened again in {reopened:?}",
            100.0 * puts as f64 / file as f64
        );
    }
}

async fn put(store: Arc<Embedded>, key: u64, batch: Batch) {
    let key = key.to_be_bytes().to_vec();
    store
        .commit(batch.put(SPACE, key, vec![7; VALUE_BYTES]))
        .await
        .expect("commits");
}

async fn append(logs: LogStore, n: u64) {
    let event = LogEvent {
        at_ms: 0,
        message: "x".repeat(VALUE_BYTES),
    };
    let batch = LogBatch {
        function: format!("function-{}", n >> 32).parse().expect("a name"),
        stream: "2026/01/01/[1]0123456789abcdef".into(),
        request_id: Some(RequestId::random()),
        events: vec![event],
    };
    logs.append(batch).await;
}

/// Calls a second, from all writers at once, each waiting for its own.
async fn measure<F, T>(call: Arc<T>) -> u64
where
    T: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let started = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let call = call.clone();
        writers.spawn(async move {
            let mut done = 0;
            while started.elapsed() < RUN {
                call((writer << 32) | done).await;
                done += 1;
            }
            done
        });
    }
    let done: u64 = writers.join_all().await.iter().sum();
    (done as f64 / started.elapsed().as_secs_f64()) as u64
}

/// The same by hand: a thread that appends what waits to a file, syncs it, and answers.
fn raw(
    path: &Path,
) -> Arc<impl Fn(u64) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + use<>> {
    let (calls, mut waiting) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(1024);
    let mut file = std::fs::File::create(path).expect("creates");
    std::thread::spawn(move || {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while let Ok(next) = waiting.try_recv() {
                group.push(next);
            }
            let bytes: Vec<u8> = group
                .iter()
                .flat_map(|(bytes, _)| bytes.iter().copied())
                .collect();
            file.write_all(&bytes).expect("writes");
            file.sync_data().expect("syncs");
            for (_, reply) in group {
                let _ = reply.send(());
            }
        }
    });
    Arc::new(move |key: u64| {
        let calls = calls.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let record = [&key.to_be_bytes()[..], &[7; VALUE_BYTES]].concat();
            calls.send((record, reply)).await.expect("the thread runs");
            answer.await.expect("it answers");
        }) as _
    })
}
