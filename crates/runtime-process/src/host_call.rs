//! An instance's questions to the platform, as frames: HOST_CALL from it, HOST_REPLY to it.
//!
//! `frame` calls this while an INVOKE is outstanding; at most [`CALLS_MAX`] questions of one instance are under way.
//! All numbers are little-endian. The header of a call:
//!
//! ```text
//! u32 number · u8 operation · u8 encoding · u8 flags · u8 0 · u32 session · u64 held · u16 bucket bytes · u16 key bytes
//! bucket · key · arguments (JSON)                        the body follows, or comes as a file
//! ```
//!
//! Of an answer: `u32 number · u8 status · u8 encoding · u8 files · u8 retryable · u64 version · u64 file bytes`.
//! The body of GET_MANY's call has a `u16 key bytes · u64 held · key` for each key; that of its answer has, for each,
//! `u8 status · u8 encoding · u8 files · u8 0 · u32 body bytes · u64 version · u64 file bytes · body`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::fs::SealFlags;
use squall_runtime::{
    Fault, Host, HostBody, HostError, HostReply, HostRequest, HostResult, Operation, Sealed,
};
use squall_types::Encoding;

use crate::frame::Frame;

/// Questions of one instance that may wait for their answers at once.
const CALLS_MAX: usize = 256;
/// Keys of one GET_MANY: its answer brings at most so many files.
pub(crate) const KEYS_MAX: usize = 64;

const CALL_BYTES: usize = 24;
const REPLY_BYTES: usize = 24;
const TAKES_FILES: u8 = 1;
const BODY_IN_FILE: u8 = 2;

const DONE: u8 = 0;
const VALUE: u8 = 1;
const SAME: u8 = 2;
const ABSENT: u8 = 3;
const ERROR: u8 = 4;
const MANY: u8 = 5;

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One answer, ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) header: [u8; REPLY_BYTES],
    pub(crate) body: Bytes,
    files: Vec<Arc<Sealed>>,
}

impl Answer {
    pub(crate) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|sealed| sealed.file.as_fd())
    }
}

/// The questions of one event that wait for their answers.
pub(crate) struct Calls {
    host: Option<Arc<dyn Host>>,
    waiting: FuturesUnordered<Answering>,
}

impl Calls {
    pub(crate) fn new(host: Option<Arc<dyn Host>>) -> Self {
        Self {
            host,
            waiting: FuturesUnordered::new(),
        }
    }

    /// Starts to answer a HOST_CALL.
    pub(crate) fn begin(&mut self, frame: Frame, file: Option<OwnedFd>) -> Result<(), Fault> {
        let (number, request) = read_call(frame, file).ok_or_else(malformed)?;
        let host = match &self.host {
            _ if self.waiting.len() >= CALLS_MAX => Err(too_many()),
            Some(host) => Ok(Arc::clone(host)),
            None => Err(no_host()),
        };
        let answering: Answering = match (host, request) {
            (Ok(host), Ok(request)) => Box::pin(async move { answer(number, host.call(request).await) }),
            (Err(refusal), _) | (_, Err(refusal)) => {
                Box::pin(std::future::ready(answer(number, Err(refusal))))
            }
        };
        self.waiting.push(answering);
        Ok(())
    }

    /// An answer that is there now.
    pub(crate) fn ready(&mut self) -> Option<Answer> {
        self.waiting.next().now_or_never().flatten()
    }

