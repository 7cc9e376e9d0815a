//! The registry at its seam: through its public operations, on the store's twin in memory and a folder of its own.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::Arc;

use bytes::Bytes;
use squall_registry::{
    Change, CodeSource, Config, CreateAlias, CreateFunction, FunctionUrlSettings, LastUpdateStatus, Limits,
    Prepare, PublishVersion, Registry, RegistryError, State, UpdateCode, UpdateConfiguration,
};
use squall_store::{Memory, Seal, Store};
use squall_types::{FunctionRef, Home, InvokeError, PrepareError, Revision, RuntimeName, Version};

mod event_invokes;
mod policies;
mod preparations;
mod records;
mod refusals;

struct World {
    store: Arc<dyn Store>,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(Memory::new()),
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Opens the registry, as a server does when it starts.
    async fn open(&self) -> Registry {
        self.try_open().await.expect("the registry opens")
    }

    async fn try_open(&self) -> Result<Registry, RegistryError> {
        self.try_open_preparing(|_| Ok(())).await
    }

    /// Opens it over a runtime that prepares code like this.
    async fn try_open_preparing(
        &self,
        prepare: impl Fn(&Revision) -> Result<(), PrepareError> + Send + Sync + 'static,
    ) -> Result<Registry, RegistryError> {
        let config = Config {
            home: Home::default(),
            dir: self.dir.path().to_owned(),
            limits: Limits::default(),
            seal: Seal::open(&self.dir.path().join("seal.key")).expect("a key"),
        };
        let check = |runtime: &RuntimeName| match runtime {
            RuntimeName::Python { .. } | RuntimeName::Provided(_) => Ok(()),
            other => Err(format!("the runtime `{other}` is not installed")),
        };
        let prepare: Prepare = Arc::new(move |revision| {
            let prepared = prepare(&revision);
            Box::pin(async move { prepared })
        });
        Registry::open(self.store.clone(), config, Arc::new(check), prepare).await
    }
}

fn zip(content: &str) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("app.py", zip::write::SimpleFileOptions::default())
        .expect("writable");
    writer.write_all(content.as_bytes()).expect("writable");
    writer.finish().expect("finished").into_inner().into()
}

fn create(name: &str) -> CreateFunction {
    CreateFunction {
        name: name.parse().expect("a name"),
        runtime: RuntimeName::Python { minor: 11 },
        handler: Some("app.handler".into()),
        role: "arn:aws:iam::000000000000:role/squall".into(),
        description: None,
        timeout_secs: None,
        memory_mib: None,
        ephemeral_storage_mib: None,
        environment: BTreeMap::new(),
        architecture: None,
        log_group: None,
        log_format: None,
        tracing_mode: None,
        snap_start: None,
        dead_letter: None,
        tags: BTreeMap::new(),
        code: CodeSource::Zip(zip("one")),
        publish: false,
        dry_run: false,
    }
}

fn code(name: &str, content: &str) -> UpdateCode {
    UpdateCode {
        name: name.parse().expect("a name"),
        code: CodeSource::Zip(zip(content)),
        architecture: None,
        publish: false,
        dry_run: false,
        revision_id: None,
    }
}

fn target(text: &str) -> FunctionRef {
    text.parse().expect("a function reference")
}

async fn ready(registry: &Registry, name: &str) {
    registry.create_function(create(name)).await.expect("created");
    registry.settled().await;
}

