//! What a function cannot be: each with Lambda's words, or clear ones of ours.

use super::*;

#[track_caller]
fn check_refused(result: Result<squall_registry::FunctionConfig, RegistryError>, expected: &str) {
    let text = result.expect_err("it must be refused").to_string();
    assert!(text.contains(expected), "expected `{expected}` in: {text}");
}

type Spoil = fn(&mut CreateFunction);

fn variables(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// What makes a good request a bad one, and a part of what is said about it.
const SPOILS: &[(Spoil, &str)] = &[
    (
        |r| r.runtime = RuntimeName::Other("cobol85".into()),
        "`cobol85` is not installed",
    ),
    (|r| r.handler = None, "needs a handler of the form file.function"),
    (|r| r.role = "me".into(), "at 'role' failed to satisfy"),
    (|r| r.timeout_secs = Some(0), "greater than or equal to 1"),
    (|r| r.timeout_secs = Some(901), "less than or equal to 900"),
    (|r| r.memory_mib = Some(64), "greater than or equal to 128"),
    (
        |r| r.architecture = Some("riscv".into()),
        "enum value set: [x86_64, arm64]",
    ),
    (
        |r| r.environment = variables("AWS_REGION", "x"),
        "Reserved keys used in this request",
    ),
    (
        |r| r.environment = variables("BIG", &"x".repeat(5000)),
        "4096 bytes limit",
    ),
    (
        |r| r.environment = variables("1BAD", "x"),
        "environment.variables",
    ),
    (
        |r| r.code = CodeSource::Zip(Bytes::from_static(b"no zip")),
        "Could not unzip",
    ),
    (|r| r.tags = variables("aws:mine", "x"), "starts with `aws:`"),
];

#[tokio::test]
async fn refuses_what_a_function_cannot_be() {
    let world = World::new();
    let registry = world.open().await;
    for (spoil, expected) in SPOILS {
        let mut request = create("f");
        spoil(&mut request);
        check_refused(registry.create_function(request).await, expected);
    }
    assert_eq!(
        registry.list_functions(false, None, 10).expect("a page").items,
        vec![]
    );
    ready(&registry, "f").await;
    check_refused(registry.create_function(create("f")).await, "already exist");
}
