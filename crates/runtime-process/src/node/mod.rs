//! Node: the runtime's source, how a process of it is started, and the booted workers that wait for a function.
//!
//! Node boots in some 80 ms and cannot fork, so once a Node function was started one worker per version is kept booted.
//! `runtime` takes from the [`Pool`], which then boots the next one, and empties it when a revision comes to rest.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cgroup::Allowance;
use crate::frame::{self, NearEnd};
use crate::process::{Launch, Process, Starter};
use crate::python::{OPEN_FILES_MAX, PROCESSES_MAX};
use crate::sandbox::{Limits, RUNTIME, Room, SOCKET_FD, Walls};

macro_rules! sdk {
    ($name:literal) => {
        include_str!(concat!("../../../../sdk/node/", $name))
    };
}

const SOURCES: [(&str, &str); 8] = [
    ("bootstrap.mjs", include_str!("runtime/bootstrap.mjs")),
    ("errors.mjs", include_str!("runtime/errors.mjs")),
    ("frames.mjs", include_str!("runtime/frames.mjs")),
    ("host.mjs", include_str!("runtime/host.mjs")),
    ("invocation.mjs", include_str!("runtime/invocation.mjs")),
    ("loader.mjs", include_str!("runtime/loader.mjs")),
    ("log.mjs", include_str!("runtime/log.mjs")),
    ("stream.mjs", include_str!("runtime/stream.mjs")),
];

/// What functions import. Node looks for a package in `node_modules` of every folder above the code.
const PACKAGE: &str = "node_modules/squall";
const PACKAGE_SOURCES: [(&str, &str); 7] = [
    ("buckets.js", sdk!("buckets.js")),
    ("errors.js", sdk!("errors.js")),
    ("index.js", sdk!("index.js")),
    ("index.mjs", sdk!("index.mjs")),
    ("lattices.js", sdk!("lattices.js")),
    ("package.json", sdk!("package.json")),
    ("values.js", sdk!("values.js")),
];

/// What Node reads when it boots. A function that sets one of these gets a process of its own.
const READ_AT_BOOT: [&str; 4] = ["NODE_", "UV_", "LD_", "SSL_"];

/// What a worker is booted for: the executable and the heap limit cannot be changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) interpreter: PathBuf,
    pub(crate) memory_mib: u32,
    pub(crate) allowance: Allowance,
    /// What its function sees: within walls a worker is of one function from its start.
    pub(crate) room: Option<Arc<Room>>,
}

/// A booted process that waits for INIT.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) near: NearEnd,
}

/// At most one waiting worker per interpreter.
#[derive(Debug)]
pub(crate) struct Pool {
    starter: Arc<Starter>,
    dir: PathBuf,
    walls: Arc<Walls>,
    waiting: Mutex<HashMap<PathBuf, (Kind, Worker)>>,
}

impl Pool {
    /// Writes the runtime's source below the run folder. Boots nothing.
    pub(crate) fn new(run_dir: &Path, starter: Arc<Starter>, walls: Arc<Walls>) -> io::Result<Arc<Self>> {
        let dir = run_dir.join("node");
        write(&dir, &SOURCES)?;
        write(&run_dir.join(PACKAGE), &PACKAGE_SOURCES)?;
        Ok(Arc::new(Self {
            starter,
            dir,
            walls,
            waiting: Mutex::default(),
        }))
    }

    /// Where the runtime's source is on the host.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A worker for a function with these variables of its own; one that waits where that is right.
    pub(crate) async fn take(
        self: &Arc<Self>,
        kind: Kind,
        own: &BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
    ) -> io::Result<Worker> {
        let special = |name: &String| READ_AT_BOOT.iter().any(|prefix| name.starts_with(prefix));
        if own.keys().any(special) {
            return self.boot(&kind, environment.clone()).await;
        }
        let waiting = self.lock().remove(&kind.interpreter);
        let worker = match waiting {
            Some((booted, worker)) if booted == kind && worker.process.exit().borrow().is_none() => worker,
            _ => self.boot(&kind, plain(environment)).await?,
        };
        let (pool, environment) = (Arc::clone(self), plain(environment));
        tokio::spawn(async move { pool.refill(kind, environment).await });
        Ok(worker)
    }

    /// Ends the workers that wait.
    pub(crate) fn empty(&self) {
        self.lock().clear();
    }

    async fn refill(&self, kind: Kind, environment: BTreeMap<String, String>) {
        match self.boot(&kind, environment).await {
            Ok(worker) => {
                self.lock().insert(kind.interpreter.clone(), (kind, worker));
            }
            Err(error) => tracing::warn!(%error, "could not boot a Node worker ahead of demand"),
        }
    }

    async fn boot(&self, kind: &Kind, mut environment: BTreeMap<String, String>) -> io::Result<Worker> {
        let (near, far) = frame::ends()?;
        environment.insert("SQUALL_SOCKET_FD".to_owned(), SOCKET_FD.to_string());
        let dir = match kind.room {
            Some(_) => PathBuf::from(RUNTIME),
            None => self.dir.clone(),
        };
        let launch = Launch {
            program: kind.interpreter.clone(),
            args: vec![
                OsString::from(format!("--max-old-space-size={}", kind.memory_mib)),
                dir.join("bootstrap.mjs").into(),
            ],
            environment,
            dir,
            log: Some(far.log),
            socket: Some(far.socket),
            limits: Limits {
                data_bytes_max: None,
                open_files_max: OPEN_FILES_MAX,
                file_bytes_max: None,
                processes_max: Some(PROCESSES_MAX),
            },
            walls: Arc::clone(&self.walls),
            room: kind.room.clone(),
            cgroup: self.walls.cgroup(kind.allowance).await?,
        };
        let process = self.starter.start(launch).await?;
        Ok(Worker { process, near })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Kind, Worker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(dir: &Path, sources: &[(&str, &str)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, text) in sources {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}

/// What a worker may know before it is given to a function: nothing of any function's.
fn plain(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let general = ["PATH", "LANG", "TZ"].into_iter();
    general
        .filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone())))
        .collect()
}
