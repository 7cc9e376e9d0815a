//! The interpreters of this host, found once and no sooner than somebody asks.
//!
//! `runtime` asks what is there, and has all tried ahead of the first instance. A candidate on `PATH` is run once, to see
//! that it works and, for Python, which executable stands behind a version manager's shim.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Once, OnceLock};

use squall_types::RuntimeName;

/// What was found on `PATH`.
#[derive(Debug)]
pub(crate) struct Interpreters {
    /// By minor version: the candidates in the order of `PATH`, and what they came to.
    python: BTreeMap<u32, Candidates>,
    node_candidates: Vec<PathBuf>,
    node: OnceLock<BTreeMap<u32, PathBuf>>,
    /// A thread tries all that there is, or has.
    ahead: Once,
}

#[derive(Debug, Default)]
struct Candidates {
    paths: Vec<PathBuf>,
    found: OnceLock<Option<PathBuf>>,
}

/// The oldest Python that the runtime is written for.
const PYTHON_MINOR_MIN: u32 = 9;

impl Interpreters {
    /// Reads the folders of a `PATH`; runs nothing.
    pub(crate) fn on(path: &OsStr) -> Self {
        let mut python: BTreeMap<u32, Candidates> = BTreeMap::new();
        let mut node_candidates = Vec::new();
        for dir in std::env::split_paths(path) {
            for name in names(&dir) {
                let minor = name.strip_prefix("python3.").and_then(|minor| minor.parse().ok());
                if let Some(minor) = minor.filter(|&minor| minor >= PYTHON_MINOR_MIN) {
                    python.entry(minor).or_default().paths.push(dir.join(&name));
                } else if name == "node" {
                    node_candidates.push(dir.join(&name));
                }
            }
        }
        Self {
            python,
            node_candidates,
            node: OnceLock::new(),
            ahead: Once::new(),
        }
    }

    /// Tries them all on a thread of its own, once, so that nobody who starts an instance waits for
    /// [`folders`](Self::folders): a version manager's shims take a tenth of a second each.
    pub(crate) fn try_ahead(self: &Arc<Self>) {
        self.ahead.call_once(|| {
            let all = Arc::clone(self);
            let thread = std::thread::Builder::new().name("squall-find".to_owned());
            if let Err(error) = thread.spawn(move || all.offered()) {
                tracing::debug!(%error, "could not look for interpreters ahead of need");
            }
        });
    }

    /// The executable of Python 3.`minor`. Runs it the first time, so this may take a moment.
    pub(crate) fn python(&self, minor: u32) -> Option<&Path> {
        let candidates = self.python.get(&minor)?;
        let probe = || candidates.paths.iter().find_map(|path| probe_python(path, minor));
        candidates.found.get_or_init(probe).as_deref()
    }

    /// The executable of Node of this major version. Runs what there is the first time.
    pub(crate) fn node(&self, major: u32) -> Option<&Path> {
        self.nodes().get(&major).map(PathBuf::as_path)
    }

    /// Every runtime that has an interpreter. Tries them all, at the same time.
    pub(crate) fn offered(&self) -> Vec<RuntimeName> {
        std::thread::scope(|scope| {
            scope.spawn(|| self.nodes());
            for &minor in self.python.keys() {
                scope.spawn(move || self.python(minor));
            }
        });
        let python = self.python.keys().filter(|&&minor| self.python(minor).is_some());
        let node = self.nodes().keys();
        python
            .map(|&minor| RuntimeName::Python { minor })
            .chain(node.map(|&major| RuntimeName::Node { major }))
            .collect()
    }

    /// The folders of every interpreter that works: where it is installed, and where links to it lead.
    /// Tries them all, the first time.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.offered();
        let python = self
            .python
            .values()
            .filter_map(|found| found.found.get()?.clone());
        let mut folders = Vec::new();
        for executable in python.chain(self.nodes().values().cloned()) {
            let target = executable.canonicalize().unwrap_or_else(|_| executable.clone());
            for path in [executable, target] {
                // Above `bin`.
                let folder = path.parent().and_then(Path::parent).map(Path::to_owned);
                folders.extend(folder.filter(|folder| !folders.contains(folder)));
            }
        }
        folders
    }

    fn nodes(&self) -> &BTreeMap<u32, PathBuf> {
        self.node.get_or_init(|| {
            let mut found = BTreeMap::new();
            for path in &self.node_candidates {
                if let Some(major) = probe_node(path) {
                    found.entry(major).or_insert_with(|| path.clone());
                }
            }
            found
        })
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn probe_python(path: &Path, minor: u32) -> Option<PathBuf> {
    let script = "import sys; print(sys.version_info[1]); print(sys.executable)";
    let said = said_by(path, &["-I", "-S", "-c", script])?;
    let (version, executable) = said.trim_end().split_once('\n')?;
    (version.parse() == Ok(minor) && !executable.is_empty()).then(|| PathBuf::from(executable))
}

fn probe_node(path: &Path) -> Option<u32> {
    let said = said_by(path, &["--version"])?;
    said.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn said_by(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).ok())?
}
