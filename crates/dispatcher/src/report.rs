//! The platform's own words: log lines exactly as Lambda writes them, and the bodies of a function's faults.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use squall_runtime::{Exit, Fault};
use squall_types::{FunctionError, MIB, RequestId, Revision, Usage, Version};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::start::StartCause;

/// About what the longest line of a call that went well takes.
const LINE_BYTES: usize = 192;

/// `YYYY/MM/DD/[VERSION]NAME`, by today's date.
pub(crate) fn stream(revision: &Revision, name: &str) -> String {
    let today = OffsetDateTime::now_utc();
    let (year, month, day) = (today.year(), u8::from(today.month()), today.day());
    format!("{year:04}/{month:02}/{day:02}/[{}]{name}", revision.version)
}

/// The line with which an instance's log begins.
pub(crate) fn init_start(revision: &Revision) -> String {
    let region = revision.function_arn.split(':').nth(3).unwrap_or_default();
    let runtime = &revision.runtime;
    format!(
        "INIT_START Runtime Version: {runtime}\tRuntime Version ARN: arn:aws:lambda:{region}::runtime:{runtime}"
    )
}

/// The line that tells of an initialisation that failed.
pub(crate) fn init_report(duration: Duration, cause: &StartCause) -> String {
    let millis = millis(duration);
    let (status, error_type) = match cause {
        StartCause::InitTimeout(_) => ("timeout", None),
        StartCause::Init(fault) => ("error", Some(error_type(fault))),
        StartCause::Platform(_) | StartCause::Preparing(_) => ("error", None),
    };
    let mut line = format!("INIT_REPORT Init Duration: {millis} ms\tPhase: init\tStatus: {status}");
    if let Some(error_type) = error_type {
        let _ = write!(line, "\tError Type: {error_type}");
    }
    line
}

/// The line before an invocation's own. The log store keeps it, `end`'s and `report`'s short as long as they have these
/// forms (`logs::text` there).
pub(crate) fn start(request_id: RequestId, version: Version) -> String {
    line(format_args!("START RequestId: {request_id} Version: {version}"))
}

/// The line after an invocation's own.
pub(crate) fn end(request_id: RequestId) -> String {
    line(format_args!("END RequestId: {request_id}"))
}

/// The line that tells what an invocation used. Every field ends with a tab, as Lambda's do.
pub(crate) fn report(
    request_id: RequestId,
    usage: &Usage,
    memory_mib: u32,
    failure: Option<&Failure>,
) -> String {
    let mut line = line(format_args!(
        "REPORT RequestId: {request_id}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {memory_mib} MB\t\
         Max Memory Used: {} MB\t",
        millis(usage.duration),
        usage.billed().as_millis(),
        usage.memory_bytes_max.div_ceil(MIB),
    ));
    if let Some(init) = usage.init_duration {
        let _ = write!(line, "Init Duration: {} ms\t", millis(init));
    }
    match failure.map(|failure| &failure.status) {
        Some(Status::Timeout) => line.push_str("Status: timeout\t"),
        Some(Status::Error(error_type)) => {
            let _ = write!(line, "Status: error\tError Type: {error_type}\t");
        }
        None => {}
    }
    line
}

/// A function's fault that the platform had to put into words.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the caller.
    pub(crate) error: FunctionError,
    /// For the function's log.
    pub(crate) lines: Vec<String>,
    /// For the REPORT line.
    pub(crate) status: Status,
}

/// Lambda's `Status` of an invocation that did not end well.
#[derive(Debug)]
pub(crate) enum Status {
    Timeout,
    /// With Lambda's `Error Type`.
    Error(String),
}

/// The deadline passed.
pub(crate) fn timed_out(request_id: RequestId, limit: Duration, at: SystemTime) -> Failure {
    let told = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
    let message = format!("RequestId: {request_id} Error: {told}");
    Failure {
        error: FunctionError::new("Sandbox.Timedout", &message),
        lines: vec![format!("{} {request_id} {told}", iso(at)), String::new()],
        status: Status::Timeout,
    }
}

/// The instance cannot go on.
pub(crate) fn failed(request_id: RequestId, fault: Fault) -> Failure {
    let name = error_type(&fault);
    let (error, lines) = match fault {
        Fault::Init(error) => (error, Vec::new()),
        Fault::ResponseTooLarge { bytes_max, .. } => {
            let message =
                format!("Response payload size exceeded maximum allowed payload size ({bytes_max} bytes).");
            let error = FunctionError::new(&name, &message);
            (error, vec![message])
        }
        Fault::Exited(exit) => told(request_id, &name, &exited(exit)),
        Fault::Protocol(what) => told(request_id, &name, &what),
    };
    Failure {
        error,
        lines,
        status: Status::Error(name),
    }
}

fn told(request_id: RequestId, error_type: &str, what: &str) -> (FunctionError, Vec<String>) {
    let message = format!("RequestId: {request_id} Error: {what}");
    let error = FunctionError::new(error_type, &message);
    (error, vec![message, error_type.to_owned()])
}

