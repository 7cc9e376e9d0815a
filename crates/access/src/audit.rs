//! The audit log: who changed what, and who was denied what; a line of JSON each.
//!
//! Written before the change is made. Lines survive the process, not a power loss. The file is kept to a size: at
//! [`FILE_BYTES_MAX`] it becomes `….1`, and the `….1` before it goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::decide::{Denial, Principal};
use crate::keys::now_ms;

/// The most bytes of one file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is not written down where it is allowed: looking, and the daily work of functions, queues and state.
const DATA_ACTIONS: [&str; 15] = [
    "lambda:InvokeFunction",
    "lambda:InvokeFunctionUrl",
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "events:PutEvents",
    "logs:FilterLogEvents",
    "squall:PutState",
    "squall:DeleteState",
    "squall:RunDag",
    "squall:CancelRun",
    "squall:GetRun",
    "squall:RedriveEvent",
    "squall:DiscardEvent",
];

/// An audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writing: Mutex<Writing>,
    bytes_max: u64,
}

struct Writing {
    file: File,
    bytes: u64,
}

impl Audit {
    /// Opens the log at `path`, readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be opened or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, FILE_BYTES_MAX)
    }

    fn with_limit(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writing: Mutex::new(Writing::open(path)?),
            bytes_max,
        })))
    }

    /// Writes down what was decided about a call, if it is worth it: a change, or a denial.
    ///
    /// # Errors
    /// When the line could not be written: then nothing may be changed, either.
    pub fn record(
        &self,
        access_key_id: &str,
        principal: &Principal,
        (action, resource): (&str, &str),
        decided: Result<(), &Denial>,
    ) -> io::Result<()> {
        if decided.is_ok() && !is_change(action) {
            return Ok(());
        }
        let line = json!({
            "at_ms": now_ms(),
            "access_key_id": access_key_id,
            "principal": principal.arn,
            "action": action,
            "resource": resource,
            "allowed": decided.is_ok(),
            "reason": decided.err().map(ToString::to_string),
        });
        let line = format!("{line}\n");
        let mut writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.bytes > 0 && writing.bytes + line.len() as u64 > self.0.bytes_max {
            let mut old = self.0.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.0.path, old)?;
            *writing = Writing::open(&self.0.path)?;
        }
        writing.file.write_all(line.as_bytes())?;
        writing.bytes += line.len() as u64;
        Ok(())
    }
}

impl Writing {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

fn is_change(action: &str) -> bool {
    let verb = action.split_once(':').map_or(action, |(_, verb)| verb);
    let looks = ["Get", "List", "Describe"]
        .iter()
        .any(|prefix| verb.starts_with(prefix));
    !looks && !DATA_ACTIONS.contains(&action)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Request, decide};

    fn ada() -> Principal {
        Principal {
            arn: "arn:aws:iam::000000000000:user/ada".to_owned(),
            account: "000000000000".to_owned(),
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).expect("readable");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[test]
    fn changes_and_denials_are_written_down_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).expect("opened");
        let write = |action: &str| {
            audit
                .record("KEY", &ada(), (action, "*"), Ok(()))
                .expect("written")
        };
        for action in [
            "lambda:GetFunction",
            "lambda:InvokeFunction",
            "sqs:SendMessage",
            "lambda:CreateFunction",
        ] {
            write(action);
        }
        let request = Request {
            action: "lambda:GetFunction",
            resource: "f",
            account: "0",
            context: &[],
        };
        let denial = decide(&ada(), &[], None, request).expect_err("denied");
        let decided = Err(&denial);
        audit
            .record("KEY", &ada(), ("lambda:GetFunction", "f"), decided)
            .expect("written");
        let audit = Audit::open(&path).expect("opened again");
        audit
            .record("KEY", &ada(), ("squall:CreateKey", "k"), Ok(()))
            .expect("written");

        let lines = lines(&path);
        let seen: Vec<(&str, bool)> = lines
            .iter()
            .map(|line| (line["action"].as_str().expect("text"), line["allowed"] == true))
            .collect();
        assert_eq!(
            seen,
            [
                ("lambda:CreateFunction", true),
                ("lambda:GetFunction", false),
                ("squall:CreateKey", true)
            ]
        );
        assert_eq!(lines[1]["reason"], denial.to_string());
        assert_eq!(lines[0]["principal"], ada().arn);
    }

    #[test]
    fn the_file_is_kept_to_a_size() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::with_limit(&path, 600).expect("opened");
        for number in 0..20 {
            let resource = number.to_string();
            let asked = ("lambda:CreateFunction", resource.as_str());
            audit.record("KEY", &ada(), asked, Ok(())).expect("written");
        }
        let newest = lines(&path);
        assert_eq!(newest.last().expect("a line")["resource"], "19");
        let old = lines(&dir.path().join("audit.jsonl.1"));
        let next: i64 = newest[0]["resource"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a number");
        assert_eq!(old.last().expect("a line")["resource"], (next - 1).to_string());
        assert!(std::fs::metadata(&path).expect("there").len() <= 600);
    }
}
