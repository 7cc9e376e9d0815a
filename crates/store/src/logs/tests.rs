//! Logs, on the store in memory.

use super::*;
use crate::{Embedded, EmbeddedConfig, Memory};

fn name(text: &str) -> FunctionName {
    text.parse().expect("a name")
}

fn batch(function: &str, at_ms: i64, message: &str) -> LogBatch {
    LogBatch {
        function: name(function),
        stream: "2026/01/01/[1]aa".into(),
        request_id: Some(RequestId::random()),
        events: vec![LogEvent {
            at_ms,
            message: message.to_owned(),
        }],
    }
}

fn query(function: &str) -> LogQuery {
    LogQuery {
        function: name(function),
        request_id: None,
        after: None,
        since_ms: None,
        limit: 1000,
    }
}

async fn open(store: &Arc<Memory>, config: LogConfig) -> LogStore {
    let store: Arc<dyn Store> = store.clone();
    LogStore::open(store, config).await.expect("opens")
}

async fn fresh() -> LogStore {
    open(&Arc::default(), LogConfig::default()).await
}

async fn messages(logs: &LogStore, query: LogQuery) -> Vec<String> {
    let page = logs.read(query).await.expect("reads");
    let events = page.batches.into_iter().flat_map(|batch| batch.events);
    events.map(|event| event.message).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

async fn append_numbered(logs: &LogStore, function: &str, range: std::ops::Range<usize>) {
    for message in numbered(range) {
        logs.append(batch(function, now_ms(), &message)).await;
    }
}

#[tokio::test]
async fn reads_what_was_appended_in_its_order_and_nobody_elses() {
    let logs = fresh().await;
    append_numbered(&logs, "a", 0..300).await;
    append_numbered(&logs, "a-b", 300..305).await;
    assert_eq!(messages(&logs, query("a")).await, numbered(0..300));
    assert_eq!(messages(&logs, query("a-b")).await, numbered(300..305));
    assert_eq!(messages(&logs, query("b")).await, numbered(0..0));
}

async fn records(logs: &LogStore, after: Option<Place>, reverse: bool, events_max: usize) -> RecordPage {
    let query = RecordQuery {
        function: name("a"),
        after,
        reverse,
        since_ms: None,
        events_max,
    };
    logs.records(query, |_| true).await.expect("reads")
}

fn lines(page: &RecordPage) -> Vec<String> {
    let events = page.records.iter().flat_map(|record| &record.events);
    events.map(|event| event.message.clone()).collect()
}

#[tokio::test]
async fn records_are_read_in_both_directions_from_any_place() {
    let logs = fresh().await;
    append_numbered(&logs, "a", 0..150).await;
    append_numbered(&logs, "b", 150..160).await;
    let all = records(&logs, None, false, usize::MAX).await;
    assert_eq!((lines(&all), all.cursor), (numbered(0..150), None));
    let first = records(&logs, None, false, 10).await;
    assert_eq!(lines(&first), numbered(0..10));
    let rest = records(&logs, first.cursor, false, usize::MAX).await;
    assert_eq!(lines(&rest), numbered(10..150));
    let last = records(&logs, None, true, 10).await;
    let mut expected = numbered(140..150);
    expected.reverse();
    assert_eq!(lines(&last), expected);
    let before = records(&logs, last.cursor, true, usize::MAX).await;
    assert_eq!((before.records.len(), before.cursor), (140, None));
}

#[tokio::test]
async fn with_no_room_nothing_is_kept_and_followers_still_see_it() {
    let config = LogConfig {
        bytes_per_function_max: 0,
        ..LogConfig::default()
    };
    let logs = open(&Arc::default(), config).await;
    let mut follower = logs.follow();
    logs.append(batch("a", 1, "line")).await;
    assert_eq!(follower.recv().await.expect("a batch").events[0].message, "line");
    assert!(messages(&logs, query("a")).await.is_empty());
    assert!(logs.functions().is_empty());
}

#[tokio::test]
async fn a_stream_is_removed_alone() {
    let store: Arc<Memory> = Arc::default();
    let logs = open(&store, LogConfig::default()).await;
    append_numbered(&logs, "a", 0..200).await;
    for number in 0..150 {
        let other = LogBatch {
            stream: "2026/01/02/[1]bb".into(),
            ..batch("a", 1000 + number, "other")
        };
        logs.append(other).await;
    }
    let streams = logs.streams(&name("a")).await.expect("streams");
    let names: Vec<&str> = streams.iter().map(|stream| &*stream.name).collect();
    assert_eq!(names, ["2026/01/01/[1]aa", "2026/01/02/[1]bb"]);
    assert_eq!((streams[1].first_ms, streams[1].last_ms), (1000, 1149));
    let total = logs.functions()[&name("a")];
    assert_eq!(streams[0].bytes + streams[1].bytes, total);
    logs.forget_stream(&name("a"), "2026/01/02/[1]bb")
        .await
        .expect("removed");
    assert_eq!(messages(&logs, query("a")).await, numbered(0..200));
    assert_eq!(logs.functions()[&name("a")], streams[0].bytes);
    let again = open(&store, LogConfig::default()).await;
    assert_eq!(again.functions()[&name("a")], streams[0].bytes);
}

#[tokio::test]
async fn a_groups_retention_goes_before_the_servers() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let store: Arc<Memory> = Arc::default();
    let logs = open(&store, LogConfig::default()).await;
    for function in ["short", "long", "standard"] {
        logs.append(batch(function, now_ms() - 20 * DAY_MS, "old")).await;
        logs.append(batch(function, now_ms() - 5 * DAY_MS, "newer")).await;
    }
    for (function, days) in [("short", 3), ("long", 30)] {
        let group = LogGroup {
            retention_days: Some(days),
            ..LogGroup::default()
        };
        logs.put_group(&name(function), group).await.expect("kept");
    }
    logs.flush().await.expect("written");
    // What was said outlives the process.
    drop(logs);
    let logs = open(&store, LogConfig::default()).await;
    logs.enforce().await.expect("enforced");
    assert_eq!(messages(&logs, query("short")).await, Vec::<String>::new());
    assert_eq!(messages(&logs, query("long")).await, ["old", "newer"]);
    assert_eq!(messages(&logs, query("standard")).await, ["newer"]);
    logs.remove_group(&name("long")).await.expect("forgotten");
    logs.enforce().await.expect("enforced");
    assert_eq!(messages(&logs, query("long")).await, ["newer"]);
}

