//! How events of a function are tried, and where what came of them goes: per qualifier, checked, durable.

use std::time::Duration;

use squall_registry::{CreateAlias, EventInvokeSettings, EventPolicy, RegistryError, UpdateConfiguration};
use squall_types::Version;

use crate::{World, ready, target};

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

fn settings(retries_max: Option<u32>, age_secs_max: Option<u32>) -> EventInvokeSettings {
    EventInvokeSettings {
        retries_max,
        age_secs_max,
        ..EventInvokeSettings::default()
    }
}

#[tokio::test]
async fn each_qualifier_has_its_own_and_they_survive_a_restart() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let alias = CreateAlias {
        name: "live".parse().expect("a name"),
        version: Version::Latest,
        additional: None,
        description: None,
    };
    registry
        .create_alias(&target("f").name, alias)
        .await
        .expect("made");
    let own = EventInvokeSettings {
        on_failure: Some(QUEUE.to_owned()),
        ..settings(Some(0), None)
    };
    registry
        .put_event_invoke(&target("f:live"), own)
        .await
        .expect("put");
    registry
        .put_event_invoke(&target("f"), settings(None, Some(60)))
        .await
        .expect("put");
    let changed = settings(Some(1), None);
    registry
        .update_event_invoke(&target("f:$LATEST"), changed)
        .await
        .expect("updated");
    drop(registry);
    let registry = world.open().await;
    let live = EventPolicy {
        retries_max: 0,
        on_failure: Some(QUEUE.to_owned()),
        ..EventPolicy::default()
    };
    assert_eq!(registry.event_policy(&target("f:live")), live);
    let latest = EventPolicy {
        retries_max: 1,
        age_max: Some(Duration::from_secs(60)),
        ..EventPolicy::default()
    };
    assert_eq!(registry.event_policy(&target("f")), latest);
    let page = registry
        .list_event_invokes(&target("f").name, None, 10)
        .expect("listed");
    assert_eq!(page.items.len(), 2);
    let name = target("f").name;
    registry
        .delete_alias(&name, &"live".parse().expect("a name"))
        .await
        .expect("deleted");
    let gone = registry.event_invoke(&target("f:live"));
    assert!(matches!(gone, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn what_is_out_of_range_or_not_there_is_refused() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    for (of, given, expected) in [
        ("f", settings(Some(3), None), "less than or equal to 2"),
        ("f", settings(None, Some(59)), "greater than or equal to 60"),
        ("f", settings(None, Some(21_601)), "less than or equal to 21600"),
        ("f", settings(None, None), "at least one"),
        ("f:9", settings(Some(1), None), "doesn't exist"),
        ("g", settings(Some(1), None), "Function not found"),
    ] {
        let refused = registry.put_event_invoke(&target(of), given).await;
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let absent = registry
        .update_event_invoke(&target("f"), settings(Some(1), None))
        .await;
    assert!(
        absent
            .expect_err("none yet")
            .to_string()
            .contains("doesn't have an EventInvokeConfig")
    );
    let absent = registry.delete_event_invoke(&target("f")).await;
    assert!(matches!(absent, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn a_dead_letter_queue_is_the_versions_own() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let with = |arn: &str| UpdateConfiguration {
        dead_letter: Some(arn.to_owned()),
        ..UpdateConfiguration::default()
    };
    let name = target("f").name;
    registry
        .update_configuration(&name, with(QUEUE))
        .await
        .expect("updated");
    registry.settled().await;
    let dead_letter = || registry.event_policy(&target("f")).dead_letter;
    assert_eq!(dead_letter().as_deref(), Some(QUEUE));
    registry
        .update_configuration(&name, with(""))
        .await
        .expect("updated");
    registry.settled().await;
    assert_eq!(dead_letter(), None);
}
