//! What an instance may ask of the platform while it runs an event: the functions' state, and messages.
//!
//! A runtime carries the questions and knows none of them; whoever puts the server together says who answers
//! ([`Hosts`]). The dispatcher makes one [`Host`] for each event and ends it with the event.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use squall_types::{Encoding, Invocation, Revision};

/// A value that is larger goes to a process as a sealed file in memory, beside the frame.
pub const VALUE_INLINE_BYTES_MAX: usize = 64 * 1024;

/// Makes the host of each event.
pub trait Hosts: Send + Sync + 'static {
    /// Who answers an instance of `revision` while it runs `invocation`. Called once for each event; does no I/O.
    fn host(&self, revision: &Arc<Revision>, invocation: &Invocation) -> Arc<dyn Host>;
}

/// Answers one event's questions. Calls may be under way at the same time; each is bounded by the event's deadline.
#[async_trait]
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Answers. What is in memory is answered at the first poll.
    ///
    /// Dropping the future gives up the answer; what it asked for may still happen.
    async fn call(&self, request: HostRequest) -> HostResult;

    /// The event is over. Called once, after the last call was answered or dropped.
    ///
    /// Returns the session's context where the invocation asked for it.
    ///
    /// # Errors
    /// [`EndError`] where the session's writes could not be made visible: the invocation has failed then.
    async fn end(&self, end: End) -> Result<Option<Bytes>, EndError>;
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The handler answered.
    Answered,
    /// It raised, ran out of time, or its instance died: what it meant to write together is not written.
    Failed,
}

/// What can be asked. The numbers are those of the framed protocol and are never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// The value of a key.
    Get = 1,
    /// Writes a value.
    Put = 2,
    /// Removes a key.
    Delete = 3,
    /// Keys in order; `arguments`: `prefix`, `after`, `limit`.
    List = 4,
    /// The values of `keys`, at once.
    GetMany = 5,
    /// Changes or reads a value of another lattice than the register; `arguments`: `method` and what it takes.
    Lattice = 6,
    /// Opens a session inside of the event's own; `arguments`: `level`.
    Begin = 7,
    /// Makes the writes of an opened session visible.
    Commit = 8,
    /// Drops the writes of an opened session.
    Abort = 9,
    /// The id under which this invocation receives messages.
    MyId = 10,
    /// Sends the body to the inbox of the id in `key`.
    Send = 11,
    /// The next message of this invocation's inbox; `arguments`: `timeout_ms`.
    Receive = 12,
}

impl Operation {
    const ALL: [Self; 12] = [
        Self::Get,
        Self::Put,
        Self::Delete,
        Self::List,
        Self::GetMany,
        Self::Lattice,
        Self::Begin,
        Self::Commit,
        Self::Abort,
        Self::MyId,
        Self::Send,
        Self::Receive,
    ];

    /// The operation of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == code)
    }
}

/// One question.
#[derive(Debug)]
pub struct HostRequest {
    /// What is asked.
    pub operation: Operation,
    /// The session: 0 is the event's own, others were opened by `Begin`.
    pub session: u32,
    /// The bucket; empty is the function's own.
    pub bucket: Bytes,
    /// The key, or whom a message is for.
    pub key: Bytes,
    /// The version of the value that the instance holds already; 0 for none.
    pub held: u64,
    /// For `GetMany`: the keys, each with what is held of it.
    pub keys: Vec<(Bytes, u64)>,
    /// What else there is to say: a JSON document, or nothing.
    pub arguments: Bytes,
    /// How the body is written.
    pub encoding: Encoding,
    /// A value or a message.
    pub body: HostBody,
    /// Whether the instance can take a large value as a file of memory.
    pub takes_files: bool,
}

impl HostRequest {
    /// A question about one key, without a body.
    pub fn new(operation: Operation, bucket: Bytes, key: Bytes) -> Self {
        Self {
            operation,
            session: 0,
            bucket,
            key,
            held: 0,
            keys: Vec::new(),
            arguments: Bytes::new(),
            encoding: Encoding::Json,
            body: HostBody::Bytes(Bytes::new()),
            takes_files: false,
        }
    }
}

/// A value on its way.
#[derive(Debug, Clone)]
pub enum HostBody {
    /// In the frame.
    Bytes(Bytes),
    /// In a file of memory.
    Sealed(Arc<Sealed>),
}

/// A file of memory that nobody writes to any more.
#[derive(Debug)]
pub struct Sealed {
    /// The file.
    pub file: OwnedFd,
    /// Its length.
    pub bytes: u64,
}

/// What a question comes to.
pub type HostResult = Result<HostReply, HostError>;

/// An answer.
#[derive(Debug, Clone)]
pub enum HostReply {
    /// There is a value, a message, or whatever the operation answers with.
    Value {
        /// How it is written.
        encoding: Encoding,
        /// Names this content: whoever holds it may ask whether it is still the same. 0 where it has no name.
        version: u64,
        /// The content.
        body: HostBody,
    },
    /// One answer for each key that was asked for.
    Many(Vec<HostReply>),
    /// The key has the value that the instance holds already.
    Same,
    /// There is no such key, or no message came.
    Absent,
    /// It is done, and there is nothing more to say.
    Done,
}

/// A refusal, in words for whoever wrote the function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// Its name: `UnknownBucket`, `NotBound`, `TooLarge`, `WrongType`, …
    pub kind: &'static str,
    /// What was wrong, and what to do.
    pub message: String,
    /// Whether the same question may be answered later.
    pub is_retryable: bool,
}

/// The writes of an event's session were not made visible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session was not committed: {message}")]
pub struct EndError {
    /// Its name, as the error type of the invocation.
    pub kind: &'static str,
    /// Why.
    pub message: String,
}
