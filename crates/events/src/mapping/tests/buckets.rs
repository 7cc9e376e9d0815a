//! Mappings from buckets of state, with a function that is a closure.

use squall_state::{BucketSettings, Config, Key, SessionRequest, State};
use squall_store::{Batch, Scan, Space};

use super::*;
use crate::mapping::BucketSource;

const BUCKET: &str = "arn:aws:squall:us-east-1:000000000000:bucket/shop";

/// What comes of a call with these keys.
type Judge = Box<dyn Fn(&[String]) -> Answer + Send + Sync>;

/// Answers by a closure, and shows the keys of every call and of every accepted event.
struct Keys {
    answer: Judge,
    calls: mpsc::UnboundedSender<Vec<String>>,
    accepted: mpsc::UnboundedSender<Vec<String>>,
}

fn keys_of(invocation: &Invocation) -> Vec<String> {
    let event: Value = serde_json::from_slice(&invocation.payload).expect("an event is JSON");
    let records = event["Records"].as_array().expect("records");
    let key = |one: &Value| one["key"].as_str().expect("a key").to_owned();
    records.iter().map(key).collect()
}

#[async_trait]
impl Invoke for Keys {
    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, InvokeError> {
        let keys = keys_of(&invocation);
        let answer = (self.answer)(&keys);
        self.calls.send(keys).expect("the test listens");
        Ok(Outcome {
            executed_version: Version::Latest,
            result: answer?,
            encoding: Encoding::Json,
            session: None,
            log_tail: None,
            usage: Usage::default(),
        })
    }

    async fn accept(&self, invocation: Invocation) -> Result<(), InvokeError> {
        self.accepted
            .send(keys_of(&invocation))
            .expect("the test listens");
        Ok(())
    }

    async fn resolve(&self, _: &FunctionRef) -> Result<Resolution, InvokeError> {
        unreachable!("mappings do not look at their functions")
    }
}

