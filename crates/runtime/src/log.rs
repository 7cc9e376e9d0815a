//! What a function writes, cut into lines and bounded.
//!
//! An instance pushes the bytes that it reads from the function's output;
//! the dispatcher adds Lambda's own lines and hands the whole to the log store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// One line of a function's log, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub at: SystemTime,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Collects one invocation's lines, up to a number of bytes. A clone shares them: while an instance writes, the
/// dispatcher takes what is there, so that a long invocation can be followed.
///
/// Past the bound it counts and drops, and [`finish`](Self::finish) ends with a line that says how much was dropped.
#[derive(Debug, Clone)]
pub struct LogCapture {
    captured: Arc<Mutex<Captured>>,
}

#[derive(Debug)]
struct Captured {
    lines: Vec<LogLine>,
    /// The line that has no end yet.
    partial: Vec<u8>,
    bytes_kept: usize,
    bytes_max: usize,
    bytes_dropped: u64,
}

/// A line longer than this is cut in two, so that one line never holds everything (CloudWatch's limit per event).
const LINE_BYTES_MAX: usize = 256 * 1024;

impl LogCapture {
    /// An empty capture that keeps at most `bytes_max` bytes of text.
    pub fn new(bytes_max: usize) -> Self {
        let captured = Captured {
            lines: Vec::new(),
            partial: Vec::new(),
            bytes_kept: 0,
            bytes_max,
            bytes_dropped: 0,
        };
        Self {
            captured: Arc::new(Mutex::new(captured)),
        }
    }

    /// Takes output as it was read; a line may come in pieces.
    pub fn push(&mut self, output: &[u8]) {
        self.captured().push(output);
    }

    /// Adds a whole line of the platform's own. It is kept even when the bound is reached.
    pub fn line(&mut self, text: String) {
        self.captured().line(text);
    }

    /// Gives up the lines that are complete. The bound goes on counting, and a line without an end stays.
    pub fn take(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.captured().lines)
    }

    /// Ends an unfinished line, says what was dropped, and gives up the lines.
    pub fn finish(&mut self) -> Vec<LogLine> {
        self.captured().finish()
    }

    /// Whether nothing has been written, or all of it was given up.
    pub fn is_empty(&self) -> bool {
        let captured = self.captured();
        captured.lines.is_empty() && captured.partial.is_empty() && captured.bytes_dropped == 0
    }

    fn captured(&self) -> MutexGuard<'_, Captured> {
        // Whatever panicked, the lines that were added before are whole.
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Captured {
    fn push(&mut self, mut output: &[u8]) {
        while !output.is_empty() {
            let end = output.iter().position(|&b| b == b'\n');
            let piece = &output[..end.unwrap_or(output.len())];
            self.extend_partial(piece);
            match end {
                Some(end) => {
                    self.end_line();
                    output = &output[end + 1..];
                }
                None => break,
            }
        }
    }

    fn line(&mut self, text: String) {
        self.end_partial();
        self.lines.push(LogLine {
            at: SystemTime::now(),
            text,
        });
    }

    fn finish(&mut self) -> Vec<LogLine> {
        self.end_partial();
        if self.bytes_dropped > 0 {
            let text = format!(
                "squall: dropped {} bytes of output past the limit of {} bytes per invocation",
                self.bytes_dropped, self.bytes_max
            );
            self.lines.push(LogLine {
                at: SystemTime::now(),
                text,
            });
            self.bytes_dropped = 0;
        }
        self.bytes_kept = 0;
        std::mem::take(&mut self.lines)
    }

    fn extend_partial(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let room = self.bytes_max.saturating_sub(self.bytes_kept);
            let take = piece.len().min(room).min(LINE_BYTES_MAX - self.partial.len());
            if room == 0 {
                self.bytes_dropped += piece.len() as u64;
                return;
            }
            self.partial.extend_from_slice(&piece[..take]);
            self.bytes_kept += take;
            piece = &piece[take..];
            if self.partial.len() == LINE_BYTES_MAX {
                self.end_line();
            }
        }
    }

    fn end_partial(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if self.partial.is_empty() && self.bytes_dropped > 0 {
            return;
        }
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        self.lines.push(LogLine {
            at: SystemTime::now(),
            text,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes_max: usize, writes: &[&str], expected: &[&str]) {
        let mut capture = LogCapture::new(bytes_max);
        for write in writes {
            capture.push(write.as_bytes());
        }
        let lines: Vec<String> = capture.finish().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn joins_a_line_that_comes_in_pieces() {
        check(100, &["hel", "lo\nwor", "ld"], &["hello", "world"]);
    }

    #[test]
    fn keeps_empty_lines() {
        check(100, &["a\n\nb\n"], &["a", "", "b"]);
    }

    #[test]
    fn says_how_much_it_dropped() {
        check(
            6,
            &["hello\nworld\n", "more\n"],
            &[
                "hello",
                "w",
                "squall: dropped 8 bytes of output past the limit of 6 bytes per invocation",
            ],
        );
    }

    #[test]
    fn lines_are_taken_while_another_handle_writes() {
        let mut reader = LogCapture::new(8);
        let mut writer = reader.clone();
        let texts = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        writer.push(b"one\ntw");
        assert_eq!(texts(reader.take()), ["one"]);
        writer.push(b"o\nthree\n");
        assert_eq!(
            texts(reader.finish()),
            [
                "two",
                "th",
                "squall: dropped 3 bytes of output past the limit of 8 bytes per invocation"
            ],
            "what was taken counts against the bound"
        );
    }

    #[test]
    fn an_unfinished_line_ends_before_a_line_of_the_platform() {
        let mut capture = LogCapture::new(100);
        capture.push(b"no newline");
        capture.line("END".into());
        let lines: Vec<String> = capture.finish().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["no newline", "END"]);
    }
}
