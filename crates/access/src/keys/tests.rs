//! Keys at their seam: what they may do, for how long, and across restarts.

use squall_store::Memory;

use super::*;

const ACCOUNT: &str = "000000000000";

fn root() -> RootKey {
    RootKey {
        id: "ROOT".to_owned(),
        secret: "everything".to_owned(),
        account: ACCOUNT.to_owned(),
    }
}

fn allowing(grants: &[&str]) -> NewKey {
    NewKey {
        allow: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        ..NewKey::default()
    }
}

fn asking(action: &str) -> Request<'_> {
    Request {
        action,
        resource: "arn:aws:lambda:us-east-1:000000000000:function:shop",
        account: ACCOUNT,
        context: &[],
    }
}

#[tokio::test]
async fn keys_outlive_the_process_and_may_do_what_they_are_granted() {
    let store = Arc::new(Memory::default());
    let keys = Keys::open(store.clone(), root()).await.expect("keys");
    let made = keys.create("ci", allowing(&["invoke"])).await.expect("a key");
    drop(keys);

    let keys = Keys::open(store, root()).await.expect("keys");
    let (secret, caller) = keys.signing(&made.id).expect("it may sign");
    assert_eq!(secret, made.secret);
    assert_eq!(caller.principal().arn, "arn:aws:iam::000000000000:user/ci");
    caller
        .may(asking("lambda:InvokeFunction"), None)
        .expect("allowed");
    caller
        .may(asking("lambda:DeleteFunction"), None)
        .expect_err("not granted");

    let (secret, owner) = keys.signing("ROOT").expect("the installation's own");
    assert_eq!(secret, "everything");
    assert!(owner.is_root() && !caller.is_root());
    owner.may(asking("lambda:DeleteFunction"), None).expect("allowed");
}

#[tokio::test]
async fn a_rotated_key_is_taken_as_long_as_was_said() {
    let keys = Keys::open(Arc::new(Memory::default()), root())
        .await
        .expect("keys");
    let first = keys.create("ci", allowing(&["deploy"])).await.expect("a key");
    let second = keys.rotate("ci", Duration::from_secs(60)).await.expect("another");
    assert!(keys.signing(&first.id).is_some() && keys.signing(&second.id).is_some());
    let third = keys.rotate("ci", Duration::ZERO).await.expect("a third");
    assert!(keys.signing(&first.id).is_none() && keys.signing(&second.id).is_none());
    assert!(keys.signing(&third.id).is_some());
    assert_eq!(keys.list()[0].id, third.id);
    let error = keys.rotate("ci", Duration::from_secs(8 * 24 * 3600)).await;
    assert!(matches!(error, Err(KeyError::Grace(_))));
}

#[tokio::test]
async fn a_revoked_key_is_gone_for_good() {
    let store = Arc::new(Memory::default());
    let keys = Keys::open(store.clone(), root()).await.expect("keys");
    let made = keys.create("ci", allowing(&["admin"])).await.expect("a key");
    keys.revoke("ci").await.expect("revoked");
    assert!(keys.signing(&made.id).is_none());
    assert!(matches!(keys.revoke("ci").await, Err(KeyError::Absent(_))));
    let keys = Keys::open(store, root()).await.expect("keys");
    assert!(keys.signing(&made.id).is_none() && keys.list().is_empty());
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let keys = Keys::open(Arc::new(Memory::default()), root())
        .await
        .expect("keys");
    let create = async |name: &str, new: NewKey| keys.create(name, new).await.err();
    assert!(matches!(
        create("a/b", allowing(&["admin"])).await,
        Some(KeyError::Name(_))
    ));
    assert!(matches!(
        create("a", NewKey::default()).await,
        Some(KeyError::AllowsNothing(_))
    ));
    assert!(matches!(
        create("a", allowing(&["root"])).await,
        Some(KeyError::Grant(_))
    ));
    let policy = NewKey {
        policy: Some("{}".to_owned()),
        ..NewKey::default()
    };
    assert!(matches!(create("a", policy).await, Some(KeyError::Policy(_))));
    let account = NewKey {
        account: Some("12".to_owned()),
        ..allowing(&["admin"])
    };
    assert!(matches!(create("a", account).await, Some(KeyError::Account(_))));
    assert!(keys.list().is_empty());
    keys.create("a", allowing(&["admin"])).await.expect("a key");
    assert!(matches!(
        create("a", allowing(&["admin"])).await,
        Some(KeyError::Exists(_))
    ));
}
