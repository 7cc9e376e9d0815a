//! A scripted HTTP client against the server: each row of the protocol's table, and what clients do wrong.

use std::time::{Duration, UNIX_EPOCH};

use squall_types::{Encoding, RequestId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n";

fn event(payload: &'static str) -> Event {
    Event {
        request_id: RequestId::random(),
        payload: payload.into(),
        deadline: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        trace_id: Some("Root=1-2-3".into()),
        client_context: Some("{\n  \"client\": {}\n}".into()),
        encoding: Encoding::Json,
        host: None,
    }
}

/// One connection, as a runtime client holds it.
struct Client(TcpStream);

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// Sends and reads one answer: head, body.
    async fn ask(&mut self, request: &str) -> (String, String) {
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> (String, String) {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let byte = self.0.read_u8().await.unwrap();
            read.push(byte);
        }
        let head = String::from_utf8(read).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Lets the function take one event and post `headers` and `body` to `verb`; checks both sides' answers.
async fn check_answer(verb: &str, headers: &str, body: &str, status: &str, expected: Result<&str, &str>) {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    let event = event("{}");
    let path = format!("invocation/{}/{verb}", event.request_id);
    let request = post(&path, headers, body);
    check_exchange(&mut api, &mut client, &event, &request, status, expected).await;
}

async fn check_exchange(
    api: &mut RuntimeApi,
    client: &mut Client,
    event: &Event,
    request: &str,
    status: &str,
    expected: Result<&str, &str>,
) {
    client.0.write_all(NEXT.as_bytes()).await.unwrap();
    api.ready().await.unwrap();
    let (result, (head, _)) = tokio::join!(api.call(event), async {
        client.answer().await;
        client.ask(request).await
    });
    assert!(head.contains(status), "{head}");
    let result = result.unwrap().map_err(|error| error.body);
    assert_eq!(
        result.as_deref().map_err(|body| &body[..]),
        expected.map(str::as_bytes).map_err(str::as_bytes)
    );
}

/// Posts to a server whose function has not asked for an event yet.
async fn check_refusal(request: &str, status: &str, body: &str) {
    let api = RuntimeApi::bind().await.unwrap();
    let (head, answered) = Client::connect(api.addr()).await.ask(request).await;
    assert!(head.contains(status), "{head}");
    assert_eq!(answered, body);
}

#[tokio::test]
async fn next_carries_the_event_and_its_particulars() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    client.0.write_all(NEXT.as_bytes()).await.unwrap();
    api.ready().await.unwrap();
    let event = event(r#"{"a":1}"#);
    let id = event.request_id;
    let (_, (head, body)) = tokio::join!(api.call(&event), async {
        let answer = client.answer().await;
        client
            .ask(&post(&format!("invocation/{id}/response"), "", "1"))
            .await;
        answer
    });
    assert_eq!(body, r#"{"a":1}"#);
    for header in [
        "http/1.1 200 ok".to_owned(),
        "content-type: application/json".into(),
        format!("lambda-runtime-aws-request-id: {id}"),
        "lambda-runtime-deadline-ms: 1700000000123".into(),
        "lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        "lambda-runtime-trace-id: root=1-2-3".into(),
        r#"lambda-runtime-client-context: {"client":{}}"#.into(),
    ] {
        assert!(head.lines().any(|line| line == header), "no `{header}` in {head}");
    }
}

#[tokio::test]
async fn a_response_of_any_content_type_is_the_result() {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    check_answer("response", form, r#""r""#, "202 accepted", Ok(r#""r""#)).await;
    check_answer("response", "", "", "202 accepted", Ok("")).await;
}

#[tokio::test]
async fn an_error_is_passed_on_as_it_was_posted() {
    let body = r#"{"errorMessage":"m","errorType":"t","stackTrace":[]}"#;
    check_answer("error", "", body, "202 accepted", Err(body)).await;
}

#[tokio::test]
async fn an_error_that_is_not_json_is_named_by_its_header_if_that_is_a_category() {
    for (header, expected) in [
        ("Runtime.Foo", "Runtime.Foo"),
        ("Function.Foo", "Function.Foo"),
        ("Foo", "Function.Unknown"),
        ("Runtime.foo", "Function.Unknown"),
        ("Runtime.Foo1", "Function.Unknown"),
        ("Function.", "Function.Unknown"),
        ("", "Function.Unknown"),
    ] {
        let headers = format!("Lambda-Runtime-Function-Error-Type: {header}\r\n");
        let error = FunctionError::new(expected, "oh");
        let expected = std::str::from_utf8(&error.body).unwrap();
        check_answer("error", &headers, "oh", "202 accepted", Err(expected)).await;
    }
}

#[tokio::test]
async fn a_response_may_be_as_large_as_the_limit_and_no_larger() {
    let largest = "z".repeat(RESPONSE_BYTES_MAX);
    check_answer("response", "", &largest, "202 accepted", Ok(&largest)).await;
    let error = r#"{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#;
    let larger = format!("{largest}z");
    check_answer("response", "", &larger, "413 payload too large", Err(error)).await;
    check_answer("error", "", &larger, "413 payload too large", Err(error)).await;
}

/// A streamed response that ends with `trailers`.
async fn check_stream(trailers: &str, expected: Result<&str, &str>) {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    let event = event("{}");
    let request = format!(
        "POST /2018-06-01/runtime/invocation/{}/response HTTP/1.1\r\nHost: a\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\n\
         Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n\"a\r\n2\r\nb\"\r\n0\r\n{trailers}\r\n",
        event.request_id
    );
    check_exchange(&mut api, &mut client, &event, &request, "202 accepted", expected).await;
}

#[tokio::test]
async fn a_streamed_response_is_collected_whole() {
    check_stream("", Ok(r#""ab""#)).await;
}

#[tokio::test]
async fn a_streamed_response_that_failed_midway_is_the_error_of_its_trailers() {
    let body = "Lambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJGb28ifQ==\r\n";
    let trailers = format!("Lambda-Runtime-Function-Error-Type: Foo\r\n{body}");
    check_stream(&trailers, Err(r#"{"errorType":"Foo"}"#)).await;
}

#[tokio::test]
async fn another_response_mode_fails_the_invocation() {
    let header = "Lambda-Runtime-Function-Response-Mode: trickling\r\n";
    let error = r#"{"errorMessage":"Invalid function response mode","errorType":"Runtime.InvalidResponseModeHeader"}"#;
    check_answer("response", header, "1", "400 bad request", Err(error)).await;
}

#[tokio::test]
async fn init_error_is_what_ready_says() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    let body = r#"{"errorMessage":"m","errorType":"Runtime.ImportModuleError"}"#;
    let request = post("init/error", "", body);
    let (ready, (head, _)) = tokio::join!(api.ready(), client.ask(&request));
    assert!(head.contains("202 accepted"), "{head}");
    assert_eq!(ready.unwrap_err().body, body);
    let (head, body) = client.ask(NEXT).await;
    assert!(head.contains("403 forbidden"), "{head}");
    assert!(
        body.contains("State transition from InitError to Ready failed"),
        "{body}"
    );
}

#[tokio::test]
async fn paths_that_need_nothing() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let lost = "404 page not found\n";
    check_refusal(&get("/2018-06-01/ping"), "200 ok", "pong").await;
    check_refusal(&get("/nowhere"), "404 not found", lost).await;
    check_refusal(&get("/2021-04-23/credentials"), "404 not found", lost).await;
    check_refusal(&get("/2018-06-01/runtime/restore/next"), "404 not found", lost).await;
    check_refusal(&post("restore/error", "", "{}"), "404 not found", lost).await;
    check_refusal(
        &get("/2018-06-01/runtime/init/error"),
        "405 method not allowed",
        "",
    )
    .await;
    check_refusal(&post("invocation/next", "", ""), "405 method not allowed", "").await;
}

#[tokio::test]
async fn answers_to_an_event_that_is_not_out_are_refused() {
    let refusal = r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#;
    check_refusal(
        &post("invocation/abc/response", "", "1"),
        "400 bad request",
        refusal,
    )
    .await;
    check_refusal(&post("invocation/abc/error", "", "1"), "400 bad request", refusal).await;
}

#[tokio::test]
async fn an_event_is_answered_once_and_init_fails_only_before_the_first() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    let event = event("{}");
    let response = post(&format!("invocation/{}/response", event.request_id), "", "1");
    check_exchange(&mut api, &mut client, &event, &response, "202 accepted", Ok("1")).await;
    let (_, body) = client.ask(&response).await;
    assert!(
        body.contains("from RuntimeResponseSentState to InvocationResponse failed"),
        "{body}"
    );
    let (head, body) = client.ask(&post("init/error", "", "{}")).await;
    assert!(head.contains("403 forbidden"), "{head}");
    assert!(body.contains("InvalidStateTransition"), "{body}");
}

#[tokio::test]
async fn a_client_that_leaves_during_the_poll_comes_back_to_its_event() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut gone = Client::connect(api.addr()).await;
    gone.0.write_all(NEXT.as_bytes()).await.unwrap();
    api.ready().await.unwrap();
    drop(gone);
    let mut back = Client::connect(api.addr()).await;
    let event = event("{}");
    let response = post(&format!("invocation/{}/response", event.request_id), "", "1");
    check_exchange(&mut api, &mut back, &event, &response, "202 accepted", Ok("1")).await;
}

#[tokio::test]
async fn two_polls_at_once_get_the_same_event_and_the_first_answer_counts() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let (mut one, mut two) = (
        Client::connect(api.addr()).await,
        Client::connect(api.addr()).await,
    );
    one.0.write_all(NEXT.as_bytes()).await.unwrap();
    two.0.write_all(NEXT.as_bytes()).await.unwrap();
    api.ready().await.unwrap();
    let event = event("{}");
    let path = format!("invocation/{}/response", event.request_id);
    let (result, (head, _)) = tokio::join!(api.call(&event), async {
        let (first, second) = tokio::join!(one.answer(), two.answer());
        let id = event.request_id.to_string();
        assert!(first.0.contains(&id) && second.0.contains(&id));
        one.ask(&post(&path, "", "1")).await;
        two.ask(&post(&path, "", "2")).await
    });
    assert!(head.contains("403 forbidden"), "{head}");
    assert_eq!(result.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_cut_response_may_be_posted_again() {
    let mut api = RuntimeApi::bind().await.unwrap();
    let mut client = Client::connect(api.addr()).await;
    client.0.write_all(NEXT.as_bytes()).await.unwrap();
    api.ready().await.unwrap();
    let event = event("{}");
    let path = format!("invocation/{}/response", event.request_id);
    let addr = api.addr();
    let (result, ()) = tokio::join!(api.call(&event), async {
        client.answer().await;
        let whole = post(&path, "", "whole");
        client
            .0
            .write_all(&whole.as_bytes()[..whole.len() - 2])
            .await
            .unwrap();
        client.0.shutdown().await.unwrap();
        // Until the server has seen the end; it may or may not get an answer out.
        client.0.read_to_end(&mut Vec::new()).await.unwrap();
        Client::connect(addr).await.ask(&whole).await;
    });
    assert_eq!(result.unwrap().unwrap(), "whole");
}

#[tokio::test]
async fn an_event_before_the_first_poll_is_a_fault() {
    let mut api = RuntimeApi::bind().await.unwrap();
    assert!(matches!(api.call(&event("{}")).await, Err(Fault::Protocol(_))));
}

#[tokio::test]
async fn dropping_it_closes_listener_and_connections() {
    let api = RuntimeApi::bind().await.unwrap();
    let addr = api.addr();
    let mut client = Client::connect(addr).await;
    client
        .ask("GET /2018-06-01/ping HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    drop(api);
    assert_eq!(client.0.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}
