//! An instance of a managed runtime: a process that speaks frames, however it was started.
//!
//! `runtime` makes it around a fresh process, a zygote's fork or a pooled Node worker.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use squall_access::Issued;
use squall_runtime::{Event, ExitWatch, Fault, Instance, InstanceId, LogCapture, Reply};
use squall_types::{Encoding, FunctionError};

use crate::frame::{self, Channel, Frame};
use crate::process::Process;

/// One managed instance.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) id: InstanceId,
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    /// The header of INIT.
    pub(crate) init: Vec<u8>,
    /// A line for the function's log, about how it was started.
    pub(crate) notice: Option<String>,
    /// The header of INVOKE, kept for its room.
    pub(crate) header: Vec<u8>,
    /// Taken back at the instance's end.
    pub(crate) _credentials: Option<Issued>,
}

#[derive(Serialize)]
struct InvokeHeader<'a> {
    id: uuid::fmt::Hyphenated,
    deadline_ms: u64,
    arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_json")]
    encoding: Encoding,
}

#[derive(Deserialize, Default)]
struct AnswerHeader {
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    encoding: Encoding,
}

#[async_trait]
impl Instance for Managed {
    fn id(&self) -> InstanceId {
        self.id
    }

    async fn init(&mut self, log: &mut LogCapture) -> Result<(), Fault> {
        if let Some(notice) = self.notice.take() {
            log.line(notice);
        }
        let init = std::mem::take(&mut self.init);
        let call = self.channel.call(frame::INIT, &init, b"", None, log);
        let frame = self.process.turns.during(call).await?;
        match frame.kind {
            frame::READY => Ok(()),
            frame::INIT_ERROR => Err(Fault::Init(FunctionError { body: frame.body })),
            _ => Err(unexpected(&frame, "INIT")),
        }
    }

    async fn invoke(&mut self, event: &Event, log: &mut LogCapture) -> Result<Reply, Fault> {
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        write_header(&mut header, event)?;
        let host = event.host.clone();
        let call = self
            .channel
            .call(frame::INVOKE, &header, &event.payload, host, log);
        let frame = self.process.turns.during(call).await;
        self.header = header;
        let frame = frame?;
        let answer = answer_header(&frame.header)?;
        let result = match frame.kind {
            frame::RESPONSE => Ok(frame.body.clone()),
            frame::ERROR => Err(FunctionError {
                body: frame.body.clone(),
            }),
            _ => return Err(unexpected(&frame, "INVOKE")),
        };
        Ok(Reply {
            result,
            encoding: answer.encoding,
            memory_bytes_max: answer.memory,
        })
    }

    fn exit(&self) -> ExitWatch {
        self.process.exit()
    }

    fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    fn drain(&mut self, log: &mut LogCapture) {
        self.channel.log.drain(log);
    }

    async fn stop(self: Box<Self>, grace: Duration) {
        let Self {
            mut process, channel, ..
        } = *self;
        // The end of the socket is the request to end.
        drop(channel);
        process.end_within(grace).await;
    }
}

fn is_json(encoding: &Encoding) -> bool {
    *encoding == Encoding::Json
}

fn write_header(header: &mut Vec<u8>, event: &Event) -> Result<(), Fault> {
    let context = event
        .client_context
        .as_ref()
        .map(|context| serde_json::from_slice::<&RawValue>(context));
    let header_of_event = InvokeHeader {
        id: event.request_id.0.hyphenated(),
        deadline_ms: epoch_ms(event.deadline),
        arn: &event.invoked_function_arn,
        trace: event.trace_id.as_deref(),
        client_context: context
            .transpose()
            .map_err(|error| cannot("send the client context", &error))?,
        encoding: event.encoding,
    };
    serde_json::to_writer(header, &header_of_event).map_err(|error| cannot("write a header", &error))
}

fn answer_header(header: &Bytes) -> Result<AnswerHeader, Fault> {
    if header.is_empty() {
        return Ok(AnswerHeader::default());
    }
    serde_json::from_slice(header).map_err(|error| cannot("read a header", &error))
}

fn cannot(what: &str, error: &serde_json::Error) -> Fault {
    Fault::Protocol(format!("could not {what}: {error}"))
}

fn unexpected(frame: &Frame, after: &str) -> Fault {
    Fault::Protocol(format!("a frame of kind {} after {after}", frame.kind))
}

fn epoch_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
