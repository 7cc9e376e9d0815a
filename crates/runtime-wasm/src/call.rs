//! One call of a guest in a sandbox of its own: the event in, the answer or what went wrong out.

use bytes::Bytes;
use squall_runtime::{Event, Exchange, Exit, Fault, LogCapture, Reply};
use squall_types::{Encoding, FunctionError};
use tokio::task::yield_now;
use wasmtime::{InstancePre, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::guest::Guest;
use crate::host::{Given, HOST_CALL_BYTES_MAX, Host, ModuleHost};
use crate::instance::Loaded;
use crate::outgoing::Outgoing;
use crate::output::{Answer, Output};
use crate::proxy;
use crate::sandbox::Kept;
use crate::turns::{self, Tick};

/// The largest answer, as on Lambda.
pub(crate) const RESPONSE_BYTES_MAX: usize = 6_291_556;

/// What came of a call.
pub(crate) struct Ended {
    pub(crate) result: Result<Result<Bytes, FunctionError>, Fault>,
    pub(crate) memory_bytes: u64,
}

impl Ended {
    pub(crate) fn fault(fault: Fault) -> Self {
        Self {
            result: Err(fault),
            memory_bytes: 0,
        }
    }

    pub(crate) fn reply(self) -> Result<Reply, Fault> {
        Ok(Reply {
            result: self.result?,
            encoding: Encoding::Json,
            memory_bytes_max: self.memory_bytes,
        })
    }
}

/// Runs one event. The sandbox is gone when this returns, or is dropped.
pub(crate) async fn call(
    loaded: &Loaded,
    kept: &mut Kept,
    event: &Event,
    log: &LogCapture,
) -> Result<Reply, Fault> {
    let ended = match &loaded.guest {
        Guest::Proxy(proxy) => proxy::call(loaded, proxy, kept, event, log).await,
        Guest::Command(command) => call_command(loaded, command, event, log).await,
        Guest::Module(module) => call_module(loaded, module, event, log).await,
    };
    ended.reply()
}

/// Runs one event whose answer may leave while it is made. Commands answer when they have ended.
pub(crate) async fn stream(
    loaded: &Loaded,
    kept: &mut Kept,
    event: &Event,
    exchange: Exchange,
    log: &LogCapture,
) -> Result<Reply, Fault> {
    match &loaded.guest {
        Guest::Proxy(proxy) => proxy::exchange(loaded, proxy, kept, event, exchange, log)
            .await
            .reply(),
        Guest::Command(_) | Guest::Module(_) if exchange.request.is_some() => {
            Err(Fault::Protocol("it takes no HTTP requests".to_owned()))
        }
        Guest::Command(_) | Guest::Module(_) => call(loaded, kept, event, log).await,
    }
}

async fn call_command(loaded: &Loaded, command: &CommandPre<Host>, event: &Event, log: &LogCapture) -> Ended {
    let answer = Answer::new(RESPONSE_BYTES_MAX);
    let stdout = Output::Answer(answer.clone());
    let stderr = Output::Log(log.clone());
    let mut store = component_store(loaded, event.payload.clone(), stdout, stderr);
    store.data_mut().answerer = event.host.clone();
    let ran = async {
        let command = command.instantiate_async(&mut store).await?;
        command.wasi_cli_run().call_run(&mut store).await
    };
    let ran = ran.await.map(|left| left.map_or(1, |()| 0));
    Ended {
        result: command_result(ran, &answer),
        memory_bytes: store.data().limits.memory_bytes(),
    }
}

async fn call_module(
    loaded: &Loaded,
    module: &InstancePre<ModuleHost>,
    event: &Event,
    log: &LogCapture,
) -> Ended {
    let answer = Answer::new(RESPONSE_BYTES_MAX);
    let stdout = Output::Answer(answer.clone());
    let stderr = Output::Log(log.clone());
    let host = ModuleHost::new(given(loaded, event.payload.clone(), stdout, stderr));
    let mut store = bounded(Store::new(&loaded.engine, host));
    store.limiter(|host| &mut host.limits);
    let ran = async {
        let instance = module.instantiate_async(&mut store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        start.call_async(&mut store, ()).await
    };
    let ran = ran.await.map(|()| 0);
    Ended {
        result: command_result(ran, &answer),
        memory_bytes: store.data().limits.memory_bytes(),
    }
}

/// A sandbox for a component: nothing of another call is in it.
pub(crate) fn component_store(loaded: &Loaded, stdin: Bytes, stdout: Output, stderr: Output) -> Store<Host> {
    let outgoing = Outgoing::new(loaded.network.clone(), loaded.wire.clone(), stderr.clone());
    let host = Host::new(given(loaded, stdin, stdout, stderr), outgoing);
    let mut store = bounded(Store::new(&loaded.engine, host));
    store.limiter(|host| &mut host.limits);
    store
}

fn given(loaded: &Loaded, stdin: Bytes, stdout: Output, stderr: Output) -> Given<'_> {
    Given {
        environment: &loaded.environment,
        memory_bytes_max: loaded.memory_bytes_max,
        stdin,
        stdout,
        stderr,
    }
}

/// Bounds what it hands to the host at once, and gives way to others at every tick; there the caller's deadline drops
/// the call.
///
/// By tokio's own way: a task that wakes itself is only put at the end of its thread's queue, and a thread that always
/// has a task looks at clocks and sockets after 61 of them, which are 305 ms of endless loops.
fn bounded<T>(mut store: Store<T>) -> Store<T> {
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| {
        Ok(match turns::tick() {
            Tick::Early => UpdateDeadline::Continue(1),
            Tick::Over => UpdateDeadline::YieldCustom(1, Box::pin(yield_now())),
        })
    });
    store
}