#[tokio::test]
async fn a_batch_comes_back_whole() {
    let logs = fresh().await;
    let mut expected = batch("a", 5, "first");
    expected.events.push(LogEvent {
        at_ms: 6,
        message: "second \u{2603}".to_owned(),
    });
    let mut without = batch("a", 7, "");
    without.request_id = None;
    logs.append(expected.clone()).await;
    logs.append(without.clone()).await;
    let page = logs.read(query("a")).await.expect("reads");
    assert_eq!(page.batches, [expected, without]);
    assert_eq!(page.cursor, None);
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let logs = fresh().await;
    append_numbered(&logs, "a", 0..25).await;
    let mut asked = query("a");
    asked.limit = 10;
    let mut seen = Vec::new();
    loop {
        let page = logs.read(asked.clone()).await.expect("reads");
        assert!(page.batches.len() <= 10);
        seen.extend(
            page.batches
                .into_iter()
                .map(|batch| batch.events[0].message.clone()),
        );
        asked.after = page.cursor;
        if asked.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, numbered(0..25));
}

#[tokio::test]
async fn a_request_id_and_a_time_select_lines() {
    let logs = fresh().await;
    let (first, second) = (batch("a", 10, "first"), batch("a", 20, "second"));
    let id = second.request_id;
    let mut third = batch("a", 15, "third, early");
    third.events.push(LogEvent {
        at_ms: 25,
        message: "third, late".to_owned(),
    });
    for batch in [first, second, third] {
        logs.append(batch).await;
    }
    let mut by_id = query("a");
    by_id.request_id = id;
    assert_eq!(messages(&logs, by_id).await, ["second"]);
    let mut by_time = query("a");
    by_time.since_ms = Some(20);
    assert_eq!(messages(&logs, by_time).await, ["second", "third, late"]);
}

