//! Deliveries to FIFO queues: their group, their order, and a repeated one.

use squall_types::{Deliver, DeliverError, Delivery, RequestId};

use super::*;

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:q.fifo";

fn delivery(body: &'static str, group: Option<&str>) -> Delivery {
    let group = group.map(|group| ("MessageGroupId".to_owned(), group.to_owned()));
    Delivery {
        body: body.into(),
        attributes: group.into_iter().collect(),
        id: Some(RequestId::random()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_fifo_queue_takes_deliveries_in_their_group_and_each_once() {
    let (_, queues) = with_queue("q.fifo", &[("FifoQueue", "true")]).await;
    let first = delivery("a", Some("g"));
    for one in [first.clone(), delivery("b", Some("g")), first] {
        queues.deliver(ARN, one).await.expect("taken, or there");
    }
    let received = receive(&queues, "q.fifo", 10).await;
    assert_eq!(bodies(&received), ["a", "b"]);
    assert_eq!(received[0].content.group.as_deref(), Some("g"));
    // The group is no attribute of the message.
    assert!(received[0].content.attributes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_without_a_group_is_refused_by_a_fifo_queue() {
    let (_, queues) = with_queue("q.fifo", &[("FifoQueue", "true")]).await;
    let refused = queues.deliver(ARN, delivery("a", None)).await;
    let Err(DeliverError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("MessageGroupId"), "{why}");
    assert!(receive(&queues, "q.fifo", 10).await.is_empty());
}
