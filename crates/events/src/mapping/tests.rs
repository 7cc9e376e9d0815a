//! Mappings from queues, with a function that is a closure.

mod buckets;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use squall_store::{Memory, Store};
use squall_types::{
    Encoding, FunctionError, FunctionRef, Home, Invocation, Invoke, InvokeError, Outcome, Resolution,
    ThrottleReason, Usage, Version,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Change, MappingError, Mappings, QueueSource};
use crate::queue::{NewMessage, QueueConfig, Queues};

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

type Answer = Result<Result<Bytes, FunctionError>, InvokeError>;

/// Answers by a closure, and shows the bodies of every call.
struct Function {
    answer: Box<dyn Fn(&Value) -> Answer + Send + Sync>,
    calls: mpsc::UnboundedSender<Vec<String>>,
}

#[async_trait]
impl Invoke for Function {
    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, InvokeError> {
        let event: Value = serde_json::from_slice(&invocation.payload).expect("an event is JSON");
        let records = event["Records"].as_array().expect("records");
        let bodies = records
            .iter()
            .map(|one| one["body"].as_str().expect("a body").to_owned());
        self.calls.send(bodies.collect()).expect("the test listens");
        Ok(Outcome {
            executed_version: Version::Latest,
            result: (self.answer)(&event)?,
            encoding: Encoding::Json,
            session: None,
            log_tail: None,
            usage: Usage::default(),
        })
    }

    async fn accept(&self, _: Invocation) -> Result<(), InvokeError> {
        unreachable!("mappings wait for their functions")
    }

    async fn resolve(&self, _: &FunctionRef) -> Result<Resolution, InvokeError> {
        unreachable!("mappings do not look at their functions")
    }
}

struct Bench {
    store: Arc<dyn Store>,
    queues: Queues,
    mappings: Mappings,
    calls: mpsc::UnboundedReceiver<Vec<String>>,
    stop: CancellationToken,
}

impl Bench {
    async fn new(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let queues = Queues::open(store.clone(), QueueConfig::new(Home::default()))
            .await
            .expect("an open store");
        let (sender, calls) = mpsc::unbounded_channel();
        let function = Function {
            answer: Box::new(answer),
            calls: sender,
        };
        let source = Arc::new(QueueSource::new(queues.clone()));
        let mappings = Mappings::open(store.clone(), Arc::new(function), vec![source])
            .await
            .expect("an open store");
        let stop = CancellationToken::new();
        tokio::spawn(mappings.clone().run(stop.clone()));
        Self {
            store,
            queues,
            mappings,
            calls,
            stop,
        }
    }

    async fn queue(&self, name: &str, attributes: &[(&str, &str)]) {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let attributes = attributes.iter().map(text).collect();
        self.queues
            .create(name, &attributes, BTreeMap::new())
            .await
            .expect("a new queue");
    }

    async fn map(&self, queue: &str, change: Change) -> Result<super::Mapping, MappingError> {
        let function = "f".parse().expect("a name");
        self.mappings
            .create(&format!("{ARN}{queue}"), function, &change, 3)
            .await
    }

    async fn send(&self, queue: &str, bodies: &[&str]) {
        for body in bodies {
            let is_fifo = queue.ends_with(".fifo");
            let message = NewMessage {
                body: (*body).to_owned(),
                group: is_fifo.then(|| body[..1].to_owned()),
                deduplication_id: is_fifo.then(|| (*body).to_owned()),
                ..NewMessage::default()
            };
            self.queues.send(queue, message, "tester").await.expect("taken");
        }
    }

    async fn call(&mut self) -> Vec<String> {
        let call = tokio::time::timeout(Duration::from_secs(600), self.calls.recv()).await;
        call.expect("a call").expect("a function")
    }

    fn left(&self, queue: &str) -> usize {
        let counts = self.queues.view(queue).expect("a queue").counts;
        counts.ready + counts.in_flight + counts.delayed
    }