fn exited(exit: Exit) -> String {
    match exit {
        Exit::Status(0) | Exit::Unknown => "Runtime exited without providing a reason".to_owned(),
        exit => format!("Runtime exited with error: {exit}"),
    }
}

/// Lambda's name for it; what the runtime posted names itself.
fn error_type(fault: &Fault) -> String {
    match fault {
        Fault::Init(error) => {
            let body: serde_json::Value = serde_json::from_slice(&error.body).unwrap_or_default();
            let posted = body["errorType"].as_str().filter(|name| is_word(name));
            posted.unwrap_or("Runtime.Unknown").to_owned()
        }
        Fault::Exited(Exit::OutOfMemory) => "Runtime.OutOfMemory".to_owned(),
        Fault::Exited(_) => "Runtime.ExitError".to_owned(),
        Fault::ResponseTooLarge { .. } => "Function.ResponseSizeTooLarge".to_owned(),
        Fault::Protocol(_) => "Runtime.InvalidResponse".to_owned(),
    }
}

/// Whether it fits into a field of a log line.
fn is_word(text: &str) -> bool {
    text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic())
}

/// `2026-11-24T02:12:00.000Z`.
pub(crate) fn iso(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at)
        .format(format)
        .expect("every moment has these fields")
}

/// With two decimals, by whole numbers: every call is reported.
fn millis(duration: Duration) -> impl fmt::Display {
    let hundredths = (duration.as_micros() + 5) / 10;
    fmt::from_fn(move |f| write!(f, "{}.{:02}", hundredths / 100, hundredths % 100))
}

/// A line that every call has, written without growing.
fn line(text: fmt::Arguments<'_>) -> String {
    let mut line = String::with_capacity(LINE_BYTES);
    let _ = line.write_fmt(text);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RequestId {
        "8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11".parse().expect("a UUID")
    }

    #[track_caller]
    fn check_failure(failure: &Failure, error_type: &str, message: &str, lines: &[&str]) {
        let body: serde_json::Value = serde_json::from_slice(&failure.error.body).expect("JSON");
        assert_eq!(body["errorType"], error_type);
        assert_eq!(body["errorMessage"], message);
        assert_eq!(failure.lines, lines);
    }

    #[test]
    fn reports_read_as_lambda_writes_them() {
        let usage = Usage {
            duration: Duration::from_micros(1234),
            init_duration: Some(Duration::from_millis(100)),
            memory_bytes_max: 40 * MIB - 1,
        };
        assert_eq!(
            report(id(), &usage, 128, None),
            "REPORT RequestId: 8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11\tDuration: 1.23 ms\tBilled Duration: 2 ms\t\
             Memory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 100.00 ms\t"
        );
        let warm = Usage {
            init_duration: None,
            ..usage
        };
        let late = timed_out(id(), Duration::from_secs(1), SystemTime::UNIX_EPOCH);
        let line = report(id(), &warm, 128, Some(&late));
        assert!(
            line.ends_with("Max Memory Used: 40 MB\tStatus: timeout\t"),
            "{line}"
        );
    }

    #[test]
    fn a_timeout_is_told_to_the_caller_and_to_the_log() {
        let failure = timed_out(id(), Duration::from_secs(1), SystemTime::UNIX_EPOCH);
        check_failure(
            &failure,
            "Sandbox.Timedout",
            "RequestId: 8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11 Error: Task timed out after 1.00 seconds",
            &[
                "1970-01-01T00:00:00.000Z 8f5a3c52-9a3b-4c7e-9d55-0d2f7a1b6c11 Task timed out after 1.00 seconds",
                "",
            ],
        );
    }

    #[test]
    fn an_exit_is_told_with_its_reason() {
        for (exit, reason) in [
            (Exit::Status(0), "Runtime exited without providing a reason"),
            (Exit::Unknown, "Runtime exited without providing a reason"),
            (Exit::Status(127), "Runtime exited with error: exit status 127"),
            (Exit::Signal(9), "Runtime exited with error: signal: killed"),
            (Exit::OutOfMemory, "Runtime exited with error: signal: killed"),
        ] {
            let message = format!("RequestId: {} Error: {reason}", id());
            let failure = failed(id(), Fault::Exited(exit));
            let name = match exit {
                Exit::OutOfMemory => "Runtime.OutOfMemory",
                _ => "Runtime.ExitError",
            };
            check_failure(&failure, name, &message, &[&message, name]);
        }
    }

    #[test]
    fn an_oversize_response_is_told_with_its_limit() {
        let fault = Fault::ResponseTooLarge {
            bytes: 7_000_000,
            bytes_max: 6_291_556,
        };
        let message = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
        check_failure(
            &failed(id(), fault),
            "Function.ResponseSizeTooLarge",
            message,
            &[message],
        );
    }
}
