//! An instance that brings its own runtime: an executable `bootstrap` that asks the Runtime API for events.
//!
//! `runtime` makes it for `provided*`. It has a Runtime API server of its own, and a log pipe as every instance has.

use std::fs;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Pid;
use squall_access::Issued;
use squall_runtime::{Event, Exit, ExitWatch, Fault, Instance, InstanceId, LogCapture, Reply};
use squall_types::{Encoding, FunctionError};
use tokio::sync::watch;

use crate::log_pipe::LogPipe;
use crate::process::{Process, ended};
use crate::runtime_api::RuntimeApi;

/// An answer that was posted just before the process ended may still be on its way through the server.
const LAST_ANSWER_WAIT: Duration = Duration::from_millis(200);

/// One instance that speaks the Runtime API.
#[derive(Debug)]
pub(crate) struct Provided {
    pub(crate) id: InstanceId,
    pub(crate) process: Process,
    pub(crate) api: RuntimeApi,
    pub(crate) log: LogPipe,
    /// Taken back at the instance's end.
    pub(crate) _credentials: Option<Issued>,
}

#[async_trait]
impl Instance for Provided {
    fn id(&self) -> InstanceId {
        self.id
    }

    async fn init(&mut self, log: &mut LogCapture) -> Result<(), Fault> {
        let exit = self.process.exit();
        let start = answered(self.api.ready(), &mut self.log, exit, log);
        let ready = self.process.turns.during(start).await?;
        ready.map_err(Fault::Init)
    }

    async fn invoke(&mut self, event: &Event, log: &mut LogCapture) -> Result<Reply, Fault> {
        let exit = self.process.exit();
        let call = answered(self.api.call(event), &mut self.log, exit, log);
        let result = self.process.turns.during(call).await??;
        Ok(Reply {
            result,
            encoding: Encoding::Json,
            memory_bytes_max: self.process.pid().map_or(0, memory_bytes_max),
        })
    }

    fn exit(&self) -> ExitWatch {
        self.process.exit()
    }

    fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    fn drain(&mut self, log: &mut LogCapture) {
        self.log.drain(log);
    }

    async fn stop(self: Box<Self>, grace: Duration) {
        let Self { mut process, api, .. } = *self;
        // The Runtime API has no word for the end; Lambda sends SIGTERM.
        process.terminate();
        process.end_within(grace).await;
        drop(api);
    }
}

/// Waits for the function's answer, reads its log meanwhile, and notices its end.
async fn answered<T>(
    answer: impl Future<Output = T>,
    pipe: &mut LogPipe,
    mut exit: ExitWatch,
    log: &mut LogCapture,
) -> Result<T, Fault> {
    let mut answer = pin!(answer);
    let result = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break Ok(answer),
            () = pipe.pump(log) => {}
            exit = ended(&mut exit) => {
                let last = tokio::time::timeout(LAST_ANSWER_WAIT, &mut answer).await;
                break last.map_err(|_| Fault::Exited(exit));
            }
        }
    };
    pipe.drain(log);
    result
}

/// The most resident memory that the process has had; 0 when it is gone.
fn memory_bytes_max(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// An instance whose `bootstrap` is missing or is no program: the function's fault, so it shows when it is initialised.
#[derive(Debug)]
pub(crate) struct Stillborn {
    id: InstanceId,
    error: FunctionError,
    exit: ExitWatch,
}

impl Stillborn {
    /// What kind of failure to start is the function's own doing.
    pub(crate) fn from_error(id: InstanceId, error: &io::Error) -> Option<Self> {
        let message = match error.kind() {
            _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                "fork/exec /var/task/bootstrap: exec format error".to_owned()
            }
            io::ErrorKind::NotFound => {
                "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned()
            }
            io::ErrorKind::PermissionDenied => "fork/exec /var/task/bootstrap: permission denied".to_owned(),
            _ => return None,
        };
        let (_, exit) = watch::channel(Some(Exit::Unknown));
        Some(Self {
            id,
            error: FunctionError::new("Runtime.InvalidEntrypoint", &message),
            exit,
        })
    }
}

#[async_trait]
impl Instance for Stillborn {
    fn id(&self) -> InstanceId {
        self.id
    }

    async fn init(&mut self, _: &mut LogCapture) -> Result<(), Fault> {
        Err(Fault::Init(self.error.clone()))
    }

    async fn invoke(&mut self, _: &Event, _: &mut LogCapture) -> Result<Reply, Fault> {
        Err(Fault::Exited(Exit::Unknown))
    }

    fn exit(&self) -> ExitWatch {
        self.exit.clone()
    }

    fn drain(&mut self, _: &mut LogCapture) {}

    async fn stop(self: Box<Self>, _: Duration) {}
}
