//! Requests that a component sends, to a server of the loopback that does what the test says.

use http_body_util::BodyExt;
use squall_runtime::{Event, Instance, LogCapture, Runtime};
use squall_types::{Body, PrepareError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::host::{World, event};
use crate::streams::{STREAM, exchange, request};

const NETWORK: &str = "SQUALL_NETWORK";
/// As the guest says it: `HTTP-request-denied`, and `connection-refused`.
const DENIED: &str = "error 15";
const REFUSED: &str = "error 06";

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    (listener, at)
}

/// Takes one connection, and reads the head of its request.
async fn accept(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    (stream, String::from_utf8(head).expect("text"))
}

/// Answers everybody in the same way.
fn serve(listener: TcpListener, answer: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = accept(&listener).await;
            stream.write_all(answer.as_bytes()).await.expect("it is read");
        }
    })
}

struct Fetching {
    body: Body,
    ended: JoinHandle<Vec<String>>,
}

/// Lets the guest ask for `at` while its caller reads.
async fn fetch(mut instance: Box<dyn Instance>, at: &str) -> Fetching {
    let (request, _) = request(&format!("/fetch/{at}"));
    let (exchange, begun) = exchange(request);
    let ended = tokio::spawn(async move {
        let (event, mut log): (Event, _) = (event("{}"), LogCapture::new(1000));
        let reply = instance
            .stream(&event, exchange, &mut log)
            .await
            .expect("a reply");
        assert!(reply.result.is_ok(), "{reply:?}");
        log.finish().into_iter().map(|line| line.text).collect()
    });
    let (_, response) = begun.await.expect("an answer");
    let body = response.into_body();
    Fetching { body, ended }
}

/// What the guest was answered, and what its log says.
async fn fetched(instance: Box<dyn Instance>, at: &str) -> (String, Vec<String>) {
    let fetching = fetch(instance, at).await;
    let body = fetching.body.collect().await.expect("a whole body").to_bytes();
    let log = fetching.ended.await.expect("no panic");
    (String::from_utf8_lossy(&body).into_owned(), log)
}

async fn fetched_with(world: &World, variables: &[(&str, &str)], at: &str) -> (String, Vec<String>) {
    let revision = world.revision_of(STREAM, variables);
    fetched(world.instance_of(&revision).await, at).await
}

#[tokio::test]
async fn a_component_reaches_what_the_host_reaches() {
    let world = World::new();
    let (listener, at) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, head) = accept(&listener).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(answer).await.expect("it is read");
        head
    });
    let (body, log) = fetched_with(&world, &[], &format!("{at}/path?a=b")).await;
    assert_eq!((body.as_str(), log.len()), ("hello", 0), "{log:?}");
    let head = server.await.expect("no panic");
    assert!(head.starts_with("GET /path?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {at}\r\n")), "{head}");
}

#[tokio::test]
async fn a_component_reaches_what_is_listed_and_nothing_else() {
    let world = World::new();
    let (listener, at) = listener().await;
    let port = at.rsplit(':').next().expect("a port");
    let server = serve(listener, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let check = async |list: &str, expected: &str, said: &str| {
        let variables = [(NETWORK, "egress"), ("SQUALL_EGRESS", list)];
        let (body, log) = fetched_with(&world, &variables, &format!("{at}/")).await;
        assert_eq!(body, expected, "{list}");
        assert_eq!(log.is_empty(), said.is_empty(), "{log:?}");
        assert!(log.iter().all(|line| line.contains(said)), "{log:?}");
    };
    check(&format!("127.0.0.1:{port}"), "hello", "").await;
    check(&format!("localhost:{port}"), "hello", "").await;
    let refused = format!("does not allow `127.0.0.1` on port {port}");
    check("127.0.0.1:1", DENIED, &refused).await;
    check(&format!("*:{port}"), DENIED, &refused).await;
    check(&format!("example.com:{port}"), DENIED, &refused).await;
    let (body, log) = fetched_with(&world, &[(NETWORK, "egress")], &format!("{at}/")).await;
    assert_eq!((body.as_str(), log.len()), (DENIED, 1), "{log:?}");
    server.abort();
}

#[tokio::test]
async fn a_component_without_a_network_reaches_nothing_and_its_log_says_why() {
    let world = World::new();
    let (_listener, at) = listener().await;
    let (body, log) = fetched_with(&world, &[(NETWORK, "none")], &format!("{at}/")).await;
    assert_eq!(body, DENIED);
    assert_eq!(
        log,
        ["squall: a request was not sent: the function's network is `none`"]
    );
}

#[tokio::test]
async fn nobody_there_is_another_error() {
    let world = World::new();
    let (listener, at) = listener().await;
    drop(listener);
    let (body, log) = fetched_with(&world, &[], &format!("{at}/")).await;
    assert_eq!((body.as_str(), log.len()), (REFUSED, 0), "{log:?}");
}

#[tokio::test]
async fn an_answer_is_passed_on_while_it_comes() {
    let world = World::new();
    let (listener, at) = listener().await;
    let instance = world.instance(STREAM).await;
    let begun = tokio::spawn(async move { fetch(instance, &format!("{at}/")).await });
    let (mut stream, _) = accept(&listener).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
        .await
        .expect("it is read");
    let mut fetching = begun.await.expect("no panic");
    for sent in ["one", "two"] {
        stream.write_all(sent.as_bytes()).await.expect("it is read");
        let frame = fetching.body.frame().await.expect("a piece").expect("no error");
        assert_eq!(frame.into_data().expect("no trailers"), sent);
    }
    fetching.ended.await.expect("no panic");
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connections() {
    let world = World::new();
    let (listener, at) = listener().await;
    let mut instance = world.instance(STREAM).await;
    let (request, _) = request(&format!("/fetch/{at}/"));
    let (exchange, begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let mut stream = {
        let calling = instance.stream(&event, exchange, &mut log);
        tokio::select! {
            ended = calling => panic!("nobody has answered: {ended:?}"),
            (stream, _) = accept(&listener) => stream,
        }
    };
    drop(begun);
    let mut rest = Vec::new();
    let closed = stream.read_to_end(&mut rest).await;
    assert!(!matches!(closed, Ok(1..)), "{closed:?} {rest:?}");
}

#[tokio::test]
async fn what_is_no_rule_makes_a_component_failed() {
    let world = World::new();
    let check = async |variables: &[(&str, &str)], expected: &str| {
        let refused = world.runtime.prepare(&world.revision_of(STREAM, variables)).await;
        let refused = refused.expect_err("refused");
        assert!(
            matches!(&refused, PrepareError::Code(why) if why.contains(expected)),
            "{refused:?}"
        );
    };
    check(&[(NETWORK, "all")], "SQUALL_NETWORK=all is no rule").await;
    check(&[(NETWORK, "egress"), ("SQUALL_EGRESS", "a:b")], "has no port").await;
}