#[tokio::test]
async fn a_new_function_is_pending_and_then_active() {
    let world = World::new();
    let registry = world.open().await;
    let created = registry.create_function(create("f")).await.expect("created");
    assert_eq!(
        (created.state, created.last_update_status),
        (State::Pending, None)
    );
    assert_eq!(
        (
            created.timeout_secs,
            created.memory_mib,
            created.ephemeral_storage_mib
        ),
        (3, 128, 512)
    );
    registry.settled().await;
    let active = registry.function(&target("f")).expect("there").config;
    assert_eq!(
        (active.state, active.last_update_status),
        (State::Active, Some(LastUpdateStatus::Successful))
    );
    assert_ne!(active.revision_id, created.revision_id);
    let resolved = registry.resolve(&target("f")).expect("runs");
    assert!(resolved.revision.code.dir.join("app.py").exists());
    assert_eq!(
        &*resolved.invoked_arn,
        "arn:aws:lambda:us-east-1:000000000000:function:f"
    );
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let world = World::new();
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    // Dropping the runtime ends its tasks where they are, as a kill before the preparation ended would.
    let created = run().block_on(async {
        world
            .open()
            .await
            .create_function(create("f"))
            .await
            .expect("created")
    });
    run().block_on(async {
        let registry = world.open().await;
        registry.settled().await;
        let kept = registry.function(&target("f")).expect("there").config;
        assert_eq!(
            (kept.state, kept.code_sha256),
            (State::Active, created.code_sha256)
        );
    });
    std::fs::remove_dir_all(world.dir.path().join("code")).expect("the code folder");
    run().block_on(async {
        let registry = world.open().await;
        let dir = registry
            .resolve(&target("f"))
            .expect("runs")
            .revision
            .code
            .dir
            .clone();
        assert!(dir.join("app.py").exists(), "it was unpacked again");
    });
}

#[tokio::test]
async fn calls_run_the_old_code_until_the_new_is_ready() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let before = registry.resolve(&target("f")).expect("runs").revision;
    let mut changes = registry.changes();
    let updating = registry.update_code(code("f", "two")).await.expect("updated");
    assert_eq!(updating.last_update_status, Some(LastUpdateStatus::InProgress));
    registry.settled().await;
    let after = registry.resolve(&target("f")).expect("runs").revision;
    assert_ne!((before.id, &before.code), (after.id, &after.code));
    let told = changes.recv().await.expect("a change");
    assert!(
        matches!(told, Change::RevisionReplaced(id) if id == before.id),
        "{told:?}"
    );
    assert!(registry.is_current(after.id) && !registry.is_current(before.id));
}

#[tokio::test]
async fn what_instances_do_not_see_keeps_them() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = &target("f").name;
    let before = registry.resolve(&target("f")).expect("runs").revision.id;
    registry.put_concurrency(name, 5).await.expect("reserved");
    registry
        .tag(name, [("a".to_owned(), "b".to_owned())].into())
        .await
        .expect("tagged");
    let described = UpdateConfiguration {
        description: Some("new words".into()),
        ..Default::default()
    };
    registry
        .update_configuration(name, described)
        .await
        .expect("described");
    registry.settled().await;
    let resolved = registry.resolve(&target("f")).expect("runs");
    assert_eq!(
        (resolved.revision.id, resolved.reserved_concurrency),
        (before, Some(5))
    );
    let larger = UpdateConfiguration {
        memory_mib: Some(256),
        ..Default::default()
    };
    registry.update_configuration(name, larger).await.expect("larger");
    registry.settled().await;
    assert_ne!(registry.resolve(&target("f")).expect("runs").revision.id, before);
}

#[tokio::test]
async fn versions_are_immutable_and_never_numbered_twice() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = target("f").name;
    let publish = || registry.publish_version(&name, PublishVersion::default());
    assert_eq!(publish().await.expect("published").version, Version::Published(1));
    assert_eq!(
        publish().await.expect("the same").version,
        Version::Published(1),
        "nothing changed"
    );
    registry.update_code(code("f", "two")).await.expect("updated");
    registry.settled().await;
    assert_eq!(publish().await.expect("published").version, Version::Published(2));
    let one = registry.resolve(&target("f:1")).expect("runs").revision;
    let two = registry.resolve(&target("f:2")).expect("runs").revision;
    assert_ne!(one.code, two.code);
    registry.delete_function(&target("f:2")).await.expect("deleted");
    registry.update_code(code("f", "three")).await.expect("updated");
    registry.settled().await;
    assert_eq!(publish().await.expect("published").version, Version::Published(3));
    assert!(matches!(
        registry.resolve(&target("f:2")),
        Err(InvokeError::NotFound(_))
    ));
}

