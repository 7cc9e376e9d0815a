//! Roles and the policies that they share, on the store in memory.

use squall_store::Memory;

use super::*;

const ACCOUNT: &str = "000000000000";
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "lambda.amazonaws.com"}}]}"#;
const ALLOW: &str = r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#;
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:shop";

async fn open(store: &Arc<Memory>) -> Roles {
    let store: Arc<dyn Store> = store.clone();
    Roles::open(store, ACCOUNT).await.expect("roles")
}

fn new(name: &str) -> NewRole {
    NewRole {
        name: name.to_owned(),
        trust: TRUST.to_owned(),
        ..NewRole::default()
    }
}

#[tokio::test]
async fn roles_outlive_the_process_and_are_found_by_arn() {
    let store = Arc::new(Memory::default());
    let roles = open(&store).await;
    let allow = vec!["invoke:shop-*".to_owned(), "read-only".to_owned()];
    roles.put("shop", allow.clone(), None).await.expect("made");
    roles.put("gone", allow.clone(), None).await.expect("made");
    roles.remove("gone").await.expect("removed");
    assert!(matches!(roles.remove("gone").await, Err(KeyError::RoleAbsent(_))));
    assert!(matches!(
        roles.put("a/b", allow.clone(), None).await,
        Err(KeyError::RoleName(_))
    ));
    let unknown = roles.put("shop", vec!["all".to_owned()], None).await;
    assert!(matches!(unknown, Err(KeyError::Grant(_))));

    let roles = open(&store).await;
    let policies = |arn: &str| roles.policies(arn).len();
    assert_eq!(policies("arn:aws:iam::000000000000:role/service-role/shop"), 2);
    assert_eq!(policies("arn:aws:iam::000000000000:role/gone"), 0);
    assert_eq!(
        policies("arn:aws:iam::111122223333:role/shop"),
        0,
        "another account's"
    );
    let listed: Vec<(String, Vec<String>)> = roles
        .list()
        .into_iter()
        .map(|role| (role.name, role.allow))
        .collect();
    let expected = [
        ("shop".to_owned(), allow),
        (DEVELOPMENT_ROLE.to_owned(), Vec::new()),
    ];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn roles_of_the_first_format_keep_what_they_allow() {
    let store = Arc::new(Memory::default());
    let old = format!(
        r#"{{"format":1,"record":{{"name":"old","allow":["read-only"],"policy":{},"created_ms":1}}}}"#,
        serde_json::Value::from(ALLOW)
    );
    let batch = Batch::durable().put(ROLES, b"old".to_vec(), old.into_bytes());
    store.commit(batch).await.expect("written");
    let first = open(&store).await.get("old").expect("a role");
    assert_eq!(first.inline[SQUALL_POLICY], ALLOW);
    assert!(first.id.starts_with("AROA"));
    let roles = open(&store).await;
    assert_eq!(roles.get("old"), Some(first), "its id is for ever");
    assert_eq!(roles.policies("old").len(), 2);
}

#[tokio::test]
async fn policies_are_a_roles_own_or_shared() {
    let store = Arc::new(Memory::default());
    let roles = open(&store).await;
    roles.create(new("shop")).await.expect("made");
    assert!(matches!(
        roles.create(new("shop")).await,
        Err(RoleError::Exists(_))
    ));
    let put = |role: &mut Role| role.put_policy("own", ALLOW.to_owned());
    roles.change("shop", put).await.expect("changed");
    let policy = NewPolicy {
        name: "some".to_owned(),
        document: ALLOW.to_owned(),
        ..NewPolicy::default()
    };
    let made = roles.create_policy(policy.clone()).await.expect("made");
    assert!(matches!(
        roles.create_policy(policy).await,
        Err(RoleError::Exists(_))
    ));
    roles.attach("shop", &made.arn).await.expect("attached");
    let aws = "arn:aws:iam::aws:policy/service-role/AWSLambdaRole";
    roles.attach("shop", aws).await.expect("attached");
    let unknown = roles
        .attach("shop", "arn:aws:iam::aws:policy/AmazonDynamoDBFullAccess")
        .await;
    assert!(matches!(unknown, Err(RoleError::Absent(_))), "{unknown:?}");

    let roles = open(&store).await;
    assert_eq!(roles.policies_of_function("shop", FUNCTION).len(), 3);
    assert_eq!(roles.policy(&made.arn).expect("a policy").attachments, 1);
    assert!(matches!(
        roles.delete_policy(&made.arn).await,
        Err(RoleError::InUse(_))
    ));
    assert!(matches!(
        roles.delete_policy(aws).await,
        Err(RoleError::Unmodifiable(_))
    ));
    assert!(matches!(roles.delete("shop").await, Err(RoleError::InUse(_))));
    roles
        .change("shop", |role| role.detach(&made.arn))
        .await
        .expect("detached");
    roles.delete_policy(&made.arn).await.expect("deleted");
    roles
        .change("shop", |role| role.detach(aws))
        .await
        .expect("detached");
    assert!(matches!(roles.delete("shop").await, Err(RoleError::InUse(_))));
    roles
        .change("shop", |role| role.delete_policy("own"))
        .await
        .expect("deleted");
    roles.delete("shop").await.expect("deleted");
    assert!(open(&store).await.get("shop").is_none());
}

#[tokio::test]
async fn a_shared_policy_says_what_its_default_version_says() {
    let roles = open(&Arc::new(Memory::default())).await;
    let policy = NewPolicy {
        name: "some".to_owned(),
        document: ALLOW.to_owned(),
        ..NewPolicy::default()
    };
    let arn = roles.create_policy(policy).await.expect("made").arn;
    roles.put("shop", Vec::new(), None).await.expect("made");
    roles.attach("shop", &arn).await.expect("attached");
    let two = ALLOW.replace("s3:*", "sqs:*");
    let add = |policy: &mut SharedPolicy| policy.add_version(two.clone(), false);
    assert_eq!(roles.change_policy(&arn, add).await, Ok(2));
    let old = roles.policies("shop");
    roles
        .change_policy(&arn, |policy| policy.set_default_version(2))
        .await
        .expect("changed");
    assert_ne!(roles.policies("shop"), old);
    let in_use = roles.change_policy(&arn, |policy| policy.delete_version(2)).await;
    assert!(matches!(in_use, Err(RoleError::InUse(_))));
    for _ in 0..3 {
        roles.change_policy(&arn, add).await.expect("room for five");
    }
    let full = roles.change_policy(&arn, add).await;
    assert!(matches!(full, Err(RoleError::LimitExceeded(_))));
}

#[tokio::test]
async fn documents_that_are_none_or_too_large_are_refused() {
    let roles = open(&Arc::new(Memory::default())).await;
    let mut role = roles.create(new("shop")).await.expect("made");
    let large = ALLOW.replace("\"*\"", &format!("\"{}\"", "x".repeat(11_000)));
    assert!(matches!(
        role.put_policy("own", "{".to_owned()),
        Err(RoleError::Malformed(_))
    ));
    assert!(matches!(
        role.put_policy("own", large.clone()),
        Err(RoleError::LimitExceeded(_))
    ));
    assert!(matches!(
        role.set_trust(large.clone()),
        Err(RoleError::LimitExceeded(_))
    ));
    assert!(matches!(
        role.set_trust(ALLOW.to_owned()),
        Err(RoleError::Malformed(_))
    ));
    assert!(matches!(
        role.set_session_secs_max(60),
        Err(RoleError::Invalid(_))
    ));
    let policy = NewPolicy {
        name: "some".to_owned(),
        document: large,
        ..NewPolicy::default()
    };
    assert!(matches!(
        roles.create_policy(policy).await,
        Err(RoleError::LimitExceeded(_))
    ));
    for path in ["apps/", "/apps", "/a b/", "/a*/"] {
        let new = NewRole {
            path: Some(path.to_owned()),
            ..new("other")
        };
        assert!(
            matches!(roles.create(new).await, Err(RoleError::Invalid(_))),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_service_has_only_the_roles_that_are_for_it() {
    let roles = open(&Arc::new(Memory::default())).await;
    let new = NewRole {
        path: Some("/apps/".to_owned()),
        ..new("shop")
    };
    roles.create(new).await.expect("made");
    let lent = |role: &str, service: &str| roles.lend(role, service, None);
    let arn = "arn:aws:iam::000000000000:role/apps/shop";
    assert_eq!(lent(arn, "lambda.amazonaws.com"), Ok(arn.to_owned()));
    assert!(matches!(lent(arn, "scheduler.amazonaws.com"), Err(Some(_))));
    assert_eq!(lent("nobody", "lambda.amazonaws.com"), Err(None));
    assert!(lent(DEVELOPMENT_ROLE, "scheduler.amazonaws.com").is_ok());
}

#[tokio::test]
async fn credentials_of_a_role_outlive_the_server_and_end_with_the_role() {
    let store = Arc::new(Memory::default());
    let roles = open(&store).await;
    roles
        .put("shop", vec!["read-only".to_owned()], None)
        .await
        .expect("made");
    let arn = "arn:aws:iam::000000000000:role/shop";
    assert!(matches!(
        roles.assume(arn, "ada", 3601).await,
        Err(AssumeError::TooLong)
    ));
    let given = roles.assume(arn, "ada", 900).await.expect("credentials");
    assert_eq!(
        given.principal.arn,
        "arn:aws:sts::000000000000:assumed-role/shop/ada"
    );
    let roles = open(&store).await;
    let assumed = roles.assumed(&given.key.id).expect("they count");
    assert_eq!(
        (&assumed.secret, &assumed.token),
        (&given.key.secret, &given.token)
    );
    assert_eq!(assumed.caller.principal(), &given.principal);
    roles.remove("shop").await.expect("removed");
    roles
        .put("shop", vec!["admin".to_owned()], None)
        .await
        .expect("made anew");
    assert!(roles.assumed(&given.key.id).is_none(), "it is another role");
}

#[tokio::test]
async fn credentials_of_a_role_end_with_their_time() {
    let store = Arc::new(Memory::default());
    let over = br#"{"format":1,"record":{"secret":"s","token":"t","role":"squall","role_id":"x","name":"a","until_ms":1}}"#;
    let batch = Batch::durable().put(record::SESSIONS, b"ASIA".to_vec(), over.to_vec());
    store.commit(batch).await.expect("written");
    let roles = open(&store).await;
    assert!(roles.assumed("ASIA").is_none());
    let left = store.scan(Scan::prefix(record::SESSIONS, Bytes::new())).await;
    assert!(left.expect("scanned").is_empty(), "what is over is not kept");
    let arn = "arn:aws:iam::000000000000:role/squall";
    let given = roles.assume(arn, "a", 0).await.expect("credentials for no time");
    assert!(roles.assumed(&given.key.id).is_none());
}

#[test]
fn all_of_awss_policies_are_policies() {
    let all: Vec<String> = managed::arns().collect();
    for arn in &all {
        let view = managed::view(arn, 0).expect("a policy");
        assert_eq!(
            &format!("arn:aws:iam::aws:policy{}{}", view.policy.path, view.policy.name),
            arn
        );
        assert_eq!(managed::policy(arn).expect("a policy").statements.len(), 1);
    }
    assert!(all.contains(&"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned()));
}
