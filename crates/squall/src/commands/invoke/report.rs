//! What an invocation cost, as the REPORT line of its log says.

use std::fmt;

/// A REPORT line's figures, as text: they are shown, not counted with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    duration: String,
    billed: String,
    memory_size: String,
    memory_used: String,
    /// There only when the invocation started an instance.
    init: Option<String>,
}

impl Report {
    /// The last REPORT line of a log tail; `None` where there is none.
    pub(super) fn find(tail: &str) -> Option<Self> {
        let line = tail.lines().rev().find(|line| line.starts_with("REPORT "))?;
        let mut report = Self::default();
        for field in line.split('\t') {
            let Some((name, value)) = field.split_once(": ") else {
                continue;
            };
            let value = value.trim().to_owned();
            match name.trim() {
                "Duration" => report.duration = value,
                "Billed Duration" => report.billed = value,
                "Memory Size" => report.memory_size = value,
                "Max Memory Used" => report.memory_used = value,
                "Init Duration" => report.init = Some(value),
                _ => {}
            }
        }
        Some(report)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, billed {}, memory {} of {}",
            self.duration, self.billed, self.memory_used, self.memory_size
        )?;
        match &self.init {
            Some(init) => write!(f, ", cold start {init}"),
            None => f.write_str(", warm"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_cold_start_from_a_warm_call() {
        let line = "REPORT RequestId: 8f5a\tDuration: 1.29 ms\tBilled Duration: 2 ms\t\
                    Memory Size: 128 MB\tMax Memory Used: 31 MB\t";
        let check = |tail: String, expected: &str| {
            assert_eq!(Report::find(&tail).expect("a report").to_string(), expected);
        };
        check(
            format!("START RequestId: 8f5a\n{line}Init Duration: 4.10 ms\t\n"),
            "1.29 ms, billed 2 ms, memory 31 MB of 128 MB, cold start 4.10 ms",
        );
        check(
            format!("REPORT of mine\n{line}\n"),
            "1.29 ms, billed 2 ms, memory 31 MB of 128 MB, warm",
        );
        assert_eq!(Report::find("END RequestId: 8f5a"), None);
    }
}
