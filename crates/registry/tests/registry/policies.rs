//! Who else may call a function: statements by id and qualifier, durable, and gone with what they are about.

use serde_json::json;
use squall_registry::RegistryError;

use crate::{World, ready, target};

#[tokio::test]
async fn statements_are_kept_by_qualifier_and_survive_a_restart() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let one = json!({ "Sid": "one" });
    let add = async |of: &str, id: &str, revision: Option<String>| {
        let statement = json!({ "Sid": id });
        registry
            .add_permission(&target(of), id.to_owned(), statement, revision)
            .await
    };
    add("f", "one", None).await.expect("added");
    assert!(matches!(
        add("f", "one", None).await,
        Err(RegistryError::Conflict(_))
    ));
    assert!(matches!(
        add("f:9", "one", None).await,
        Err(RegistryError::NotFound(_))
    ));
    assert!(matches!(
        add("nobody", "one", None).await,
        Err(RegistryError::NotFound(_))
    ));
    let stale = Some("stale".to_owned());
    assert!(matches!(
        add("f", "two", stale).await,
        Err(RegistryError::PreconditionFailed)
    ));
    let current = registry
        .policy(&target("f:$LATEST"))
        .expect("a policy")
        .revision_id;
    add("f", "two", Some(current)).await.expect("added");
    assert!(registry.policy(&target("f:1")).is_none());

    let registry = world.open().await;
    let policy = registry.policy(&target("f")).expect("a policy");
    assert_eq!(policy.statements[0], ("one".to_owned(), one));
    assert_eq!(policy.document()["Statement"][1]["Sid"], "two");
    for id in ["one", "two"] {
        registry
            .remove_permission(&target("f"), id, None)
            .await
            .expect("removed");
    }
    assert!(registry.policy(&target("f")).is_none());
    let gone = registry.remove_permission(&target("f"), "one", None).await;
    assert!(matches!(gone, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn a_policy_has_a_longest_length() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let long = json!({ "Sid": "x".repeat(20_480) });
    let refused = registry
        .add_permission(&target("f"), "long".to_owned(), long, None)
        .await;
    assert!(matches!(refused, Err(RegistryError::PolicyTooLong(_))));
    assert!(registry.policy(&target("f")).is_none());
}
