//! One event's host: its sessions, its inbox, and the answers to what its instance asks.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use squall_runtime::{
    End, EndError, Host, HostBody, HostError, HostReply, HostRequest, HostResult, Hosts, Operation,
    VALUE_INLINE_BYTES_MAX,
};
use squall_state::{
    BucketName, CacheId, Key, Level, Session, SessionContext, SessionRequest, State, StateError,
    VALUE_BYTES_MAX, Value,
};
use squall_types::{Encoding, FunctionName, Invocation, Placement, RequestId, Revision, SessionSeed};

use crate::files::{self, Files};
use crate::refusal::{invalid, refusal};
use crate::{lattice, of_state, to_state};

/// The variable by which a function chooses its level of consistency.
const LEVEL_VARIABLE: &str = "SQUALL_CONSISTENCY";
/// Sessions that one event may have open beside its own.
const SESSIONS_MAX: usize = 64;
/// Without a timeout a receiver waits until its event's deadline, which is never later than this.
const RECEIVE_MAX: Duration = Duration::from_secs(900);
const LIST_MAX: usize = 1000;
/// What the files of large values may take together.
const FILES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Makes the hosts of one server.
pub struct StateHosts {
    shared: Arc<Shared>,
}

struct Shared {
    state: State,
    files: Files,
}

impl StateHosts {
    /// Hosts that answer from `state`.
    pub fn new(state: State) -> Self {
        Self {
            shared: Arc::new(Shared {
                state,
                files: Files::new(FILES_BYTES_MAX),
            }),
        }
    }
}

impl Hosts for StateHosts {
    fn host(&self, revision: &Arc<Revision>, invocation: &Invocation) -> Arc<dyn Host> {
        Arc::new(EventHost {
            shared: Arc::clone(&self.shared),
            function: revision.name.clone(),
            level: revision.environment.get(LEVEL_VARIABLE).cloned(),
            seed: invocation.session.clone(),
            cache: match invocation.placement {
                Placement::Cache(cache) => CacheId(cache),
                _ => CacheId(0),
            },
            request_id: invocation.request_id,
            own: OnceLock::new(),
            opened: Mutex::default(),
            receives: AtomicBool::new(false),
        })
    }
}

/// Answers one event. Making it costs nothing: its session begins with the first question.
pub struct EventHost {
    shared: Arc<Shared>,
    function: FunctionName,
    /// The function's own level.
    level: Option<String>,
    seed: SessionSeed,
    cache: CacheId,
    request_id: RequestId,
    own: OnceLock<Result<Arc<Session>, HostError>>,
    opened: Mutex<Opened>,
    /// It has asked for its id or for messages: its inbox is known.
    receives: AtomicBool,
}

#[derive(Default)]
struct Opened {
    last: u32,
    sessions: HashMap<u32, Arc<Session>>,
}