/// What a command wrote, where it left with status 0.
fn command_result(
    ran: wasmtime::Result<i32>,
    answer: &Answer,
) -> Result<Result<Bytes, FunctionError>, Fault> {
    let status = match ran {
        Ok(status) => status,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => return Ok(Err(guest_error(&error))),
        },
    };
    if status != 0 {
        return Err(Fault::Exited(Exit::Status(status)));
    }
    match answer.take() {
        Ok(written) => Ok(Ok(json_or_text(written.into()))),
        Err(bytes) => Err(too_large(bytes)),
    }
}

pub(crate) fn too_large(bytes: usize) -> Fault {
    Fault::ResponseTooLarge {
        bytes,
        bytes_max: RESPONSE_BYTES_MAX,
    }
}

/// Lambda's answers are JSON documents: what is none becomes a JSON string.
pub(crate) fn json_or_text(body: Bytes) -> Bytes {
    if body.is_empty() {
        return Bytes::from_static(b"null");
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
        return body;
    }
    serde_json::Value::String(String::from_utf8_lossy(&body).into_owned())
        .to_string()
        .into()
}

/// The guest's fault in Lambda's form; a trap brings the trace of the guest's own functions.
pub(crate) fn guest_error(error: &wasmtime::Error) -> FunctionError {
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return FunctionError::new("Runtime.WasmError", &format!("{error:#}"));
    };
    let trace: Vec<String> = error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map(|trace| {
            trace
                .to_string()
                .lines()
                .map(|line| line.trim().to_owned())
                .collect()
        })
        .unwrap_or_default();
    let body = serde_json::json!({
        "errorType": "Runtime.WasmTrap",
        "errorMessage": trap.to_string(),
        "stackTrace": trace,
    });
    FunctionError {
        body: body.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_json_document_whatever_was_written() {
        let check = |written: &'static str, expected: &str| {
            assert_eq!(json_or_text(Bytes::from_static(written.as_bytes())), expected);
        };
        check("", "null");
        check("{\"a\": 1}\n", "{\"a\": 1}\n");
        check("hello\n", "\"hello\\n\"");
        check("{\"a\": 1", "\"{\\\"a\\\": 1\"");
    }
}
