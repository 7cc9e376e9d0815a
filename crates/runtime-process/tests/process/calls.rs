//! What an instance asks of the platform while it runs an event, answered by a host of the test's own.

use std::collections::HashMap;
use std::io::{Read, Seek, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use squall_runtime::{
    End, EndError, Host as Answers, HostBody, HostError, HostReply, HostRequest, HostResult, Operation,
    Sealed, VALUE_INLINE_BYTES_MAX,
};
use squall_types::Encoding;
use tokio::sync::Notify;

use crate::host::{Host, Started, event};

/// A value, its version, and its file where it is large.
#[derive(Debug, Clone)]
struct Kept {
    encoding: Encoding,
    version: u64,
    body: HostBody,
}

/// Remembers values; a message comes when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Mutex<HashMap<Bytes, Kept>>,
    /// The operations in the order in which they came.
    asked: Mutex<Vec<Operation>>,
    message: Notify,
}

#[async_trait]
impl Answers for Memory {
    async fn call(&self, request: HostRequest) -> HostResult {
        self.asked.lock().unwrap().push(request.operation);
        match request.operation {
            Operation::Get => Ok(self.get(&request.key, request.held)),
            Operation::GetMany => Ok(HostReply::Many(
                request
                    .keys
                    .iter()
                    .map(|(key, held)| self.get(key, *held))
                    .collect(),
            )),
            Operation::Put => {
                self.put(request);
                Ok(HostReply::Done)
            }
            Operation::Receive => {
                self.message.notified().await;
                Ok(inline(b"\"hello\""))
            }
            Operation::Send => {
                self.message.notify_one();
                Ok(HostReply::Done)
            }
            _ => Err(HostError {
                kind: "BucketNotBound",
                message: "the bucket `other` is not bound: bind it".to_owned(),
                is_retryable: false,
            }),
        }
    }

    async fn end(&self, _end: End) -> Result<Option<Bytes>, EndError> {
        Ok(None)
    }
}

fn inline(body: &'static [u8]) -> HostReply {
    HostReply::Value {
        encoding: Encoding::Json,
        version: 0,
        body: HostBody::Bytes(Bytes::from_static(body)),
    }
}

impl Memory {
    fn get(&self, key: &Bytes, held: u64) -> HostReply {
        match self.kept.lock().unwrap().get(key).cloned() {
            None => HostReply::Absent,
            Some(kept) if kept.version == held => HostReply::Same,
            Some(kept) => HostReply::Value {
                encoding: kept.encoding,
                version: kept.version,
                body: kept.body,
            },
        }
    }