#[tokio::test]
async fn publishing_with_the_code_gives_a_version_that_becomes_active_with_it() {
    let world = World::new();
    let registry = world.open().await;
    let request = CreateFunction {
        publish: true,
        ..create("f")
    };
    let published = registry.create_function(request).await.expect("created");
    assert_eq!(
        (published.version, published.state),
        (Version::Published(1), State::Pending)
    );
    registry.settled().await;
    assert_eq!(
        registry.function(&target("f:1")).expect("there").config.state,
        State::Active
    );
    registry.resolve(&target("f:1")).expect("runs");
    let request = UpdateCode {
        publish: true,
        ..code("f", "two")
    };
    let published = registry.update_code(request).await.expect("updated");
    assert_eq!(published.version, Version::Published(2));
    registry.settled().await;
    let (two, latest) = (registry.resolve(&target("f:2")), registry.resolve(&target("f")));
    assert_eq!(
        two.expect("runs").revision.code,
        latest.expect("runs").revision.code
    );
}

#[tokio::test]
async fn an_alias_spreads_calls_by_weight() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = target("f").name;
    registry
        .publish_version(&name, PublishVersion::default())
        .await
        .expect("published");
    registry.update_code(code("f", "two")).await.expect("updated");
    registry.settled().await;
    registry
        .publish_version(&name, PublishVersion::default())
        .await
        .expect("published");
    let alias = |additional| CreateAlias {
        name: "live".parse().expect("an alias name"),
        version: Version::Published(1),
        additional,
        description: None,
    };
    for (version, weight) in [(2, 1.5), (1, 0.5), (9, 0.5)] {
        let refused = registry.create_alias(&name, alias(Some((version, weight)))).await;
        assert!(refused.is_err(), "version {version} with weight {weight}");
    }
    registry
        .create_alias(&name, alias(Some((2, 0.25))))
        .await
        .expect("created");
    let second = (0..1000)
        .filter(|_| {
            registry
                .resolve(&target("f:live"))
                .expect("runs")
                .revision
                .version
                == Version::Published(2)
        })
        .count();
    assert!(
        (240..=260).contains(&second),
        "{second} of 1000 calls went to the second version"
    );
    let refused = registry.delete_function(&target("f:1")).await;
    assert!(
        matches!(refused, Err(RegistryError::Conflict(_))),
        "an alias points at it"
    );
}

#[tokio::test]
async fn of_two_updates_with_one_revision_id_one_wins() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let revision_id = registry.function(&target("f")).expect("there").config.revision_id;
    let update = |content| {
        registry.update_code(UpdateCode {
            revision_id: Some(revision_id.clone()),
            ..code("f", content)
        })
    };
    let (one, two) = tokio::join!(update("two"), update("three"));
    assert_eq!(
        [&one, &two].iter().filter(|result| result.is_ok()).count(),
        1,
        "{one:?} {two:?}"
    );
}

#[tokio::test]
async fn deleting_leaves_nothing() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let url = registry
        .create_url(&target("f").name, None, FunctionUrlSettings::default())
        .await
        .expect("a URL");
    assert!(registry.url_by_id(&url.id).is_some());
    registry.delete_function(&target("f")).await.expect("deleted");
    assert!(registry.url_by_id(&url.id).is_none());
    assert!(matches!(
        registry.resolve(&target("f")),
        Err(InvokeError::NotFound(_))
    ));
    registry.sweep().await.expect("swept");
    registry
        .sweep()
        .await
        .expect("swept again: what was unused twice goes");
    for folder in ["packages", "code"] {
        let left = std::fs::read_dir(world.dir.path().join(folder))
            .expect("the folder")
            .count();
        assert_eq!(left, 0, "{folder}");
    }
    ready(&registry, "f").await;
}

