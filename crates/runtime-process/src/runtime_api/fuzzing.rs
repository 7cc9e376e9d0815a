//! Requests of an instance, as bytes on its connection.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use squall_runtime::Event;
use squall_types::{Encoding, RequestId};
use tokio::io::AsyncWriteExt;

use super::machine::{Machine, Outgoing};
use super::respond;

/// Stands for the id of the event that is out there.
const ID: &[u8] = b"{id}";
/// Nothing here waits for a clock or for anybody else: after so many turns nothing more happens.
const TURNS: usize = 64;

/// Serves one connection that carries `data`, with one event to give. Whether the event was answered, which
/// only those can do who know its id. Called within a runtime.
pub async fn runtime_api(data: &[u8]) -> bool {
    let event = Event {
        request_id: RequestId::random(),
        payload: Bytes::from_static(b"{}"),
        encoding: Encoding::Json,
        deadline: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        invoked_function_arn: "arn".into(),
        trace_id: None,
        client_context: None,
        host: None,
    };
    let told = with_id(data, &event.request_id.to_string());
    let machine = Arc::new(Machine::default());
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    // It leaves its end open: a client that closes it is not answered any more.
    let instance = async {
        client.write_all(&told).await.ok();
        pending::<()>().await;
    };
    let platform = async {
        if machine.ready().await.is_err() {
            return false;
        }
        let outgoing = Outgoing::new(&event).expect("an event that HTTP can tell");
        match machine.send(outgoing) {
            Ok(answer) => answer.await.is_ok(),
            Err(_) => false,
        }
    };
    let served = async {
        respond(server, machine.clone()).await;
        pending::<()>().await;
    };
    let settled = async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    };
    let answered = tokio::select! {
        biased;
        answered = platform => answered,
        () = served => false,
        () = instance => false,
        () = settled => false,
    };
    let knew = data.windows(ID.len()).any(|window| window == ID);
    assert!(knew || !answered, "answered by somebody who does not know the id");
    answered
}

fn with_id(data: &[u8], id: &str) -> Vec<u8> {
    let mut told = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.windows(ID.len()).position(|window| window == ID) {
        told.extend_from_slice(&rest[..at]);
        told.extend_from_slice(id.as_bytes());
        rest = &rest[at + ID.len()..];
    }
    told.extend_from_slice(rest);
    told
}
