//! Buses over a store in memory: which parcels an event becomes.

use async_trait::async_trait;
use serde_json::json;
use squall_store::{Memory, Space};
use squall_types::{Deliver, DeliverError, Delivery};

use super::*;
use crate::outbox::{OutboxConfig, Parcel};
use crate::schedule::{Schedules, SchedulesConfig};

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

struct OnlyTheQueue;

#[async_trait]
impl Deliver for OnlyTheQueue {
    fn check(&self, arn: &str) -> Result<(), DeliverError> {
        match arn == QUEUE {
            true => Ok(()),
            false => Err(DeliverError::NotFound(arn.to_owned())),
        }
    }

    async fn deliver(&self, arn: &str, _: Delivery) -> Result<(), DeliverError> {
        self.check(arn)
    }
}

struct Host {
    store: Arc<dyn Store>,
    buses: Buses,
    schedules: Schedules,
}

async fn host(store: Arc<dyn Store>) -> Host {
    let clock = Clock::new(|| 1_795_608_000_000);
    let outbox = Outbox::open(store.clone(), clock.clone(), OutboxConfig::default()).await;
    let outbox = outbox.expect("an outbox");
    outbox.connect(Arc::new(OnlyTheQueue));
    let buses = Buses::open(
        store.clone(),
        outbox.clone(),
        clock.clone(),
        BusesConfig::default(),
    )
    .await;
    let buses = buses.expect("buses");
    let rules = Arc::new(buses.clone());
    let schedules = Schedules::open(store.clone(), outbox, rules, clock, SchedulesConfig::default()).await;
    Host {
        store,
        buses,
        schedules: schedules.expect("schedules"),
    }
}

impl Host {
    async fn put_rule(&self, name: &str, pattern: Option<&str>, schedule: Option<&str>) -> Result<Rule> {
        let rule = Rule {
            name: name.to_owned(),
            bus: DEFAULT_BUS.to_owned(),
            pattern: pattern.map(str::to_owned),
            schedule: schedule.map(str::to_owned),
            is_enabled: true,
            ..Rule::default()
        };
        self.buses.put_rule(&self.schedules, rule).await
    }

    async fn parcels(&self) -> Vec<Parcel> {
        let all = self
            .store
            .scan(Scan::prefix(Space("parcels"), ""))
            .await
            .expect("a store");
        let parcels = all
            .iter()
            .map(|(_, entry)| squall_store::envelope::read(1, &entry.value));
        parcels.map(|parcel| parcel.expect("a parcel")).collect()
    }
}

fn target(id: &str) -> RuleTarget {
    RuleTarget {
        id: id.to_owned(),
        arn: QUEUE.to_owned(),
        input_path: Some("$.detail".to_owned()),
        ..RuleTarget::default()
    }
}

fn event(source: &str) -> (String, NewEvent) {
    let event = NewEvent {
        source: source.to_owned(),
        detail_type: "t".to_owned(),
        detail: json!({"n": 1}),
        resources: Vec::new(),
        time_ms: None,
    };
    (DEFAULT_BUS.to_owned(), event)
}