#[tokio::test]
async fn lists_go_on_where_the_page_ended() {
    let world = World::new();
    let registry = world.open().await;
    for name in ["c", "a", "b"] {
        ready(&registry, name).await;
    }
    let first = registry.list_functions(false, None, 2).expect("a page");
    let names = |page: &squall_registry::Page<squall_registry::FunctionConfig>| {
        page.items
            .iter()
            .map(|config| config.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["a", "b"]);
    let second = registry
        .list_functions(false, first.next_marker.as_deref(), 2)
        .expect("a page");
    assert_eq!((names(&second), second.next_marker), (vec!["c".to_owned()], None));
    assert!(registry.list_functions(false, Some("nonsense"), 2).is_err());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new();
    let registry = world.open().await;
    registry
        .create_function(CreateFunction {
            dry_run: true,
            ..create("f")
        })
        .await
        .expect("valid");
    assert!(registry.function(&target("f")).is_err());
}

#[tokio::test]
async fn reserved_concurrency_leaves_something_for_the_others() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    ready(&registry, "g").await;
    registry
        .put_concurrency(&target("f").name, 900)
        .await
        .expect("all that may be reserved");
    let refused = registry
        .put_concurrency(&target("g").name, 1)
        .await
        .expect_err("nothing is left");
    assert!(
        refused.to_string().contains("below its minimum value of [100]"),
        "{refused}"
    );
    registry
        .put_concurrency(&target("g").name, 0)
        .await
        .expect("stopping a function is always possible");
}

#[tokio::test]
async fn what_a_caller_began_is_finished_without_it() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = target("f").name;
    {
        let update = registry.update_configuration(
            &name,
            UpdateConfiguration {
                memory_mib: Some(256),
                ..Default::default()
            },
        );
        let mut update = std::pin::pin!(update);
        // Begun, and dropped with its caller.
        std::future::poll_fn(|context| {
            let _ = update.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    while registry.function(&target("f")).expect("there").config.memory_mib != 256 {
        tokio::task::yield_now().await;
    }
    registry.settled().await;
    let config = registry.function(&target("f")).expect("there").config;
    assert_eq!(config.last_update_status, Some(LastUpdateStatus::Successful));
}

#[tokio::test]
async fn a_page_goes_on_behind_a_function_that_was_deleted() {
    let world = World::new();
    let registry = world.open().await;
    for name in ["a", "a-b", "a_b", "aB"] {
        ready(&registry, name).await;
    }
    let (mut marker, mut seen) = (None::<String>, Vec::new());
    loop {
        let page = registry
            .list_functions(false, marker.as_deref(), 1)
            .expect("a page");
        for config in &page.items {
            seen.push(config.name.to_string());
            registry
                .delete_function(&target(config.name.as_str()))
                .await
                .expect("deleted");
        }
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "a-b", "aB", "a_b"]);
}

#[tokio::test]
async fn of_two_reservations_at_once_one_is_refused_when_both_are_too_much() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    ready(&registry, "g").await;
    let (f, g) = (target("f").name, target("g").name);
    let (one, two) = tokio::join!(
        registry.put_concurrency(&f, 900),
        registry.put_concurrency(&g, 900)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
}

#[tokio::test]
async fn another_role_is_another_version() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let name = target("f").name;
    let publish = || registry.publish_version(&name, PublishVersion::default());
    publish().await.expect("published");
    let request = UpdateConfiguration {
        role: Some("arn:aws:iam::000000000000:role/other".into()),
        ..Default::default()
    };
    registry
        .update_configuration(&name, request)
        .await
        .expect("updated");
    registry.settled().await;
    assert_eq!(publish().await.expect("published").version, Version::Published(2));
}