#[tokio::test]
async fn the_oldest_go_when_a_function_has_too_much() {
    let store = Arc::new(Memory::new());
    let config = LogConfig {
        bytes_per_function_max: 20_000,
        ..LogConfig::default()
    };
    let logs = open(&store, config).await;
    append_numbered(&logs, "a", 0..1000).await;
    append_numbered(&logs, "b", 0..3).await;
    logs.enforce().await.expect("enforces");
    let left = messages(&logs, query("a")).await;
    assert!(
        !left.is_empty() && left.len() < 1000,
        "{} lines are left",
        left.len()
    );
    assert_eq!(left, numbered(1000 - left.len()..1000));
    assert_eq!(messages(&logs, query("b")).await, numbered(0..3));

    let records = store
        .scan(Scan::prefix(LOGS, record::prefix(&name("a"))))
        .await
        .expect("scans");
    let bytes: usize = records
        .iter()
        .map(|(key, entry)| key.len() + entry.value.len())
        .sum();
    assert_eq!(writer::lock(&logs.usages)[&name("a")].bytes, bytes as u64);
    assert!(bytes <= 20_000 && bytes > 19_900, "{bytes} bytes are left");
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes() {
    let logs = fresh().await;
    let day_ms = 24 * 3600 * 1000;
    for n in 0..300 {
        logs.append(batch("a", now_ms() - 15 * day_ms, &format!("old {n}")))
            .await;
    }
    logs.append(batch("a", now_ms() - 13 * day_ms, "young")).await;
    logs.enforce().await.expect("enforces");
    assert_eq!(messages(&logs, query("a")).await, ["young"]);
}

#[tokio::test]
async fn sizes_and_lines_are_there_after_opening_again() {
    let store = Arc::new(Memory::new());
    let logs = open(&store, LogConfig::default()).await;
    append_numbered(&logs, "a", 0..50).await;
    logs.flush().await.expect("flushes");
    let usage = writer::lock(&logs.usages).clone();
    let again = open(&store, LogConfig::default()).await;
    assert_eq!(*writer::lock(&again.usages), usage);
    assert_eq!(messages(&again, query("a")).await, numbered(0..50));
}

#[tokio::test]
async fn a_forgotten_function_leaves_nothing() {
    let store = Arc::new(Memory::new());
    let logs = open(&store, LogConfig::default()).await;
    append_numbered(&logs, "a", 0..500).await;
    append_numbered(&logs, "b", 0..2).await;
    logs.forget(&name("a")).await.expect("forgets");
    logs.forget(&name("never-seen")).await.expect("forgets");
    assert_eq!(messages(&logs, query("a")).await, numbered(0..0));
    assert_eq!(messages(&logs, query("b")).await, numbered(0..2));
    for (space, left) in [(LOGS, 2), (record::USAGE, 1)] {
        let found = store
            .scan(Scan::prefix(space, Bytes::new()))
            .await
            .expect("scans");
        assert_eq!(found.len(), left, "in {space:?}");
    }
    append_numbered(&logs, "a", 0..1).await;
    assert_eq!(messages(&logs, query("a")).await, numbered(0..1));
}

#[tokio::test]
async fn a_large_batch_comes_in_parts_and_a_long_line_is_cut() {
    let logs = fresh().await;
    let mut large = batch("a", 1, &"\u{e9}".repeat(1024 * 1024));
    let line = |n: i64| LogEvent {
        at_ms: n,
        message: n.to_string().repeat(1000),
    };
    large.events.extend((2..600).map(line));
    logs.append(large.clone()).await;
    let page = logs.read(query("a")).await.expect("reads");
    assert!(page.batches.len() > 1);
    let read: Vec<_> = page.batches.into_iter().flat_map(|batch| batch.events).collect();
    assert_eq!(read[0].message, "\u{e9}".repeat(128 * 1024));
    assert_eq!(read[1..], large.events[1..]);
}

#[tokio::test]
async fn followers_get_every_functions_batches() {
    let logs = fresh().await;
    append_numbered(&logs, "a", 0..1).await;
    let mut follower = logs.follow();
    let expected = [batch("a", 1, "x"), batch("b", 2, "y")];
    for batch in &expected {
        logs.append(batch.clone()).await;
    }
    for batch in &expected {
        assert_eq!(*follower.recv().await.expect("a batch"), *batch);
    }
}

#[tokio::test]
async fn many_tasks_append_and_each_ones_order_is_kept() {
    let logs = fresh().await;
    let append = |task: usize| {
        let logs = logs.clone();
        async move { append_numbered(&logs, &format!("f{task}"), 0..200).await }
    };
    let mut tasks = tokio::task::JoinSet::new();
    (0..20).for_each(|task| drop(tasks.spawn(append(task))));
    tasks.join_all().await;
    for task in 0..20 {
        assert_eq!(
            messages(&logs, query(&format!("f{task}"))).await,
            numbered(0..200)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_on_disk_are_kept_limited_and_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LogConfig {
        bytes_per_function_max: 10_000,
        ..LogConfig::default()
    };
    let store = Arc::new(Embedded::open(dir.path(), EmbeddedConfig::default()).expect("opens"));
    let logs = LogStore::open(store.clone(), config.clone())
        .await
        .expect("opens");
    for function in ["a", "b", "c"] {
        append_numbered(&logs, function, 0..500).await;
    }
    assert_eq!(messages(&logs, query("a")).await, numbered(0..500));
    logs.enforce().await.expect("enforces");
    logs.forget(&name("b")).await.expect("forgets");
    let left = messages(&logs, query("a")).await;
    assert_eq!(left, numbered(500 - left.len()..500));
    append_numbered(&logs, "c", 500..501).await;
    drop(logs);
    // The writer lets go of the store when all is written.
    while Arc::strong_count(&store) > 1 {
        tokio::task::yield_now().await;
    }
    drop(store);

    let store = Arc::new(Embedded::open(dir.path(), EmbeddedConfig::default()).expect("opens"));
    let logs = LogStore::open(store, config).await.expect("opens");
    assert_eq!(messages(&logs, query("a")).await, left);
    assert_eq!(messages(&logs, query("b")).await, numbered(0..0));
    assert_eq!(
        messages(&logs, query("c")).await.last().map(String::as_str),
        Some("line 500")
    );
}
