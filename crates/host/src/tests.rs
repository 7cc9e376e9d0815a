//! A host on a state in memory, asked as an instance asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use squall_runtime::{
    End, Host, HostBody, HostError, HostReply, HostRequest, Hosts, Operation, VALUE_INLINE_BYTES_MAX,
};
use squall_state::{Config, State};
use squall_store::Memory;
use squall_types::{
    Code, Encoding, FunctionRef, Invocation, Revision, RevisionId, RuntimeName, SessionSeed, Version,
};

use crate::StateHosts;

struct World {
    hosts: StateHosts,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(Memory::default());
        let state = State::open(store, Config::default())
            .await
            .expect("an empty store");
        Self {
            hosts: StateHosts::new(state),
        }
    }

    fn host(&self, seed: SessionSeed) -> Arc<dyn Host> {
        let mut invocation = Invocation::new(
            FunctionRef::unqualified("shop".parse().expect("a name")),
            Bytes::new(),
        );
        invocation.session = seed;
        self.hosts.host(&Arc::new(revision()), &invocation)
    }
}

fn revision() -> Revision {
    Revision {
        id: RevisionId::random(),
        name: "shop".parse().expect("a name"),
        version: Version::Latest,
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:shop".to_owned(),
        runtime: RuntimeName::Python { minor: 11 },
        handler: "app.handler".to_owned(),
        memory_mib: 128,
        ephemeral_storage_mib: 512,
        timeout: Duration::from_secs(3),
        environment: BTreeMap::new(),
        code: Code {
            sha256: String::new(),
            dir: PathBuf::new(),
        },
        log_group: "/aws/lambda/shop".to_owned(),
    }
}

fn request(operation: Operation, key: &'static str) -> HostRequest {
    HostRequest::new(operation, Bytes::new(), Bytes::from_static(key.as_bytes()))
}

async fn put(host: &Arc<dyn Host>, key: &'static str, body: impl Into<Bytes>) {
    let mut request = request(Operation::Put, key);
    request.encoding = Encoding::Bytes;
    request.body = HostBody::Bytes(body.into());
    assert!(matches!(host.call(request).await, Ok(HostReply::Done)));
}

async fn get(host: &Arc<dyn Host>, key: &'static str) -> Option<Bytes> {
    match host.call(request(Operation::Get, key)).await {
        Ok(HostReply::Value {
            body: HostBody::Bytes(bytes),
            ..
        }) => Some(bytes),
        Ok(HostReply::Absent) => None,
        other => panic!("neither a value nor none: {other:?}"),
    }
}

fn at(level: &str) -> SessionSeed {
    SessionSeed {
        level: Some(level.to_owned()),
        ..SessionSeed::default()
    }
}

#[tokio::test]
async fn a_large_value_is_one_file_until_it_is_written_again() {
    let world = World::new().await;
    let host = world.host(SessionSeed::default());
    let large = |fill: u8| vec![fill; VALUE_INLINE_BYTES_MAX + 1];
    put(&host, "k", large(1)).await;
    let ask = async |held| {
        let mut request = request(Operation::Get, "k");
        (request.takes_files, request.held) = (true, held);
        host.call(request).await.expect("an answer")
    };
    let HostReply::Value {
        version,
        body: HostBody::Sealed(file),
        ..
    } = ask(0).await
    else {
        panic!("no file");
    };
    let content = crate::files::read(file, usize::MAX).await.expect("a file");
    assert_eq!(content, large(1));
    assert!(matches!(ask(version).await, HostReply::Same));
    put(&host, "k", large(2)).await;
    assert!(matches!(ask(version).await, HostReply::Value { version: new, .. } if new != version));
    assert_eq!(
        get(&host, "k").await.expect("inline, where files are not taken"),
        large(2)
    );
}

