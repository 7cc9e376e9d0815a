//! What becomes of a function when its runtime prepares it, cannot, or is stopped while it does.

use squall_registry::{LastUpdateStatus, PublishVersion, State};
use squall_types::{InvokeError, PrepareError};

use crate::{World, code, ready, target};

#[tokio::test]
async fn code_that_cannot_be_prepared_makes_the_function_failed_with_the_reason() {
    let world = World::new();
    let check = async |error: PrepareError, expected_code: &str| {
        let name = expected_code.to_lowercase();
        let registry = world.try_open_preparing(move |_| Err(error.clone())).await;
        let registry = registry.expect("the registry opens");
        ready(&registry, &name).await;
        let failed = registry.function(&target(&name)).expect("there").config;
        assert_eq!(failed.state, State::Failed);
        assert_eq!(failed.state_reason.as_deref(), Some("why"));
        assert_eq!(failed.state_reason_code.as_deref(), Some(expected_code));
        let refused = registry.resolve(&target(&name));
        assert!(
            matches!(refused, Err(InvokeError::NotReady { .. })),
            "{refused:?}"
        );
    };
    check(PrepareError::Code("why".into()), "FunctionError").await;
    check(PrepareError::Platform("why".into()), "InternalError").await;
}

#[tokio::test]
async fn an_update_that_cannot_be_prepared_leaves_the_old_code_running() {
    let world = World::new();
    // It prepares what came first, and nothing else.
    let first = std::sync::OnceLock::new();
    let registry = world
        .try_open_preparing(move |revision| {
            let sha256 = &revision.code.sha256;
            if first.get_or_init(|| sha256.clone()) == sha256 {
                return Ok(());
            }
            Err(PrepareError::Code("why".into()))
        })
        .await
        .expect("the registry opens");
    ready(&registry, "f").await;
    let before = registry.resolve(&target("f")).expect("runs").revision;
    registry.update_code(code("f", "two")).await.expect("accepted");
    registry.settled().await;
    let config = registry.function(&target("f")).expect("there").config;
    assert_eq!(config.state, State::Active);
    assert_eq!(config.last_update_status, Some(LastUpdateStatus::Failed));
    assert_eq!(config.last_update_reason.as_deref(), Some("why"));
    let after = registry.resolve(&target("f")).expect("still runs").revision;
    assert_eq!(before.id, after.id);
}

#[tokio::test]
async fn a_preparation_that_a_stop_cut_short_is_made_at_the_next_start() {
    let world = World::new();
    let stopping = world.try_open_preparing(|_| Err(PrepareError::Stopped)).await;
    let registry = stopping.expect("the registry opens");
    ready(&registry, "f").await;
    let config = registry.function(&target("f")).expect("there").config;
    assert_eq!(config.state, State::Pending);
    drop(registry);
    let registry = world.open().await;
    registry.settled().await;
    let config = registry.function(&target("f")).expect("there").config;
    assert_eq!(config.state, State::Active);
}

#[tokio::test]
async fn what_can_be_called_is_listed_for_who_prepares_it_again() {
    let world = World::new();
    let refusing = world.try_open_preparing(|_| Err(PrepareError::Code("why".into())));
    let registry = refusing.await.expect("the registry opens");
    ready(&registry, "failed").await;
    drop(registry);
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = target("f").name;
    let publish = registry.publish_version(&name, PublishVersion::default());
    publish.await.expect("published");
    let active = registry.active_revisions();
    let names: Vec<_> = active
        .iter()
        .map(|revision| format!("{}:{}", revision.name, revision.version))
        .collect();
    assert_eq!(names, ["f:$LATEST", "f:1"]);
}