struct World {
    store: Arc<dyn Store>,
    state: State,
    mappings: Mappings,
    calls: mpsc::UnboundedReceiver<Vec<String>>,
    accepted: mpsc::UnboundedReceiver<Vec<String>>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

fn well(_: &[String]) -> Answer {
    Ok(Ok(Bytes::from_static(b"null")))
}

fn fails() -> Answer {
    Ok(Err(FunctionError::new("E", "no")))
}

async fn open(store: Arc<dyn Store>, answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> World {
    let state = State::open(store.clone(), Config::default())
        .await
        .expect("a store");
    let (to_calls, calls) = mpsc::unbounded_channel();
    let (to_accepted, accepted) = mpsc::unbounded_channel();
    let function = Arc::new(Keys {
        answer: Box::new(answer),
        calls: to_calls,
        accepted: to_accepted,
    });
    let source = BucketSource::open(store.clone(), state.clone(), Home::default()).await;
    let source = Arc::new(source.expect("a store"));
    let mappings = Mappings::open(store.clone(), function, vec![source]).await;
    let mappings = mappings.expect("a store");
    let stop = CancellationToken::new();
    let running = tokio::spawn(mappings.clone().run(stop.clone()));
    World {
        store,
        state,
        mappings,
        calls,
        accepted,
        stop,
        running,
    }
}

impl World {
    async fn new(answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> Self {
        let world = open(Arc::new(Memory::new()), answer).await;
        let settings = BucketSettings {
            keeps_changes: true,
            ..BucketSettings::default()
        };
        let bucket = "shop".parse().expect("a name");
        world
            .state
            .create_bucket(bucket, settings)
            .await
            .expect("a bucket");
        world
    }

    async fn map(&self, arn: &str, change: Change) -> Result<crate::mapping::Mapping, MappingError> {
        self.mappings
            .create(arn, "f".parse().expect("a name"), &change, 3)
            .await
    }

    async fn put(&self, key: &str) {
        let key = Key::new("shop".parse().expect("a name"), key.to_owned()).expect("a key");
        let session = self.state.session(SessionRequest::default()).expect("a session");
        let value = squall_state::Value::json("1");
        session.put(&key, value).await.expect("written");
    }

    /// Keys that the function was called with, until there were so many.
    async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            told.extend(self.calls.recv().await.expect("the function is there"));
        }
        told
    }

    async fn restart(self, answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> Self {
        self.stop.cancel();
        self.running.await.expect("no panic");
        open(self.store, answer).await
    }

    async fn records(&self, space: &'static str) -> usize {
        self.store
            .scan(Scan::prefix(Space(space), ""))
            .await
            .expect("a store")
            .len()
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_in_order_those_of_the_prefix_alone_and_those_that_a_filter_wants() {
    let mut world = World::new(well).await;
    world.put("orders/before").await;
    let prefix = format!("{BUCKET}/orders/");
    let filters = Some(vec![r#"{"key":[{"anything-but":"orders/2"}]}"#.to_owned()]);
    let change = Change {
        filters,
        ..Change::default()
    };
    world.map(&prefix, change).await.expect("a mapping");
    for key in ["orders/1", "other/1", "orders/2", "orders/3", "orders/1"] {
        world.put(key).await;
    }
    assert_eq!(world.told(3).await, ["orders/1", "orders/3", "orders/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_outlives_the_server_and_what_is_behind_all_is_trimmed() {
    let mut world = World::new(well).await;
    world.put("a").await;
    let change = |position: &str| Change {
        starting_position: Some(position.to_owned()),
        ..Change::default()
    };
    world
        .map(BUCKET, change("TRIM_HORIZON"))
        .await
        .expect("a mapping");
    assert_eq!(world.told(1).await, ["a"]);
    world.put("b").await;
    assert_eq!(world.told(1).await, ["b"]);
    let mut world = world.restart(well).await;
    world.put("c").await;
    assert_eq!(world.told(1).await, ["c"]);
    // What has been told is forgotten when there is nothing more to do.
    while world.records("state_changes").await > 0 {
        tokio::task::yield_now().await;
    }
    let uuid = world.mappings.all()[0].uuid;
    assert_eq!(world.records("mapping-cursors").await, 1);
    world.mappings.delete(uuid).await.expect("deleted");
    assert_eq!(world.records("mapping-cursors").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_function_cannot_take_is_found_and_handed_over_and_the_others_go_on() {
    let poisoned = |keys: &[String]| match keys.iter().any(|key| key == "bad") {
        true => fails(),
        false => well(keys),
    };
    let mut world = World::new(poisoned).await;
    for key in ["1", "2", "bad", "3", "4"] {
        world.put(key).await;
    }
    let change = Change {
        starting_position: Some("TRIM_HORIZON".to_owned()),
        ..Change::default()
    };
    world.map(BUCKET, change).await.expect("a mapping");
    assert_eq!(world.accepted.recv().await.expect("handed over"), ["bad"]);
    let mut taken: Vec<String> = Vec::new();
    while taken.len() < 4 {
        let keys = world.calls.recv().await.expect("the function is there");
        if !keys.iter().any(|key| key == "bad") {
            taken.extend(keys);
        }
    }
    assert_eq!(taken, ["1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_called_for_a_while_is_told_in_order_then() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let later = move |keys: &[String]| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0..5 => Err(InvokeError::Throttled {
            reason: ThrottleReason::CallerRateLimitExceeded,
            retry_after: Duration::from_secs(1),
        }),
        _ => well(keys),
    };
    let mut world = World::new(later).await;
    let change = Change {
        starting_position: Some("TRIM_HORIZON".to_owned()),
        ..Change::default()
    };
    for key in ["1", "2"] {
        world.put(key).await;
    }
    world.map(BUCKET, change).await.expect("a mapping");
    let told = world.told(12).await;
    assert_eq!(told[10..], ["1", "2"]);
    assert!(world.accepted.try_recv().is_err(), "nothing was given up");
}

#[tokio::test]
async fn what_is_no_source_is_refused() {
    let world = World::new(well).await;
    let plain = "plain".parse().expect("a name");
    world
        .state
        .create_bucket(plain, BucketSettings::default())
        .await
        .expect("a bucket");
    for (arn, change, why) in [
        (
            "arn:aws:squall:us-east-1:000000000000:bucket/none",
            Change::default(),
            "none",
        ),
        (
            "arn:aws:squall:us-east-1:000000000000:bucket/plain",
            Change::default(),
            "keeps no changes",
        ),
        (
            "arn:aws:squall:us-east-1:000000000000:topic/x",
            Change::default(),
            "ARN of a bucket",
        ),
        (
            BUCKET,
            Change {
                batch_max: Some(257),
                ..Change::default()
            },
            "256",
        ),
        (
            BUCKET,
            Change {
                concurrency_max: Some(Some(2)),
                ..Change::default()
            },
            "in order",
        ),
        (
            BUCKET,
            Change {
                starting_position: Some("AT_TIMESTAMP".to_owned()),
                ..Change::default()
            },
            "LATEST or TRIM_HORIZON",
        ),
    ] {
        let refused = world.map(arn, change).await.expect_err(arn).to_string();
        assert!(refused.contains(why), "{arn}: {refused}");
    }
    assert_eq!(world.records("mapping-cursors").await, 0);
}

/// A cursor in format 1, as the first version wrote it.
#[tokio::test]
async fn reads_a_cursor_that_the_first_version_wrote() {
    let body = br#"{"bucket":"shop","cursor":"AAAAAAAAAAUAAAAA"}"#;
    let mut record = vec![1];
    record.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    record.extend_from_slice(body);
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let batch = Batch::durable().put(Space("mapping-cursors"), vec![7; 16], record.clone());
    store.commit(batch).await.expect("written");
    let state = State::open(store.clone(), Config::default())
        .await
        .expect("a store");
    assert!(
        BucketSource::open(store.clone(), state.clone(), Home::default())
            .await
            .is_ok()
    );
    *record.last_mut().expect("a record") ^= 1;
    let batch = Batch::durable().put(Space("mapping-cursors"), vec![7; 16], record);
    store.commit(batch).await.expect("written");
    assert!(BucketSource::open(store, state, Home::default()).await.is_err());
}
