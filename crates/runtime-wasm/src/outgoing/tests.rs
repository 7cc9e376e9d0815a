//! What a guest cannot get past, whatever it is; `tests/wasm/outgoing.rs` has whole guests.

use bytes::Bytes;
use http_body_util::Full;
use squall_runtime::LogCapture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SHORT: Duration = Duration::from_millis(1);

fn guest() -> Outgoing {
    let log = Output::Log(LogCapture::new(1000));
    Outgoing::new(Network::new(Rule::Host), Arc::new(Wire::new()), log)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let uri = format!("http://{}/", listener.local_addr().expect("an address"));
    (listener, uri)
}

async fn ask(guest: &mut Outgoing, uri: &str, options: RequestOptions) -> Sent {
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    let request = Request::get(uri).body(body.boxed_unsync()).expect("a request");
    let sent = guest.send_request(request, Some(options), Box::new(std::future::ready(Ok(()))));
    Box::into_pin(sent).await
}

/// Answers one request with a head whose body never comes.
async fn begin(listener: &TcpListener) -> tokio::net::TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.expect("a whole head"));
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.expect("it is read");
    stream
}

#[tokio::test]
async fn a_call_has_so_many_connections_and_no_more() {
    let (listener, uri) = listener().await;
    let mut guest = guest();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_PER_CALL_MAX {
        let options = RequestOptions::default();
        let (sent, far) = tokio::join!(ask(&mut guest, &uri, options), begin(&listener));
        open.push((sent, far));
    }
    assert!(open.iter().all(|(sent, _)| sent.is_ok()));
    let refused = ask(&mut guest, &uri, RequestOptions::default()).await;
    assert!(matches!(refused, Err(Error::ConnectionLimitReached)));
    open.pop();
    let (sent, _far) = tokio::join!(ask(&mut guest, &uri, RequestOptions::default()), begin(&listener));
    assert!(sent.is_ok());
}

#[tokio::test]
async fn the_end_of_a_call_closes_what_it_has_left_open() {
    let (listener, uri) = listener().await;
    let mut guest = guest();
    let (sent, mut far) = tokio::join!(ask(&mut guest, &uri, RequestOptions::default()), begin(&listener));
    let (response, io) = sent.expect("an answer");
    let io = tokio::spawn(Box::into_pin(io));
    guest.end_call();
    io.await.expect("no panic").expect("it ends");
    let rest = far.read_to_end(&mut Vec::new()).await;
    assert!(matches!(rest, Ok(0)), "the other end is closed: {rest:?}");
    assert!(response.into_body().collect().await.is_err(), "it is cut off");
}

#[tokio::test]
async fn a_guest_waits_no_longer_than_it_wants_to() {
    let (listener, uri) = listener().await;
    let mut guest = guest();
    // Nobody accepts, and nobody answers.
    let options = RequestOptions {
        first_byte_timeout: Some(SHORT),
        ..RequestOptions::default()
    };
    let late = ask(&mut guest, &uri, options).await;
    assert!(matches!(late, Err(Error::ConnectionReadTimeout)));
    drop(listener.accept().await.expect("the connection"));
    let options = RequestOptions {
        between_bytes_timeout: Some(SHORT),
        ..RequestOptions::default()
    };
    let (sent, _far) = tokio::join!(ask(&mut guest, &uri, options), begin(&listener));
    let (response, io) = sent.expect("an answer");
    let _io = tokio::spawn(Box::into_pin(io));
    let late = response.into_body().collect().await;
    assert!(matches!(late, Err(Error::ConnectionReadTimeout)));
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_guests() {
    let mut guest = guest();
    for name in [
        "connection",
        "host",
        "proxy-authorization",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(
            guest.is_forbidden_header(&HeaderName::from_static(name)),
            "{name}"
        );
    }
    assert!(!guest.is_forbidden_header(&HeaderName::from_static("authorization")));
}
