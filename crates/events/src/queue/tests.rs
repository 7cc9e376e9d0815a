//! Queues against their rules, and against a model that crashes at any commit.

mod deliver;
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_store::{Memory, Store};
use squall_types::{Deliver, Delivery, Home, RequestId};

use super::{NewMessage, QueueConfig, QueueError, Queues, Receive, Received, record};

async fn open(store: &Arc<dyn Store>) -> Queues {
    Queues::open(store.clone(), QueueConfig::new(Home::default()))
        .await
        .expect("an open store")
}

async fn with_queue(name: &str, attributes: &[(&str, &str)]) -> (Arc<dyn Store>, Queues) {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let queues = open(&store).await;
    create(&queues, name, attributes).await.expect("a new queue");
    (store, queues)
}

async fn create(queues: &Queues, name: &str, attributes: &[(&str, &str)]) -> Result<(), QueueError> {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let attributes = attributes.iter().map(text).collect();
    queues.create(name, &attributes, BTreeMap::new()).await
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.to_owned(),
        ..NewMessage::default()
    }
}

fn of_group(body: &str, group: &str) -> NewMessage {
    NewMessage {
        group: Some(group.to_owned()),
        deduplication_id: Some(body.to_owned()),
        ..message(body)
    }
}

async fn send(queues: &Queues, queue: &str, message: NewMessage) {
    queues.send(queue, message, "tester").await.expect("it is taken");
}