    fn put(&self, request: HostRequest) {
        let bytes = match request.body {
            HostBody::Bytes(bytes) => bytes,
            HostBody::Sealed(sealed) => {
                let mut file = std::fs::File::from(sealed.file.try_clone().unwrap());
                let mut bytes = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, sealed.bytes);
                bytes.into()
            }
        };
        let mut kept = self.kept.lock().unwrap();
        let version = 1 + kept.get(&request.key).map_or(0, |old| old.version);
        let body = if bytes.len() > VALUE_INLINE_BYTES_MAX && request.takes_files {
            HostBody::Sealed(Arc::new(seal(&bytes)))
        } else {
            HostBody::Bytes(bytes)
        };
        kept.insert(
            request.key,
            Kept {
                encoding: request.encoding,
                version,
                body,
            },
        );
    }

    pub(crate) fn asked(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn seal(bytes: &[u8]) -> Sealed {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Sealed {
        bytes: bytes.len() as u64,
        file: file.into(),
    }
}

async fn answer(started: &mut Started, memory: &Arc<Memory>, payload: &str) -> serde_json::Value {
    let mut event = event(payload);
    event.host = Some(memory.clone());
    let reply = started.instance.invoke(&event, &mut started.log).await.unwrap();
    serde_json::from_slice(&reply.result.unwrap_or_else(|error| error.body)).unwrap()
}

/// Runs the body of a Python handler.
async fn check(body: &str, expected: serde_json::Value) -> Arc<Memory> {
    let host = Host::new();
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let source =
        format!("import threading, squall\ndef handler(event, context):\n    b = squall.bucket()\n{body}");
    let mut started = host.python(&source).await;
    let memory = Arc::new(Memory::default());
    assert_eq!(answer(&mut started, &memory, "{}").await, expected);
    memory
}

#[tokio::test]
async fn what_python_writes_it_reads_back() {
    let body = "
values = [None, True, 7, 1.5, 'é', [1, {'a': []}], {'k': 'v'}, b'\\x00\\xff', (1, 2), {3: 4}, {5, 6}, float('inf')]
for number, value in enumerate(values):
    b.put('k%d' % number, value)
back = [b.get('k%d' % number) for number in range(len(values))]
many = b.get_many(['k%d' % number for number in range(len(values))] + ['absent'])
return [back == values, list(many.values()) == values, b.get('absent', 'none'), repr(back[8])]";
    check(body, json!([true, true, "none", "(1, 2)"])).await;
}

#[tokio::test]
async fn a_large_value_comes_as_a_file_once_and_stays_mapped() {
    let body = "
large = bytes(range(256)) * 4000
b.put('large', large)
b.put('text', 'x' * 100000)
first = b.get('large')
return [first == large, b.get('large') is first, b.get('text') == 'x' * 100000, b.get_many(['large', 'text'])['large'] is first]";
    let memory = check(body, json!([true, true, true, true])).await;
    use Operation::{Get, GetMany, Put};
    assert_eq!(memory.asked(), [Put, Put, Get, Get, Get, GetMany]);
}

#[tokio::test]
async fn threads_ask_at_the_same_time_and_each_gets_its_own_answer() {
    let body = "
got = {}
def work(n):
    for turn in range(50):
        b.put('%d' % n, [n, turn])
        got[n, turn] = b.get('%d' % n) == [n, turn]
received = []
waiting = threading.Thread(target=lambda: received.append(squall.recv()))
waiting.start()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
squall.send('me', 'hello')
waiting.join()
return [len(got), all(got.values()), received]";
    check(body, json!([400, true, ["hello"]])).await;
}

#[tokio::test]
async fn a_refusal_is_an_exception_that_says_what_to_do() {
    let body = "
try:
    b.delete('k')
except squall.NotBound as error:
    return [str(error), error.kind, error.retryable, isinstance(error, squall.SquallError)]";
    let expected = json!([
        "the bucket `other` is not bound: bind it",
        "BucketNotBound",
        false,
        true
    ]);
    check(body, expected).await;
}

#[tokio::test]
async fn a_thread_that_is_left_over_gets_an_error_and_spoils_nothing() {
    let host = Host::new();
    let source = "
import threading, squall
def wait(begun, left):
    begun.set()
    try:
        squall.recv()
    except squall.NotAvailable:
        left.append('over')
thread = left = None
def handler(event, context):
    global thread, left
    if event:
        begun, left = threading.Event(), []
        thread = threading.Thread(target=wait, args=(begun, left))
        thread.start()
        begun.wait()
        squall.bucket().put('k', 1)
        return 'first'
    while thread.is_alive():
        squall.send('me', 'come out')
        thread.join(0.01)
    return [left[0] if left else 'late', squall.bucket().get('k')]
";
    // Again and again: who reads the socket when the next event comes is a matter of chance.
    let mut started = host.python(source).await;
    let memory = Arc::new(Memory::default());
    for _ in 0..100 {
        assert_eq!(answer(&mut started, &memory, "1").await, json!("first"));
        let said = answer(&mut started, &memory, "0").await;
        // A thread that asks late asks within the second event.
        assert!(said == json!(["over", 1]) || said == json!(["late", 1]), "{said}");
    }
}

#[tokio::test]
async fn nobody_answers_while_the_module_is_imported_or_where_there_is_no_host() {
    let host = Host::new();
    let source = "
import squall
try:
    squall.bucket().get('k')
except squall.NotAvailable as error:
    said = str(error)
def handler(event, context):
    try:
        squall.bucket().get('k')
    except squall.NotAvailable as error:
        return [said, str(error)]
";
    let mut started = host.python(source).await;
    let said = started.answer("{}").await;
    let imported = said[0].as_str().unwrap();
    assert!(
        imported.contains("not while the module is imported"),
        "{imported}"
    );
    assert_eq!(said[1], "this server keeps no state for functions");
}

#[tokio::test]
async fn a_pickled_event_and_answer_pass_unread() {
    let host = Host::new();
    let source = "
import pickle, squall
def handler(event, context):
    return squall.Payload(pickle.dumps(pickle.loads(event.data) + [event.encoding]), 'pickle')
";
    let mut started = host.python(source).await;
    let mut event = event("");
    // The list [1], in protocol 0.
    event.payload = Bytes::from_static(b"(lp0\nI1\na.");
    event.encoding = Encoding::Pickle;
    let reply = started.instance.invoke(&event, &mut started.log).await.unwrap();
    assert_eq!(reply.encoding, Encoding::Pickle);
    let answer = reply.result.unwrap();
    assert!(answer.windows(6).any(|part| part == b"pickle"), "{answer:?}");
}

#[tokio::test]
async fn an_instance_that_dies_while_it_asks_is_a_fault_at_once() {
    let host = Host::new();
    let source = "
import os, threading, squall
def handler(event, context):
    threading.Timer(0.05, os._exit, (7,)).start()
    squall.recv()
";
    let mut started = host.python(source).await;
    let mut event = event("{}");
    event.host = Some(Arc::new(Memory::default()));
    let invoked = started.instance.invoke(&event, &mut started.log);
    let ended = tokio::time::timeout(Duration::from_secs(20), invoked)
        .await
        .unwrap();
    assert_eq!(
        ended.unwrap_err().to_string(),
        "the instance ended: exit status 7"
    );
}
