//! The functions' records in the store: sealed, and readable by later versions.

use squall_registry::UpdateConfiguration;
use squall_store::{Batch, Scan, Space};

use crate::{World, ready, target};

#[tokio::test]
async fn records_of_formats_1_and_2_are_still_read_and_later_ones_refused() {
    let world = World::new();
    let key = include_bytes!("fixtures/seal.key");
    std::fs::write(world.dir.path().join("seal.key"), key).expect("a key");
    let put = |text: String| {
        world
            .store
            .commit(Batch::durable().put(Space("functions"), "kept", text))
    };
    let fixtures = [
        include_str!("fixtures/function-format-1.json"),
        include_str!("fixtures/function-format-2.json"),
    ];
    for fixture in fixtures {
        put(fixture.to_owned()).await.expect("written");
        let kept = world.open().await.function(&target("kept")).expect("there");
        assert_eq!(
            (kept.config.memory_mib, kept.reserved_concurrency),
            (256, Some(7))
        );
    }
    put(fixtures[0].replace("\"format\":1", "\"format\":3"))
        .await
        .expect("written");
    let refused = world.try_open().await.err().expect("refused").to_string();
    assert!(
        refused.contains("`kept` has format 3; this version reads 1 and 2"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_store_shows_no_environment_and_another_key_opens_nothing() {
    let world = World::new();
    let registry = world.open().await;
    ready(&registry, "f").await;
    let secret = "correct horse battery staple";
    let update = UpdateConfiguration {
        environment: Some([("PASSWORD".to_owned(), secret.to_owned())].into()),
        ..Default::default()
    };
    registry
        .update_configuration(&target("f").name, update)
        .await
        .expect("updated");
    let scan = Scan::prefix(Space("functions"), "");
    let entries = world.store.scan(scan).await.expect("read");
    assert_eq!(entries.len(), 1);
    let stored = String::from_utf8_lossy(&entries[0].1.value).into_owned();
    assert!(stored.contains("\"format\":2"), "{stored}");
    assert!(
        !stored.contains(secret) && !stored.contains("PASSWORD"),
        "{stored}"
    );
    let again = world.open().await.function(&target("f")).expect("there");
    assert_eq!(again.config.environment["PASSWORD"], secret);

    std::fs::write(world.dir.path().join("seal.key"), [7; 32]).expect("another key");
    let refused = world.try_open().await.err().expect("refused").to_string();
    assert!(
        refused.contains("the record of `f` cannot be read") && refused.contains("bring back the key file"),
        "{refused}"
    );
}
