//! Against a real connection: hyper alone makes the bodies that are read here.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use super::*;

const BYTES_MAX: usize = 1000;

/// Answers with the number of bytes that came, 413 where they are too many, 400 where they do not all come.
fn serve() -> (DuplexStream, Arc<Notify>) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let reading = Arc::new(Notify::new());
    let announced = reading.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let announced = announced.clone();
        async move {
            announced.notify_one();
            let (status, text) = match read(request.into_body(), BYTES_MAX, &Room::default()).await {
                Ok(bytes) => (StatusCode::OK, bytes.len().to_string()),
                Err(BodyError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, String::new()),
                Err(BodyError::Broken(how)) => (StatusCode::BAD_REQUEST, how),
                Err(BodyError::NoRoom) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            };
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(server), service);
    tokio::spawn(connection);
    (client, reading)
}

/// Sends a request to its end before it reads, as most clients do.
async fn check(head: &str, body: Vec<u8>, status: &str, text: &str) {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n");
    let (mut client, _) = serve();
    client.write_all(head.as_bytes()).await.expect("the server reads");
    client.write_all(&body).await.expect("the server reads on");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(answer.ends_with(text), "{answer}");
}

fn chunked(sizes: &[usize]) -> Vec<u8> {
    let chunk = |size: &usize| format!("{size:x}\r\n{}\r\n", "x".repeat(*size));
    (sizes.iter().map(chunk).collect::<String>() + "0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn reads_a_body_up_to_its_bound() {
    check("Content-Length: 0", Vec::new(), "200", "\r\n\r\n0").await;
    check("Content-Length: 1000", vec![b'x'; 1000], "200", "\r\n\r\n1000").await;
    check(
        "Transfer-Encoding: chunked",
        chunked(&[1, 499, 500]),
        "200",
        "\r\n\r\n1000",
    )
    .await;
}

#[tokio::test]
async fn who_sends_too_much_may_finish_and_is_told() {
    let large = 3 * 1024 * 1024;
    check(&format!("Content-Length: {large}"), vec![b'x'; large], "413", "").await;
    check("Content-Length: 1001", vec![b'x'; 1001], "413", "").await;
    check(
        "Transfer-Encoding: chunked",
        chunked(&[600, 401, 200_000]),
        "413",
        "",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_in_the_middle_is_not_waited_for() {
    let (mut client, reading) = serve();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
        .await
        .expect("the server reads");
    reading.notified().await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.ends_with("nothing came for 30 s"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn large_bodies_wait_for_room_and_give_it_back_with_their_last_clone() {
    let room = Room::of(3);
    let permit = room
        .take(2 * ROOM_UNIT_BYTES)
        .await
        .expect("there is room")
        .expect("it is large");
    let body = Bytes::from_owner(InRoom {
        bytes: Bytes::from_static(b"x"),
        _room: permit,
    });
    assert!(
        room.take(SMALL_BYTES_MAX)
            .await
            .expect("no room is needed")
            .is_none()
    );
    let crowded = room.take(2 * ROOM_UNIT_BYTES).await;
    assert!(matches!(crowded, Err(BodyError::NoRoom)), "{crowded:?}");
    let clone = body.slice(..);
    drop(body);
    assert_eq!(room.units.available_permits(), 1);
    drop(clone);
    let all = room
        .take(u64::MAX)
        .await
        .expect("all of it, since there is no more");
    assert_eq!((all.is_some(), room.units.available_permits()), (true, 0));
}