    /// The next answer. Waits for ever where no question does.
    pub(crate) async fn next(&mut self) -> Answer {
        match self.waiting.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn too_many() -> HostError {
    HostError {
        kind: "TooManyCalls",
        message: format!(
            "{CALLS_MAX} calls of this instance wait for their answers already: wait for some of them first"
        ),
        is_retryable: true,
    }
}

fn no_host() -> HostError {
    HostError {
        kind: "NotAvailable",
        message: "this server keeps no state for functions".to_owned(),
        is_retryable: false,
    }
}

fn malformed() -> Fault {
    Fault::Protocol("a HOST_CALL that is cut short or names no operation".to_owned())
}

/// The number of a call, and its question or why there is none.
type ReadCall = (u32, Result<HostRequest, HostError>);

/// `None` where it is none.
fn read_call(frame: Frame, file: Option<OwnedFd>) -> Option<ReadCall> {
    let mut header = frame.header;
    if header.len() < CALL_BYTES {
        return None;
    }
    let number = header.get_u32_le();
    let operation = Operation::from_code(header.get_u8())?;
    let encoding = Encoding::from_code(header.get_u8())?;
    let flags = header.get_u8();
    header.advance(1);
    let session = header.get_u32_le();
    let held = header.get_u64_le();
    let (bucket_bytes, key_bytes) = (usize::from(header.get_u16_le()), usize::from(header.get_u16_le()));
    if header.len() < bucket_bytes + key_bytes {
        return None;
    }
    let bucket = header.split_to(bucket_bytes);
    let key = header.split_to(key_bytes);
    let mut body = frame.body;
    let keys = match operation {
        Operation::GetMany => read_keys(&mut body)?,
        _ => Vec::new(),
    };
    let body = match file {
        None if flags & BODY_IN_FILE == 0 => Ok(HostBody::Bytes(body)),
        Some(file) if flags & BODY_IN_FILE != 0 => sealed(file).map(HostBody::Sealed),
        _ => return None,
    };
    let request = body.map(|body| HostRequest {
        operation,
        session,
        bucket,
        key,
        held,
        keys,
        arguments: header,
        encoding,
        body,
        takes_files: flags & TAKES_FILES != 0,
    });
    Some((number, request))
}

fn read_keys(body: &mut Bytes) -> Option<Vec<(Bytes, u64)>> {
    let mut keys = Vec::new();
    while !body.is_empty() {
        if body.len() < 10 || keys.len() == KEYS_MAX {
            return None;
        }
        let bytes = usize::from(body.get_u16_le());
        let held = body.get_u64_le();
        if body.len() < bytes {
            return None;
        }
        keys.push((body.split_to(bytes), held));
    }
    Some(keys)
}

/// Whether a call's header says that a file comes with it.
pub(crate) fn brings_file(header: &[u8]) -> bool {
    header.get(6).is_some_and(|flags| flags & BODY_IN_FILE != 0)
}

/// A file whose content cannot change any more, and that can be read without waiting for anybody: only a file of
/// memory has seals.
fn sealed(file: OwnedFd) -> Result<Arc<Sealed>, HostError> {
    let wanted = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
    let size = rustix::fs::fstat(&file).ok();
    match size.and_then(|stat| u64::try_from(stat.st_size).ok()) {
        Some(bytes) if seals.contains(wanted) => Ok(Arc::new(Sealed { file, bytes })),
        _ => Err(HostError {
            kind: "BadRequest",
            message: "a large value comes as a sealed file of memory, and this is none".to_owned(),
            is_retryable: false,
        }),
    }
}

fn answer(number: u32, result: HostResult) -> Answer {
    let reply = match result {
        Ok(reply) => reply,
        Err(error) => return refusal(number, &error),
    };
    if let HostReply::Many(replies) = reply {
        return many(number, replies);
    }
    let part = Part::of(reply);
    let mut header = BytesMut::with_capacity(REPLY_BYTES);
    header.put_u32_le(number);
    header.put_slice(&[part.status, part.encoding, part.files(), 0]);
    header.put_u64_le(part.version);
    header.put_u64_le(part.file_bytes);
    Answer {
        header: fixed(&header),
        body: part.body,
        files: part.file.into_iter().collect(),
    }
}

fn refusal(number: u32, error: &HostError) -> Answer {
    let body = serde_json::json!({ "kind": error.kind, "message": error.message });
    let mut header = BytesMut::with_capacity(REPLY_BYTES);
    header.put_u32_le(number);
    header.put_slice(&[ERROR, 0, 0, u8::from(error.is_retryable)]);
    header.put_bytes(0, 16);
    Answer {
        header: fixed(&header),
        body: body.to_string().into(),
        files: Vec::new(),
    }
}

fn many(number: u32, replies: Vec<HostReply>) -> Answer {
    let mut body = BytesMut::new();
    let mut files = Vec::new();
    for reply in replies {
        let part = Part::of(reply);
        body.put_slice(&[part.status, part.encoding, part.files(), 0]);
        body.put_u32_le(u32::try_from(part.body.len()).unwrap_or(u32::MAX));
        body.put_u64_le(part.version);
        body.put_u64_le(part.file_bytes);
        body.put_slice(&part.body);
        files.extend(part.file);
    }
    let mut header = BytesMut::with_capacity(REPLY_BYTES);
    header.put_u32_le(number);
    header.put_slice(&[MANY, 0, u8::try_from(files.len()).unwrap_or(u8::MAX), 0]);
    header.put_bytes(0, 16);
    Answer {
        header: fixed(&header),
        body: body.freeze(),
        files,
    }
}

fn fixed(header: &[u8]) -> [u8; REPLY_BYTES] {
    header.try_into().expect("all fields of a header were put")
}

/// A reply taken apart.
struct Part {
    status: u8,
    encoding: u8,
    version: u64,
    file_bytes: u64,
    body: Bytes,
    file: Option<Arc<Sealed>>,
}

impl Part {
    fn of(reply: HostReply) -> Self {
        let (status, encoding, version, body) = match reply {
            HostReply::Value {
                encoding,
                version,
                body,
            } => (VALUE, encoding.code(), version, body),
            HostReply::Same => (SAME, 0, 0, HostBody::Bytes(Bytes::new())),
            HostReply::Absent => (ABSENT, 0, 0, HostBody::Bytes(Bytes::new())),
            // Nobody answers with a list inside of a list.
            HostReply::Done | HostReply::Many(_) => (DONE, 0, 0, HostBody::Bytes(Bytes::new())),
        };
        let (file_bytes, body, file) = match body {
            HostBody::Bytes(body) => (0, body, None),
            HostBody::Sealed(sealed) => (sealed.bytes, Bytes::new(), Some(sealed)),
        };
        Self {
            status,
            encoding,
            version,
            file_bytes,
            body,
            file,
        }
    }

    fn files(&self) -> u8 {
        u8::from(self.file.is_some())
    }
}
