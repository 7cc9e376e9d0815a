//! Components whose answers leave while they are made.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use squall_runtime::{Event, Exchange, Fault, Instance, LogCapture, Reply, Responder};
use squall_types::{Body, BodyError, Version};
use tokio::sync::{mpsc, oneshot};

use crate::host::{World, error, event};

/// Built by examples/stream-wasm-http-c/build.sh, which says what each path does.
pub(crate) const STREAM: &[u8] = include_bytes!("../../../../examples/stream-wasm-http-c/stream.wasm");

pub(crate) type Begun = oneshot::Receiver<(Version, Response<Body>)>;

/// A request whose body is sent through the channel.
pub(crate) fn request(path: &str) -> (Request<Body>, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        let frame = Frame::data(Bytes::from_static(piece.as_bytes()));
        Some((Ok::<_, BodyError>(frame), receiver))
    });
    let body = http_body_util::StreamBody::new(pieces).boxed_unsync();
    let request = Request::post(path).body(body).expect("a request");
    (request, sender)
}

pub(crate) fn exchange(request: Request<Body>) -> (Exchange, Begun) {
    let (caller, begun) = oneshot::channel();
    let exchange = Exchange {
        request: Some(request),
        responder: Responder::new(Version::Latest, caller),
    };
    (exchange, begun)
}

/// Runs one request in a task of its own, as its caller would see it.
struct Running {
    body: Body,
    ended: tokio::task::JoinHandle<Result<Reply, Fault>>,
}

async fn begin(world: &World, path: &str) -> (Running, mpsc::Sender<&'static str>) {
    let mut instance = world.instance(STREAM).await;
    let (request, sender) = request(path);
    let (exchange, begun) = exchange(request);
    let ended = tokio::spawn(async move {
        let (event, mut log): (Event, _) = (event("{}"), LogCapture::new(1000));
        instance.stream(&event, exchange, &mut log).await
    });
    let (_, response) = begun.await.expect("an answer");
    let body = response.into_body();
    (Running { body, ended }, sender)
}

async fn piece(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().expect("no trailers")))
}

async fn text(body: &mut Body) -> Option<String> {
    let bytes = piece(body).await?.expect("a piece");
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// One whole call on an instance that may have been used before.
pub(crate) async fn whole(instance: &mut dyn Instance, path: &str) -> (Result<Reply, Fault>, Option<String>) {
    let (request, _) = request(path);
    let (exchange, mut begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let reply = instance.stream(&event, exchange, &mut log).await;
    let answer = match begun.try_recv() {
        Ok((_, response)) => response.into_body().collect().await.ok(),
        Err(_) => None,
    };
    let answer = answer.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    (reply, answer)
}

#[tokio::test]
async fn each_piece_comes_back_before_the_next_is_sent() {
    let world = World::new();
    let (mut running, sender) = begin(&world, "/echo").await;
    for sent in ["one", "two", "three"] {
        sender.send(sent).await.expect("the component reads");
        assert_eq!(text(&mut running.body).await.as_deref(), Some(sent));
    }
    drop(sender);
    assert_eq!(text(&mut running.body).await, None);
    let reply = running.ended.await.expect("no panic").expect("a reply");
    assert!(reply.result.expect("no error").is_empty());
}

#[tokio::test]
async fn a_short_answer_is_whole_with_its_length() {
    let world = World::new();
    let mut instance = world.instance(STREAM).await;
    let (request, _) = request("/count");
    let (exchange, mut begun) = exchange(request);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let reply = instance
        .stream(&event, exchange, &mut log)
        .await
        .expect("a reply");
    assert!(reply.result.is_ok(), "{reply:?}");
    let (_, response) = begun.try_recv().expect("it has begun before the call ends");
    assert_eq!(response.body().size_hint().exact(), Some(3));
}

#[tokio::test]
async fn a_body_that_was_cut_off_ends_with_an_error() {
    let world = World::new();
    let (mut running, sender) = begin(&world, "/trap").await;
    assert_eq!(text(&mut running.body).await.as_deref(), Some("begun"));
    drop(sender);
    let trapped = error(running.ended.await.expect("no panic"));
    assert_eq!(trapped["errorType"], "Runtime.WasmTrap", "{trapped}");
    assert!(matches!(piece(&mut running.body).await, Some(Err(_))));

    let (mut running, _sender) = begin(&world, "/spin").await;
    assert_eq!(text(&mut running.body).await.as_deref(), Some("begun"));
    running.ended.abort();
    assert!(matches!(piece(&mut running.body).await, Some(Err(_))));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_call() {
    let world = World::new();
    let (mut running, sender) = begin(&world, "/echo").await;
    sender.send("one").await.expect("the component reads");
    assert_eq!(text(&mut running.body).await.as_deref(), Some("one"));
    drop(running.body);
    for _ in 0..10 {
        sender.send("more").await.expect("the component reads on");
    }
    drop(sender);
    let reply = running.ended.await.expect("no panic").expect("a reply");
    assert!(reply.result.is_ok(), "{reply:?}");
}

#[tokio::test]
async fn a_caller_that_left_before_the_answer_does_not_stop_the_call() {
    let world = World::new();
    let mut instance = world.instance(STREAM).await;
    let (request, _) = request("/count");
    let (exchange, begun) = exchange(request);
    drop(begun);
    let (event, mut log) = (event("{}"), LogCapture::new(1000));
    let reply = instance
        .stream(&event, exchange, &mut log)
        .await
        .expect("a reply");
    assert!(reply.result.is_ok(), "{reply:?}");
}