#[tokio::test]
async fn an_event_at_the_atomic_level_is_seen_once_it_has_ended_well() {
    let world = World::new().await;
    let reader = || world.host(SessionSeed::default());
    for (end, expected) in [(End::Failed, None), (End::Answered, Some(Bytes::from("new")))] {
        let host = world.host(at("atomic"));
        put(&host, "k", "new").await;
        assert_eq!(
            get(&host, "k").await.as_deref(),
            Some(&b"new"[..]),
            "it sees its own"
        );
        assert_eq!(get(&reader(), "k").await, None);
        assert_eq!(host.end(end).await, Ok(None));
        assert_eq!(get(&reader(), "k").await, expected, "{end:?}");
    }
}

#[tokio::test]
async fn a_session_travels_from_function_to_function_and_the_last_commits() {
    let world = World::new().await;
    let mut seed = at("atomic");
    seed.goes_on = true;
    let first = world.host(seed);
    put(&first, "k", "travels").await;
    let context = first
        .end(End::Answered)
        .await
        .expect("no failure")
        .expect("a context");
    let mut seed = at("atomic");
    seed.travelling = vec![context];
    let last = world.host(seed);
    assert_eq!(get(&last, "k").await.as_deref(), Some(&b"travels"[..]));
    assert_eq!(get(&world.host(SessionSeed::default()), "k").await, None);
    assert_eq!(last.end(End::Answered).await, Ok(None));
    assert_eq!(
        get(&world.host(SessionSeed::default()), "k").await.as_deref(),
        Some(&b"travels"[..])
    );
}

async fn refused(host: &Arc<dyn Host>, request: HostRequest) -> HostError {
    host.call(request).await.expect_err("it is refused")
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let world = World::new().await;
    let host = world.host(SessionSeed::default());
    let mut elsewhere = request(Operation::Get, "k");
    elsewhere.bucket = Bytes::from_static(b"elsewhere");
    assert_eq!(refused(&host, elsewhere).await.kind, "BucketNotBound");
    assert_eq!(
        refused(&host, request(Operation::Get, "")).await.kind,
        "InvalidRequest"
    );
    let mut over = request(Operation::Get, "k");
    over.session = 7;
    assert_eq!(refused(&host, over).await.kind, "SessionOver");
    assert_eq!(
        refused(&host, request(Operation::List, "")).await.kind,
        "InvalidRequest"
    );
    let mut question = request(Operation::Lattice, "k");
    question.arguments = Bytes::from_static(br#"{"method": "set.add", "elements": ["x"], "more": 1}"#);
    assert_eq!(refused(&host, question).await.kind, "InvalidRequest");
    let wrong_level = world.host(at("perfect"));
    assert_eq!(
        refused(&wrong_level, request(Operation::Get, "k")).await.kind,
        "InvalidRequest"
    );
    for number in 0..65 {
        let mut begin = request(Operation::Begin, "");
        begin.arguments = Bytes::from_static(br#"{"level": "lww"}"#);
        assert_eq!(host.call(begin).await.is_ok(), number < 64);
    }
}

#[tokio::test]
async fn a_message_waits_for_its_receiver_and_comes_once() {
    let world = World::new().await;
    let (receiver, sender) = (
        world.host(SessionSeed::default()),
        world.host(SessionSeed::default()),
    );
    let Ok(HostReply::Value {
        body: HostBody::Bytes(id),
        ..
    }) = receiver.call(request(Operation::MyId, "")).await
    else {
        panic!("no id");
    };
    let mut message = request(Operation::Send, "");
    (message.key, message.encoding) = (id, Encoding::Pickle);
    message.body = HostBody::Bytes(Bytes::from_static(b"hello"));
    assert!(matches!(sender.call(message).await, Ok(HostReply::Done)));
    let receive = || {
        let mut request = request(Operation::Receive, "");
        request.arguments = Bytes::from_static(br#"{"timeout_ms": 0}"#);
        receiver.call(request)
    };
    let Ok(HostReply::Value {
        encoding,
        body: HostBody::Bytes(body),
        ..
    }) = receive().await
    else {
        panic!("no message");
    };
    assert_eq!((encoding, &body[..]), (Encoding::Pickle, &b"hello"[..]));
    assert!(matches!(receive().await, Ok(HostReply::Absent)));
}