    async fn until_empty(&self, queue: &str) {
        while self.left(queue) > 0 {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
}

fn fine() -> Answer {
    Ok(Ok(Bytes::from_static(b"null")))
}

fn failed() -> Answer {
    Ok(Err(FunctionError::new("E", "no")))
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_went_well_is_deleted_and_what_no_filter_wants_too() {
    let mut bench = Bench::new(|_| fine()).await;
    bench.queue("q", &[]).await;
    bench.send("q", &["good 1", "bad", "good 2"]).await;
    let change = Change {
        filters: Some(vec![r#"{"body":[{"prefix":"good"}]}"#.to_owned()]),
        ..Change::default()
    };
    let mapping = bench.map("q", change).await.expect("a new mapping");
    assert_eq!(bench.call().await, ["good 1", "good 2"]);
    bench.until_empty("q").await;
    assert_eq!(bench.mappings.last_result(mapping.uuid), "OK");
    bench.mappings.delete(mapping.uuid).await.expect("deleted");
    bench.send("q", &["good 3"]).await;
    assert_eq!(bench.left("q"), 1);
    bench.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_window_fills_a_batch() {
    let mut bench = Bench::new(|_| fine()).await;
    bench.queue("q", &[]).await;
    let change = Change {
        batch_max: Some(100),
        window_secs: Some(5),
        ..Change::default()
    };
    bench.map("q", change).await.expect("a new mapping");
    bench.send("q", &["1"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.send("q", &["2", "3"]).await;
    assert_eq!(bench.call().await, ["1", "2", "3"]);
    bench.until_empty("q").await;
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_message_among_good_ones_ends_in_the_dead_letter_queue_alone() {
    let answer = |event: &Value| {
        let bad = event["Records"].as_array().expect("records").iter();
        let bad = bad.filter(|one| one["body"] == "bad");
        let failures: Vec<Value> = bad
            .map(|one| json!({ "itemIdentifier": one["messageId"] }))
            .collect();
        Ok(Ok(json!({ "batchItemFailures": failures }).to_string().into()))
    };
    let bench = Bench::new(answer).await;
    bench.queue("dead", &[]).await;
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}dead\",\"maxReceiveCount\":3}}");
    bench
        .queue("q", &[("RedrivePolicy", &policy), ("VisibilityTimeout", "5")])
        .await;
    bench.send("q", &["a", "bad", "b"]).await;
    let change = Change {
        reports_failures: Some(true),
        ..Change::default()
    };
    bench.map("q", change).await.expect("a new mapping");
    bench.until_empty("q").await;
    assert_eq!(bench.left("dead"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_brought_to_the_function_does_not_count_as_received() {
    let tries = Mutex::new(0);
    let answer = move |event: &Value| {
        assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
        let mut tries = tries.lock().expect("no panic before");
        *tries += 1;
        match *tries {
            1..=3 => Err(InvokeError::Throttled {
                reason: ThrottleReason::CallerRateLimitExceeded,
                retry_after: Duration::from_secs(1),
            }),
            4 => Err(InvokeError::NotFound("f".to_owned())),
            _ => fine(),
        }
    };
    let mut bench = Bench::new(answer).await;
    bench.queue("q", &[]).await;
    bench.send("q", &["a"]).await;
    bench.map("q", Change::default()).await.expect("a new mapping");
    for _ in 0..5 {
        assert_eq!(bench.call().await, ["a"]);
    }
    bench.until_empty("q").await;
}

#[tokio::test(start_paused = true)]
async fn a_group_waits_behind_its_failure_and_others_do_not() {
    let tries = Mutex::new(0);
    let answer = move |event: &Value| {
        if event["Records"][0]["body"] != "a1" {
            return fine();
        }
        let mut tries = tries.lock().expect("no panic before");
        *tries += 1;
        if *tries < 3 { failed() } else { fine() }
    };
    let mut bench = Bench::new(answer).await;
    bench
        .queue("q.fifo", &[("FifoQueue", "true"), ("VisibilityTimeout", "5")])
        .await;
    bench.send("q.fifo", &["a1", "b1", "a2"]).await;
    let change = Change {
        batch_max: Some(1),
        ..Change::default()
    };
    bench.map("q.fifo", change).await.expect("a new mapping");
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.extend(bench.call().await);
    }
    calls.retain(|body| body != "b1");
    assert_eq!(calls, ["a1", "a1", "a1", "a2"]);
    bench.until_empty("q.fifo").await;
}

#[tokio::test(start_paused = true)]
async fn bad_mappings_are_refused_and_good_ones_are_kept() {
    let bench = Bench::new(|_| fine()).await;
    bench.queue("q", &[("VisibilityTimeout", "10")]).await;
    let change = |set: &dyn Fn(&mut Change)| {
        let mut change = Change::default();
        set(&mut change);
        change
    };
    let refused = [
        bench.map("none", Change::default()).await,
        bench.map("q", change(&|c| c.batch_max = Some(11))).await,
        bench.map("q", change(&|c| c.batch_max = Some(0))).await,
        bench
            .map("q", change(&|c| c.concurrency_max = Some(Some(1))))
            .await,
        bench
            .map("q", change(&|c| c.filters = Some(vec!["{".to_owned()])))
            .await,
        bench
            .map("q", change(&|c| c.starting_position = Some("LATEST".to_owned())))
            .await,
        bench
            .mappings
            .create(
                &format!("{ARN}q"),
                "f".parse().expect("a name"),
                &Change::default(),
                11,
            )
            .await,
        bench
            .mappings
            .create(
                "arn:aws:kinesis:us-east-1:0:stream/s",
                "f".parse().expect("a name"),
                &Change::default(),
                1,
            )
            .await,
    ];
    for refusal in refused {
        assert!(
            matches!(refusal, Err(MappingError::InvalidParameter(_))),
            "{refusal:?}"
        );
    }
    let disabled = change(&|c| c.enabled = Some(false));
    let made = bench.map("q", disabled.clone()).await.expect("a new mapping");
    assert!(matches!(
        bench.map("q", disabled).await,
        Err(MappingError::Conflict(_))
    ));
    let source = Arc::new(QueueSource::new(bench.queues.clone()));
    let (calls, _) = mpsc::unbounded_channel();
    let function = Arc::new(Function {
        answer: Box::new(|_| fine()),
        calls,
    });
    let again = Mappings::open(bench.store.clone(), function, vec![source])
        .await
        .expect("an open store");
    assert_eq!(again.all(), [made]);
}