#[tokio::test]
async fn each_target_of_each_rule_that_wants_an_event_gets_a_parcel() {
    let host = host(Arc::new(Memory::new())).await;
    host.put_rule("shop", Some(r#"{"source":["shop"]}"#), None)
        .await
        .expect("a rule");
    host.put_rule("bank", Some(r#"{"source":["bank"]}"#), None)
        .await
        .expect("a rule");
    for rule in ["shop", "bank"] {
        let refused = host
            .buses
            .put_targets(DEFAULT_BUS, rule, vec![target("1"), target("2")])
            .await;
        assert_eq!(refused.expect("targets").len(), 0);
    }
    let ids = host
        .buses
        .put_events(&[event("shop"), event("sea")])
        .await
        .expect("accepted");
    assert_eq!(ids.len(), 2);
    let parcels = host.parcels().await;
    assert_eq!(parcels.len(), 2);
    assert!(parcels.iter().all(|parcel| parcel.body == r#"{"n":1}"#));
    host.buses
        .enable_rule(&host.schedules, DEFAULT_BUS, "shop", false)
        .await
        .expect("disabled");
    host.buses.put_events(&[event("shop")]).await.expect("accepted");
    assert_eq!(host.parcels().await.len(), 2);
}

#[tokio::test]
async fn rules_outlive_the_server_and_their_schedules_go_with_them() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let first = host(store.clone()).await;
    first
        .put_rule("tick", None, Some("rate(5 minutes)"))
        .await
        .expect("a rule");
    let refused = first
        .buses
        .put_targets(DEFAULT_BUS, "tick", vec![target("1")])
        .await;
    assert_eq!(refused.expect("targets").len(), 0);
    let again = host(store).await;
    assert_eq!(again.schedules.counts().pending, 1);
    let rule = again.buses.rule(DEFAULT_BUS, "tick").expect("the rule");
    assert_eq!(rule.targets, [target("1")]);
    let delete = || again.buses.delete_rule(&again.schedules, DEFAULT_BUS, "tick");
    assert!(delete().await.is_err(), "it has a target");
    again
        .buses
        .remove_targets(DEFAULT_BUS, "tick", &["1".to_owned()])
        .await
        .expect("removed");
    delete().await.expect("deleted");
    assert_eq!(again.schedules.counts().schedules, 0);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_configured() {
    let host = host(Arc::new(Memory::new())).await;
    assert!(matches!(
        host.put_rule("r", Some("[]"), None).await,
        Err(BusError::Pattern(_))
    ));
    assert!(matches!(
        host.put_rule("r", None, None).await,
        Err(BusError::Invalid(_))
    ));
    for expression in ["cron(0 0 31 2 ? *)", "at(2030-01-01T00:00:00)", "rate(1 minutes)"] {
        let refused = host.put_rule("r", None, Some(expression)).await;
        assert!(matches!(refused, Err(BusError::Invalid(_))), "{expression}");
    }
    host.put_rule("r", Some(r#"{"source":["s"]}"#), None)
        .await
        .expect("a rule");
    let missing = RuleTarget {
        arn: "arn:aws:sqs:us-east-1:000000000000:none".to_owned(),
        ..target("1")
    };
    let refused = host
        .buses
        .put_targets(DEFAULT_BUS, "r", vec![missing])
        .await
        .expect("an answer");
    assert!(matches!(refused[0].1, BusError::NotFound(_)));
    let many = (0..6).map(|n| target(&n.to_string())).collect();
    let refused = host.buses.put_targets(DEFAULT_BUS, "r", many).await;
    assert!(matches!(refused, Err(BusError::LimitExceeded(_))));
}

#[tokio::test]
async fn buses_that_feed_each_other_end_it() {
    let host = host(Arc::new(Memory::new())).await;
    let arn = Bus::arn(host.buses.home(), DEFAULT_BUS);
    let message = |hops: &str| Delivery {
        body: json!({"source": "s", "detail-type": "t", "detail": {}})
            .to_string()
            .into(),
        attributes: [("squall-hops".to_owned(), hops.to_owned())].into(),
        ..Delivery::default()
    };
    assert_eq!(host.buses.deliver(&arn, message("5")).await, Ok(()));
    assert!(matches!(
        host.buses.deliver(&arn, message("6")).await,
        Err(DeliverError::Refused(_))
    ));
    assert!(matches!(
        host.buses
            .check("arn:aws:events:us-east-1:000000000000:event-bus/none"),
        Err(DeliverError::NotFound(_))
    ));
}

#[tokio::test]
async fn an_event_that_is_delivered_again_is_not_sent_again() {
    let host = host(Arc::new(Memory::new())).await;
    host.put_rule("r", Some(r#"{"source":["s"]}"#), None)
        .await
        .expect("a rule");
    let refused = host.buses.put_targets(DEFAULT_BUS, "r", vec![target("1")]).await;
    assert_eq!(refused.expect("targets").len(), 0);
    let arn = Bus::arn(host.buses.home(), DEFAULT_BUS);
    let id = squall_types::RequestId::random();
    for _ in 0..2 {
        let message = Delivery {
            body: r#"{"source": "s", "detail-type": "t", "detail": {}}"#.into(),
            id: Some(id),
            ..Delivery::default()
        };
        assert_eq!(host.buses.deliver(&arn, message).await, Ok(()));
    }
    assert_eq!(host.parcels().await.len(), 1);
}
