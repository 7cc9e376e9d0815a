//! One invocation's log on its way to the store, and the end of it for the caller.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use squall_runtime::{LogCapture, LogLine};
use squall_store::logs::{LogBatch, LogEvent, LogStore};
use squall_types::{FunctionName, RequestId};

/// The most bytes of a log tail.
const TAIL_BYTES_MAX: usize = 4096;

/// What one invocation logs.
pub(crate) struct InvocationLog<'a> {
    /// Borrowed: a handle has counts that all threads share.
    logs: &'a LogStore,
    function: FunctionName,
    stream: Arc<str>,
    request_id: RequestId,
    /// The lines of a start that this invocation is the first to use; they come before its own.
    before: Vec<LogLine>,
    pub(crate) capture: LogCapture,
    /// The last bytes of what was handed over, where the caller wants them.
    tail: Option<Vec<u8>>,
}

impl<'a> InvocationLog<'a> {
    pub(crate) fn new(
        logs: &'a LogStore,
        function: &FunctionName,
        stream: Arc<str>,
        request_id: RequestId,
        bytes_max: usize,
        wants_tail: bool,
    ) -> Self {
        Self {
            logs,
            function: function.clone(),
            stream,
            request_id,
            before: Vec::new(),
            capture: LogCapture::new(bytes_max),
            tail: wants_tail.then(Vec::new),
        }
    }

    /// Puts lines in front of the invocation's own.
    pub(crate) fn precede(&mut self, lines: Vec<LogLine>) {
        self.before.extend(lines);
    }

    /// Hands over the lines that are complete, so that they can be followed.
    pub(crate) async fn flush(&mut self) {
        let lines = self.capture.take();
        self.hand_over(lines).await;
    }

    /// Hands over all that is left, and gives up the tail.
    pub(crate) async fn finish(mut self) -> Option<Bytes> {
        let lines = self.capture.finish();
        self.hand_over(lines).await;
        self.tail.map(Bytes::from)
    }

    async fn hand_over(&mut self, lines: Vec<LogLine>) {
        let lines = match self.before.is_empty() {
            true => lines,
            false => std::mem::take(&mut self.before)
                .into_iter()
                .chain(lines)
                .collect(),
        };
        let events: Vec<LogEvent> = lines.into_iter().map(event).collect();
        if events.is_empty() {
            return;
        }
        if let Some(tail) = &mut self.tail {
            extend_tail(tail, &events);
        }
        let batch = LogBatch {
            function: self.function.clone(),
            stream: self.stream.clone(),
            request_id: Some(self.request_id),
            events,
        };
        self.logs.append(batch).await;
    }
}

/// Keeps lines that belong to no invocation.
pub(crate) async fn outside(logs: &LogStore, function: &FunctionName, stream: &str, lines: Vec<LogLine>) {
    if lines.is_empty() {
        return;
    }
    let batch = LogBatch {
        function: function.clone(),
        stream: stream.into(),
        request_id: None,
        events: lines.into_iter().map(event).collect(),
    };
    logs.append(batch).await;
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn event(line: LogLine) -> LogEvent {
    LogEvent {
        at_ms: unix_ms(line.at),
        message: line.text,
    }
}

/// Appends lines and keeps the last [`TAIL_BYTES_MAX`] bytes. Only the end of a long log is ever copied.
fn extend_tail(tail: &mut Vec<u8>, events: &[LogEvent]) {
    let mut bytes = 0;
    let first = events.iter().rposition(|event| {
        bytes += event.message.len() + 1;
        bytes >= TAIL_BYTES_MAX
    });
    for event in &events[first.unwrap_or(0)..] {
        tail.extend_from_slice(event.message.as_bytes());
        tail.push(b'\n');
    }
    let over = tail.len().saturating_sub(TAIL_BYTES_MAX);
    tail.drain(..over);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(batches: &[&[&str]], expected: &str) {
        let mut tail = Vec::new();
        for batch in batches {
            let event = |text: &&str| LogEvent {
                at_ms: 0,
                message: (*text).to_owned(),
            };
            let events: Vec<_> = batch.iter().map(event).collect();
            extend_tail(&mut tail, &events);
        }
        assert_eq!(String::from_utf8_lossy(&tail), expected);
    }

    #[test]
    fn a_tail_is_the_last_four_kibibytes_over_all_batches() {
        let long = "x".repeat(3000);
        check(&[&["a", "b"], &["c"]], "a\nb\nc\n");
        check(
            &[&[&long], &[&long, "end"]],
            &format!("{}\n{long}\nend\n", "x".repeat(1090)),
        );
        check(
            &[&["first", &long, &long]],
            &format!("{}\n{long}\n", "x".repeat(1094)),
        );
        check(&[&[&"y".repeat(9000)]], &format!("{}\n", "y".repeat(4095)));
    }
}
