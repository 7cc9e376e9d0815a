//! What commands print: results on stdout, everything else on stderr, colour and motion on a terminal only.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use time::OffsetDateTime;
use time::macros::format_description;

/// How a table is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns, for people.
    #[default]
    Table,
    /// One JSON document, for programs.
    Json,
}

/// The reader of our stdout went away, as in `squall logs hello | head`; which is no failure.
/// A type of its own: a server's connection breaks with the same error of the system, and that is one.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads stdout any more")]
struct StdoutClosed;

/// Writes a line to stdout.
///
/// # Errors
/// When stdout is gone or full; see [`is_closed_pipe`].
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    stdout_result(
        out.write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush()),
    )
}

/// Writes bytes to stdout as they are, and a line end when they have none.
///
/// # Errors
/// As [`line`].
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let end: &[u8] = if bytes.ends_with(b"\n") { b"" } else { b"\n" };
    stdout_result(
        out.write_all(bytes)
            .and_then(|()| out.write_all(end))
            .and_then(|()| out.flush()),
    )
}

fn stdout_result(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        written => written.context("could not write to stdout"),
    }
}

/// Writes a line to stderr. Nobody is left to be told when that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a line to stderr, dim where it is a terminal that wants colour.
pub(crate) fn dim(text: &str) {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if coloured {
        note(&format!("\x1b[2m{text}\x1b[0m"));
    } else {
        note(text);
    }
}

/// Writes an error and its causes to stderr, as one line.
pub(crate) fn failure(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// Whether a command ended because the reader of our stdout went away.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<StdoutClosed>())
}

/// Whether people look at stdout.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns as wide as their widest cell, two spaces apart, nothing behind the last.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

/// Bytes as people say them: `512 B`, `1.4 KB`, `12.0 MB`; 1024 to the next.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KB", "MB", "GB"];
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Seconds are enough for people; UTC, as in logs.
pub(crate) fn moment(ms: i64) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let at = OffsetDateTime::from_unix_timestamp(ms / 1000).ok();
    at.and_then(|at| at.format(form).ok())
        .unwrap_or_else(|| ms.to_string())
}

/// A word for `sh`, as it is where that is safe, else in single quotes.
pub(crate) fn shell_quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Something that turns while long work is done; on a terminal only.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(text: impl Into<String>) -> Self {
        // Draws on stderr; hidden where that is not a terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(text.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(crate) fn step(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_a_shell_would_read_otherwise() {
        for (word, quoted) in [
            ("http://127.0.0.1:9400", "http://127.0.0.1:9400"),
            ("a+b/c=", "a+b/c="),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(rm -rf ~)", "'$(rm -rf ~)'"),
            ("a\nb", "'a\nb'"),
        ] {
            assert_eq!(shell_quote(word), quoted);
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in ["it's", "$HOME `id` \"x\" \\", "a\nb", "!!", "*"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_quote(word))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn only_our_own_stdout_may_close() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        let closed = stdout_result(Err(broken())).context("while printing");
        assert!(is_closed_pipe(&closed.expect_err("it is closed")));
        let connection = anyhow::Error::from(broken()).context("the connection broke");
        assert!(!is_closed_pipe(&connection));
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME  N\na     1\nlong");
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KB"),
            (52_428_800, "50.0 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