impl fmt::Debug for EventHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHost")
            .field("function", &self.function)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ListArguments {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct BeginArguments {
    level: String,
}

#[derive(Deserialize, Default)]
struct ReceiveArguments {
    timeout_ms: Option<u64>,
}

#[async_trait]
impl Host for EventHost {
    async fn call(&self, request: HostRequest) -> HostResult {
        match request.operation {
            Operation::Get => self.get(&request).await,
            Operation::GetMany => self.get_many(&request).await,
            Operation::Put => self.put(request).await,
            Operation::Delete => {
                let (session, key) = self.target(&request)?;
                session.delete(&key).await.map_err(refusal)?;
                Ok(HostReply::Done)
            }
            Operation::List => self.list(&request).await,
            Operation::Lattice => self.lattice(request).await,
            Operation::Begin => self.begin(&request),
            Operation::Commit => {
                let session = self.close(request.session)?;
                session.commit().await.map_err(refusal)?;
                Ok(HostReply::Done)
            }
            Operation::Abort => {
                self.close(request.session)?.abort().await;
                Ok(HostReply::Done)
            }
            Operation::MyId => {
                self.register()?;
                Ok(inline(Encoding::Bytes, self.request_id.to_string()))
            }
            Operation::Send => self.send(request).await,
            Operation::Receive => self.receive(&request).await,
        }
    }

    async fn end(&self, end: End) -> Result<Option<Bytes>, EndError> {
        if self.receives.load(Ordering::Relaxed) {
            let _ = self
                .shared
                .state
                .mailbox()
                .unregister(&self.request_id.to_string());
        }
        let left: Vec<Arc<Session>> = self
            .opened()
            .sessions
            .drain()
            .map(|(_, session)| session)
            .collect();
        for session in left {
            session.abort().await;
        }
        // A session that travels goes on, or ends, also where this function has not used it.
        let travels = self.seed.goes_on || !self.seed.travelling.is_empty();
        if self.own.get().is_none() && !travels {
            return Ok(None);
        }
        // Apart, so that a call that has no state does not pay for the room that a commit needs.
        Box::pin(self.end_session(end)).await
    }
}

fn not_committed(error: HostError) -> EndError {
    EndError {
        kind: error.kind,
        message: error.message,
    }
}

fn inline(encoding: Encoding, body: impl Into<Bytes>) -> HostReply {
    HostReply::Value {
        encoding,
        version: 0,
        body: HostBody::Bytes(body.into()),
    }
}

impl EventHost {
    async fn end_session(&self, end: End) -> Result<Option<Bytes>, EndError> {
        let session = self.session(0).map_err(not_committed)?;
        match end {
            End::Failed => {
                session.abort().await;
                Ok(None)
            }
            End::Answered if self.seed.goes_on => {
                let context = session.finish().encode();
                context.map(Some).map_err(|error| not_committed(refusal(error)))
            }
            End::Answered => {
                let committed = session.commit().await;
                committed
                    .map(|_| None)
                    .map_err(|error| not_committed(refusal(error)))
            }
        }
    }

    async fn get(&self, request: &HostRequest) -> HostResult {
        let (session, key) = self.target(request)?;
        match session.get(&key).await.map_err(refusal)? {
            None => Ok(HostReply::Absent),
            Some(value) => self.reply(&key, value, request.held, request.takes_files).await,
        }
    }

    async fn get_many(&self, request: &HostRequest) -> HostResult {
        let session = self.session(request.session)?;
        let bucket = self.bucket(&request.bucket)?;
        let mut replies = Vec::with_capacity(request.keys.len());
        for (key, held) in &request.keys {
            let key = Key::new(bucket.clone(), key.clone()).map_err(refusal)?;
            replies.push(match session.get(&key).await.map_err(refusal)? {
                None => HostReply::Absent,
                Some(value) => self.reply(&key, value, *held, request.takes_files).await?,
            });
        }
        Ok(HostReply::Many(replies))
    }

    async fn reply(&self, key: &Key, value: Value, held: u64, takes_files: bool) -> HostResult {
        let encoding = of_state(value.encoding);
        if value.bytes.len() <= VALUE_INLINE_BYTES_MAX || !takes_files {
            return Ok(inline(encoding, value.bytes));
        }
        let (version, sealed) = self.shared.files.of(key, &value).await?;
        if version == held {
            return Ok(HostReply::Same);
        }
        Ok(HostReply::Value {
            encoding,
            version,
            body: HostBody::Sealed(sealed),
        })
    }

    async fn put(&self, request: HostRequest) -> HostResult {
        let (session, key) = self.target(&request)?;
        let value = self.value(request).await?;
        session.put(&key, value).await.map_err(refusal)?;
        Ok(HostReply::Done)
    }

    async fn value(&self, request: HostRequest) -> Result<Value, HostError> {
        let bytes = match request.body {
            // A copy: the frame that it is part of may be much larger.
            HostBody::Bytes(bytes) => Bytes::copy_from_slice(&bytes),
            HostBody::Sealed(sealed) => files::read(sealed, VALUE_BYTES_MAX).await?,
        };
        Ok(Value {
            bytes,
            encoding: to_state(request.encoding),
        })
    }

    async fn list(&self, request: &HostRequest) -> HostResult {
        let arguments: ListArguments = arguments(&request.arguments)?;
        let session = self.session(request.session)?;
        let bucket = self.bucket(&request.bucket)?;
        let limit = arguments.limit.unwrap_or(LIST_MAX).min(LIST_MAX);
        let after = arguments.after.as_ref().map(String::as_bytes);
        let keys = session
            .list(&bucket, arguments.prefix.as_bytes(), after, limit)
            .await;
        let keys: Vec<String> = keys
            .map_err(refusal)?
            .iter()
            .map(|key| String::from_utf8_lossy(&key.key).into_owned())
            .collect();
        Ok(inline(Encoding::Json, serde_json::json!(keys).to_string()))
    }

    async fn lattice(&self, request: HostRequest) -> HostResult {
        let (session, key) = self.target(&request)?;
        let question = request.arguments.clone();
        let has_value = !matches!(&request.body, HostBody::Bytes(bytes) if bytes.is_empty());
        let value = match has_value {
            true => Some(self.value(request).await?),
            false => None,
        };
        let said = lattice::ask(&session, &key, &question, value).await?;
        Ok(said.map_or(HostReply::Absent, |said| inline(Encoding::Json, said.to_string())))
    }

    fn begin(&self, request: &HostRequest) -> HostResult {
        let arguments: BeginArguments = arguments(&request.arguments)?;
        let level: Level = arguments.level.parse().map_err(refusal)?;
        let mut opened = self.opened();
        if opened.sessions.len() >= SESSIONS_MAX {
            return Err(refusal(StateError::Full {
                what: "the list of this event's sessions".to_owned(),
                max: SESSIONS_MAX as u64,
            }));
        }
        opened.last += 1;
        let number = opened.last;
        let session = self.shared.state.session(SessionRequest {
            level,
            cache: self.cache,
            // The handler of another attempt opens the same sessions in the same order.
            transaction: Some(format!("{}/{number}", self.transaction())),
            travelling: None,
            function: Some(self.function.clone()),
        });
        opened
            .sessions
            .insert(number, Arc::new(session.map_err(refusal)?));
        Ok(HostReply::Value {
            encoding: Encoding::Bytes,
            version: u64::from(number),
            body: HostBody::Bytes(Bytes::new()),
        })
    }

    async fn send(&self, request: HostRequest) -> HostResult {
        let to = String::from_utf8_lossy(&request.key).into_owned();
        let value = self.value(request).await?;
        let mut message = BytesMut::with_capacity(1 + value.bytes.len());
        message.put_u8(of_state(value.encoding).code());
        message.put_slice(&value.bytes);
        let sent = self.shared.state.mailbox().send(&to, message.freeze()).await;
        sent.map_err(refusal)?;
        Ok(HostReply::Done)
    }

    async fn receive(&self, request: &HostRequest) -> HostResult {
        let wanted: ReceiveArguments = match request.arguments.is_empty() {
            true => ReceiveArguments::default(),
            false => arguments(&request.arguments)?,
        };
        self.register()?;
        let timeout = wanted
            .timeout_ms
            .map_or(RECEIVE_MAX, Duration::from_millis)
            .min(RECEIVE_MAX);
        let id = self.request_id.to_string();
        let received = self.shared.state.mailbox().recv(&id, timeout).await;
        let Some(mut message) = received.map_err(refusal)? else {
            return Ok(HostReply::Absent);
        };
        let code = (!message.is_empty()).then(|| message.split_to(1)[0]);
        match code.and_then(Encoding::from_code) {
            Some(encoding) => Ok(inline(encoding, message)),
            None => Err(invalid("a message came that no function has sent")),
        }
    }

    fn register(&self) -> Result<(), HostError> {
        if !self.receives.swap(true, Ordering::Relaxed) {
            let id = self.request_id.to_string();
            self.shared.state.mailbox().register(&id).map_err(refusal)?;
        }
        Ok(())
    }

    fn transaction(&self) -> String {
        let given = self.seed.transaction.map(|id| id.to_string());
        given.unwrap_or_else(|| self.request_id.to_string())
    }

    fn target(&self, request: &HostRequest) -> Result<(Arc<Session>, Key), HostError> {
        let session = self.session(request.session)?;
        let bucket = self.bucket(&request.bucket)?;
        let key = Key::new(bucket, request.key.clone()).map_err(refusal)?;
        Ok((session, key))
    }

    fn bucket(&self, name: &[u8]) -> Result<BucketName, HostError> {
        if name.is_empty() {
            return self.function.as_str().parse().map_err(refusal);
        }
        String::from_utf8_lossy(name).parse().map_err(refusal)
    }

    fn session(&self, number: u32) -> Result<Arc<Session>, HostError> {
        if number == 0 {
            return self.own.get_or_init(|| self.begin_own()).clone();
        }
        let found = self.opened().sessions.get(&number).cloned();
        found.ok_or_else(|| refusal(StateError::SessionOver))
    }

    fn begin_own(&self) -> Result<Arc<Session>, HostError> {
        let level = match self.seed.level.as_ref().or(self.level.as_ref()) {
            Some(level) => level.parse().map_err(refusal)?,
            None => Level::default(),
        };
        let travelling = self
            .seed
            .travelling
            .iter()
            .map(|bytes| SessionContext::decode(bytes));
        let travelling: Vec<SessionContext> = travelling.collect::<Result<_, _>>().map_err(refusal)?;
        let travelling = match travelling.is_empty() {
            true => None,
            false => Some(SessionContext::merge(travelling).map_err(refusal)?),
        };
        let session = self.shared.state.session(SessionRequest {
            level,
            cache: self.cache,
            transaction: Some(self.transaction()),
            travelling,
            function: Some(self.function.clone()),
        });
        session.map(Arc::new).map_err(refusal)
    }

    /// Takes an opened session out, to end it.
    fn close(&self, number: u32) -> Result<Arc<Session>, HostError> {
        let closed = self.opened().sessions.remove(&number);
        closed.ok_or_else(|| refusal(StateError::SessionOver))
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn arguments<'a, T: Deserialize<'a>>(arguments: &'a [u8]) -> Result<T, HostError> {
    serde_json::from_slice(arguments)
        .map_err(|error| invalid(format!("these arguments cannot be read: {error}")))
}