async fn receive(queues: &Queues, queue: &str, messages_max: usize) -> Vec<Received> {
    let how = Receive {
        messages_max,
        wait: Some(Duration::ZERO),
        ..Receive::default()
    };
    queues.receive(queue, &how).await.expect("a queue")
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|one| one.content.body.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_hidden_until_its_time_is_over_and_gone_once_it_is_deleted() {
    let (_, queues) = with_queue("q", &[("VisibilityTimeout", "10")]).await;
    send(&queues, "q", message("a")).await;
    let first = receive(&queues, "q", 10).await;
    assert_eq!((bodies(&first), first[0].receive_count), (vec!["a"], 1));
    assert!(receive(&queues, "q", 10).await.is_empty());
    tokio::time::advance(Duration::from_secs(11)).await;
    let second = receive(&queues, "q", 10).await;
    assert_eq!((bodies(&second), second[0].receive_count), (vec!["a"], 2));
    queues
        .delete("q", &first[0].receipt)
        .await
        .expect("an old handle is no error");
    assert_eq!(queues.view("q").expect("a queue").counts.in_flight, 1);
    queues.delete("q", &second[0].receipt).await.expect("deleted");
    queues
        .delete("q", &second[0].receipt)
        .await
        .expect("twice is no error");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(receive(&queues, "q", 10).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_woken_by_a_message_and_by_a_delay_that_ends() {
    let (_, queues) = with_queue("q", &[]).await;
    let how = Receive {
        wait: Some(Duration::from_secs(20)),
        ..Receive::default()
    };
    let poll = |queues: Queues, how: Receive| tokio::spawn(async move { queues.receive("q", &how).await });
    let polling = poll(queues.clone(), how.clone());
    tokio::task::yield_now().await;
    send(&queues, "q", message("now")).await;
    let got = polling.await.expect("no panic").expect("a queue");
    assert_eq!(bodies(&got), ["now"]);

    let delayed = NewMessage {
        delay_secs: Some(5),
        ..message("later")
    };
    send(&queues, "q", delayed).await;
    let start = tokio::time::Instant::now();
    let got = poll(queues.clone(), how.clone())
        .await
        .expect("no panic")
        .expect("a queue");
    assert_eq!(bodies(&got), ["later"]);
    assert!(start.elapsed() >= Duration::from_millis(4_990));
    assert!(start.elapsed() < Duration::from_secs(6));

    let polling = poll(queues.clone(), how);
    tokio::task::yield_now().await;
    queues.drain();
    assert!(polling.await.expect("no panic").expect("a queue").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_gives_nothing_more_while_something_of_it_is_in_flight() {
    let (_, queues) = with_queue("q.fifo", &[("FifoQueue", "true")]).await;
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        send(&queues, "q.fifo", of_group(body, group)).await;
    }
    let first = receive(&queues, "q.fifo", 1).await;
    assert_eq!(bodies(&first), ["a1"]);
    let second = receive(&queues, "q.fifo", 10).await;
    assert_eq!(bodies(&second), ["b1"], "group a is busy");
    queues.delete("q.fifo", &first[0].receipt).await.expect("deleted");
    let third = receive(&queues, "q.fifo", 10).await;
    assert_eq!(bodies(&third), ["a2", "a3"]);
    queues
        .change_visibility("q.fifo", &third[0].receipt, 0)
        .await
        .expect("in flight");
    assert!(
        receive(&queues, "q.fifo", 10).await.is_empty(),
        "a3 is still in flight"
    );
    queues.give_back("q.fifo", &[&third[1].receipt]).expect("a queue");
    assert_eq!(bodies(&receive(&queues, "q.fifo", 10).await), ["a2", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_message_is_taken_once_in_five_minutes_also_over_a_restart() {
    let settings = [("FifoQueue", "true"), ("ContentBasedDeduplication", "true")];
    let (store, queues) = with_queue("q.fifo", &settings).await;
    let same = NewMessage {
        group: Some("g".to_owned()),
        ..message("same")
    };
    let first = queues
        .send("q.fifo", same.clone(), "tester")
        .await
        .expect("taken");
    let batch = vec![same.clone(), same.clone()];
    let again = queues.send_all("q.fifo", batch, "tester").await.expect("taken");
    assert!(again.into_iter().all(|sent| sent.expect("taken") == first));
    let queues = open(&store).await;
    assert_eq!(queues.send("q.fifo", same, "tester").await.expect("taken"), first);
    assert_eq!(receive(&queues, "q.fifo", 10).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_received_too_often_goes_to_the_dead_letter_queue_and_back() {
    let (_, queues) = with_queue("dead", &[]).await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"2"}"#;
    create(
        &queues,
        "q",
        &[("RedrivePolicy", policy), ("VisibilityTimeout", "1")],
    )
    .await
    .expect("a new queue");
    send(&queues, "q", message("poison")).await;
    for _ in 0..2 {
        assert_eq!(receive(&queues, "q", 10).await.len(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert!(receive(&queues, "q", 10).await.is_empty());
    let how = Receive {
        wait: Some(Duration::from_secs(20)),
        visibility_secs: Some(0),
        ..Receive::default()
    };
    let dead = queues.receive("dead", &how).await.expect("a queue");
    assert_eq!(bodies(&dead), ["poison"]);
    let source = dead[0].content.dead_letter_source.as_deref();
    assert_eq!(source, Some("arn:aws:sqs:us-east-1:000000000000:q"));
    assert_eq!(queues.dead_letter_sources("dead").expect("a queue"), ["q"]);

    let dead_arn = "arn:aws:sqs:us-east-1:000000000000:dead";
    queues
        .start_move(dead_arn, None, None)
        .expect("a dead-letter queue");
    let back = queues.receive("q", &how).await.expect("a queue");
    assert_eq!((bodies(&back), back[0].receive_count), (vec!["poison"], 1));
    let poll = async {
        while queues.moves(dead_arn, 1)[0].status == "RUNNING" {
            tokio::task::yield_now().await;
        }
    };
    poll.await;
    let task = &queues.moves(dead_arn, 1)[0];
    assert_eq!((task.status, task.moved), ("COMPLETED", 1));
}

#[tokio::test(start_paused = true)]
async fn old_messages_and_deleted_queues_leave_nothing_behind() {
    let (store, queues) = with_queue("q", &[]).await;
    for number in 0..20 {
        send(&queues, "q", message(&number.to_string())).await;
    }
    queues.purge("q").await.expect("purged");
    assert!(matches!(
        queues.purge("q").await,
        Err(QueueError::PurgeInProgress(_))
    ));
    assert_eq!(left(&store).await, 0);
    send(&queues, "q", message("last")).await;
    assert_eq!(left(&store).await, 2);
    queues.remove_queue("q").await.expect("deleted");
    assert_eq!(left(&store).await, 0);
    assert!(matches!(queues.view("q"), Err(QueueError::NoSuchQueue)));
}

async fn left(store: &Arc<dyn Store>) -> usize {
    let mut records = 0;
    for space in [record::PLACES, record::CONTENTS] {
        let all = store
            .scan(squall_store::Scan::prefix(space, bytes::Bytes::new()))
            .await;
        records += all.expect("a store").len();
    }
    records
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let (_, queues) = with_queue("q", &[("MaximumMessageSize", "1024")]).await;
    create(&queues, "q", &[]).await.expect("the same queue again");
    let other = create(&queues, "q", &[("DelaySeconds", "5")]).await;
    assert!(matches!(other, Err(QueueError::NameExists(name)) if name == "DelaySeconds"));
    let refused = [
        create(&queues, "no blanks", &[]).await,
        create(&queues, "q.fifo", &[]).await,
        create(&queues, "x", &[("FifoQueue", "true")]).await,
        create(&queues, "x", &[("DelaySeconds", "901")]).await,
        create(&queues, "x", &[("Colour", "red")]).await,
        create(
            &queues,
            "x",
            &[(
                "RedrivePolicy",
                r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:no","maxReceiveCount":1}"#,
            )],
        )
        .await,
    ];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    let sent = |message: NewMessage| queues.send("q", message, "tester");
    assert!(matches!(sent(message("")).await, Err(QueueError::Missing(_))));
    assert!(matches!(
        sent(message("\u{1}")).await,
        Err(QueueError::InvalidContents(_))
    ));
    assert!(matches!(
        sent(message(&"x".repeat(1025))).await,
        Err(QueueError::TooLarge(1024))
    ));
    assert!(matches!(
        queues.delete("q", "junk").await,
        Err(QueueError::InvalidReceipt(_))
    ));
    assert!(matches!(
        queues.send("no", message("a"), "tester").await,
        Err(QueueError::NoSuchQueue)
    ));
}

#[test]
fn records_of_format_1_are_read() {
    let place = record::Place {
        sent_ms: 1,
        visible_ms: 2,
        receive_count: 3,
        first_received_ms: 4,
        bytes: 5,
        group: Some("g".to_owned()),
    };
    const PLACE: &str = "010f45d2b10102030405010167";
    let written: String = record::encode_place(&place)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(written, PLACE);
    assert_eq!(record::decode_place(&unhex(PLACE)).as_ref(), Ok(&place));
    let content = super::Content {
        id: uuid::Uuid::from_u128(7),
        body: "b".to_owned(),
        attributes: BTreeMap::new(),
        trace_header: None,
        sender: "s".to_owned(),
        sent_ms: 9,
        group: None,
        deduplication_id: Some("d".to_owned()),
        dead_letter_source: None,
    };
    const CONTENT: &str = "01fc1538ed1000000000000000000000000000000007016200000173090001016400";
    let written: String = record::encode_content(&content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(written, CONTENT);
    assert_eq!(record::decode_content(&unhex(CONTENT)).as_ref(), Ok(&content));
    let mut damaged = unhex(CONTENT);
    damaged[9] ^= 1;
    assert!(record::decode_content(&damaged).is_err());
}

#[test]
fn queues_of_format_1_are_read_and_written() {
    const BODY: &str = r#"{"id":3,"attributes":{"delay_secs":1,"bytes_max":2048,"retention_secs":60,"wait_secs":2,"visibility_secs":5,"fifo":true,"content_deduplication":true,"redrive":{"target_arn":"arn:aws:sqs:us-east-1:000000000000:d.fifo","receive_count_max":4},"kept":{"Policy":"p"}},"tags":{"a":"b"},"created_ms":8,"modified_ms":9}"#;
    const HEADER: &[u8] = b"\x01\x01\xd9\x28\x21";
    let redrive = super::RedrivePolicy {
        target_arn: "arn:aws:sqs:us-east-1:000000000000:d.fifo".to_owned(),
        receive_count_max: 4,
    };
    let definition = super::Definition {
        id: 3,
        attributes: super::Attributes {
            delay_secs: 1,
            bytes_max: 2048,
            retention_secs: 60,
            wait_secs: 2,
            visibility_secs: 5,
            fifo: true,
            content_deduplication: true,
            redrive: Some(redrive),
            kept: [("Policy".to_owned(), "p".to_owned())].into(),
        },
        tags: [("a".to_owned(), "b".to_owned())].into(),
        created_ms: 8,
        modified_ms: 9,
    };
    let written = [HEADER, BODY.as_bytes()].concat();
    assert_eq!(record::decode_definition(&written).as_ref(), Ok(&definition));
    assert_eq!(record::encode_definition(&definition), written);
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_repeated_is_one_message_also_after_a_restart() {
    let (store, queues) = with_queue("q", &[]).await;
    let id = RequestId::random();
    let delivery = || Delivery {
        body: "a".into(),
        id: Some(id),
        ..Delivery::default()
    };
    let arn = "arn:aws:sqs:us-east-1:000000000000:q";
    queues.deliver(arn, delivery()).await.expect("taken");
    queues.deliver(arn, delivery()).await.expect("it is there");
    let queues = open(&store).await;
    queues.deliver(arn, delivery()).await.expect("it is there");
    assert_eq!(bodies(&receive(&queues, "q", 10).await), ["a"]);
    queues
        .deliver(
            arn,
            Delivery {
                id: None,
                ..delivery()
            },
        )
        .await
        .expect("taken");
    assert_eq!(receive(&queues, "q", 10).await.len(), 1);
}
