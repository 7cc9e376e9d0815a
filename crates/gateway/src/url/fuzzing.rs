//! A request to a function URL, as the event that its function gets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use squall_registry::{FunctionUrl, InvokeMode, UrlAuthType};
use squall_types::{Home, RequestId};

use super::event::{Seen, event};
use crate::fuzzing::request;

/// The event is JSON, and the body in it is the body that was sent.
pub fn url_event(data: &[u8]) {
    let Some((head, body)) = request(data) else { return };
    let Ok(function) = "f".parse() else { return };
    let url = FunctionUrl {
        id: "x".to_owned(),
        function,
        alias: None,
        auth_type: UrlAuthType::None,
        cors: None,
        invoke_mode: InvokeMode::Buffered,
        created_ms: 0,
        last_modified_ms: 0,
    };
    let home = Home {
        account: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
    };
    let seen = Seen {
        url: &url,
        home: &home,
        head: &head,
        path: head.uri.path(),
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        caller: None,
        trace_id: "Root=1",
        at: SystemTime::UNIX_EPOCH,
    };
    let event = event(&seen, &body, RequestId::random());
    let event: Value = serde_json::from_slice(&event).expect("an event is JSON");
    let told = match (event["body"].as_str(), event["isBase64Encoded"].as_bool()) {
        (None, _) => Vec::new(),
        (Some(text), Some(true)) => STANDARD.decode(text).expect("it says that it is base64"),
        (Some(text), _) => text.as_bytes().to_vec(),
    };
    assert_eq!(told, body, "the body that was sent");
    assert_eq!(event["rawQueryString"], head.uri.query().unwrap_or(""));
}
