//! Machine code on disk, by the content of the WebAssembly and the engine that it was compiled for.
//!
//! Loading it runs it, so it is loaded only from a folder that the server alone writes, and only when its checksum
//! is the one that was written beside it. A file that is damaged, or of another engine, is compiled again, beside the
//! calls (`compilations`).
//! Revisions of one content share it. Each leaves an empty file `users/REVISION.CONTENT`, durable enough: one that a
//! crash loses costs a compilation, one that stays costs its machine code's room. The last to go takes it along.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use squall_runtime::Processors;
use squall_types::RevisionId;
use tokio::sync::{Mutex, watch};
use xxhash_rust::xxh3::Xxh3;

use crate::compilations::{Asker, Compilations};
use crate::compile::{CompileError, Compiler};

/// What is larger is compiled for seconds, and does not hold up what is not.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;
/// Files are hashed in pieces of this size: to read one whole costs more than to hash it.
const PIECE_BYTES: usize = 256 * 1024;
/// The folder of who uses what.
const USERS: &str = "users";

/// The folder of machine code.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    fingerprint: String,
    workshop: Arc<Workshop>,
    compilations: Compilations,
    /// The content of each revision, as the folder of users has it. Held while it changes, so that nobody takes away
    /// what another has just named.
    users: Mutex<HashMap<String, String>>,
}

/// Machine code that is there and whole.
pub(crate) struct MachineCode {
    pub(crate) path: PathBuf,
    /// This process has compiled it.
    pub(crate) is_fresh: bool,
}

impl Cache {
    /// Opens the folder for one engine. What another engine's code or an interrupted compilation left is removed.
    ///
    /// # Errors
    /// When it cannot be made, or not be cleaned.
    pub(crate) fn open(
        dir: PathBuf,
        fingerprint: String,
        compiler: Compiler,
        processors: Arc<dyn Processors>,
    ) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.join(USERS))?;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if !stem.ends_with(&fingerprint) && !entry.file_type()?.is_dir() {
                std::fs::remove_file(path)?;
            }
        }
        let users = std::fs::read_dir(dir.join(USERS))?
            .filter_map(|entry| match entry {
                Ok(entry) => {
                    let name = entry.file_name().into_string().ok()?;
                    let (revision, content) = name.split_once('.')?;
                    Some(Ok((revision.to_owned(), content.to_owned())))
                }
                Err(error) => Some(Err(error)),
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workshop: Arc::new(Workshop {
                dir: dir.clone(),
                compiler,
                processors,
                compiling_large: Mutex::default(),
                compiling_small: Mutex::default(),
                stopping: watch::Sender::new(false),
            }),
            dir,
            fingerprint,
            compilations: Compilations::default(),
            users: Mutex::new(users),
        })
    }

    /// Checked machine code for the file at `wasm`, which this revision uses from now on. Where there is none it waits
    /// for the one compilation of it, which goes on when the future is dropped.
    pub(crate) async fn machine_code(
        &self,
        wasm: &Path,
        revision: RevisionId,
        asker: Asker,
    ) -> Result<MachineCode, CompileError> {
        let content = content(wasm).await?;
        self.come(revision, &content).await?;
        let path = self.path(&content);
        if !is_whole(&path).await {
            if asker == Asker::Call {
                tracing::info!(%revision, content, "a call waits for machine code that is missing or damaged");
            }
            let compile = self.workshop.clone().work(wasm.to_owned(), path.clone());
            self.compilations.share(&content, asker, compile).await?;
            if !is_whole(&path).await {
                let damaged = "the machine code was removed or damaged as soon as it was written";
                return Err(io::Error::other(damaged).into());
            }
        }
        Ok(MachineCode {
            path,
            is_fresh: self.compilations.has_compiled(&content),
        })
    }

    /// Whether machine code is there for a revision that had some; whether it is whole shows when it is loaded.
    pub(crate) async fn has(&self, revision: RevisionId) -> bool {
        let users = self.users.lock().await;
        let Some(content) = users.get(&revision.to_string()) else {
            return false;
        };
        let path = self.path(content);
        drop(users);
        let is_there = async |path: &Path| tokio::fs::try_exists(path).await.unwrap_or(false);
        is_there(&path).await
            && (is_there(&checksum_path(&path)).await || is_there(&old_checksum_path(&path)).await)
    }

    /// Whether what a revision runs is being compiled.
    pub(crate) async fn is_compiling(&self, revision: RevisionId) -> bool {
        let users = self.users.lock().await;
        let content = users.get(&revision.to_string());
        content.is_some_and(|content| self.compilations.is_running(content))
    }

    fn path(&self, content: &str) -> PathBuf {
        self.dir.join(format!("{content}-{}.cwasm", self.fingerprint))
    }

    fn user(&self, revision: &str, content: &str) -> PathBuf {
        self.dir.join(USERS).join(format!("{revision}.{content}"))
    }

    async fn come(&self, revision: RevisionId, content: &str) -> io::Result<()> {
        let mut users = self.users.lock().await;
        if let Entry::Vacant(place) = users.entry(revision.to_string()) {
            tokio::fs::write(self.user(place.key(), content), b"").await?;
            place.insert(content.to_owned());
        }
        Ok(())
    }

    /// The revision will not be used again: machine code that it alone used goes.
    pub(crate) async fn leave(&self, revision: RevisionId) -> io::Result<()> {
        let revision = revision.to_string();
        let mut users = self.users.lock().await;
        let Some(content) = users.remove(&revision) else {
            return Ok(());
        };
        if !users.values().any(|used| *used == content) {
            self.compilations.forget(&content);
            self.discard(&self.path(&content)).await?;
        }
        // Last, so that a crash before it leaves a file that says what is there.
        remove(&self.user(&revision, &content)).await
    }

    /// Removes machine code that the engine refused, checksum first: the next to ask has it compiled.
    pub(crate) async fn discard(&self, machine_code: &Path) -> io::Result<()> {
        remove(&checksum_path(machine_code)).await?;
        remove(machine_code).await
    }

    /// Ends what is being compiled, and compiles nothing more.
    pub(crate) async fn stop(&self) {
        self.workshop.stopping.send_replace(true);
        self.compilations.ended().await;
    }
}

/// Where machine code is made.
#[derive(Debug)]
struct Workshop {
    dir: PathBuf,
    compiler: Compiler,
    processors: Arc<dyn Processors>,
    /// One compilation of large files at a time, for each uses all cores, and one of small ones beside it.
    compiling_large: Mutex<()>,
    compiling_small: Mutex<()>,
    stopping: watch::Sender<bool>,
}

impl Workshop {
    /// Compiles the file at `wasm` to `path` when it is its turn, until the server stops.
    async fn work(self: Arc<Self>, wasm: PathBuf, path: PathBuf) -> Result<(), CompileError> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(CompileError::Stopped),
            compiled = self.compile(&wasm, &path) => compiled,
        }
    }

    /// Compiles beside the place and moves it there, checksum first: a crash leaves nothing that would be trusted.
    async fn compile(&self, wasm: &Path, path: &Path) -> Result<(), CompileError> {
        let turn = if tokio::fs::metadata(wasm).await?.len() > SMALL_BYTES_MAX {
            &self.compiling_large
        } else {
            &self.compiling_small
        };
        let _one_at_a_time = turn.lock().await;
        if is_whole(path).await {
            // Somebody else wanted the same, and came first.
            return Ok(());
        }
        let fresh = Fresh(self.dir.join(format!("{}.new", uuid::Uuid::new_v4().simple())));
        // Its process is one of the server's: where the server has a group, it is in it.
        let long = self.processors.begin_long_call();
        self.compiler.compile(wasm, &fresh.0).await?;
        drop(long);
        Ok(install(&fresh.0, path).await?)
    }
}

/// A file that is being written: removed when this is dropped, if it has not been moved by then.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        // Mostly it has been moved; what cannot be removed is removed when the folder is opened again.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes a file that may be gone.
async fn remove(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn install(fresh: &Path, path: &Path) -> io::Result<()> {
    tokio::fs::write(checksum_path(path), checksum(fresh).await?).await?;
    tokio::fs::rename(fresh, path).await
}

async fn is_whole(path: &Path) -> bool {
    match tokio::fs::read_to_string(checksum_path(path)).await {
        Ok(written) => checksum(path).await.is_ok_and(|found| found == written),
        Err(_) => is_whole_by_sha256(path).await,
    }
}

/// What an older server has compiled has a SHA-256 beside it, and gets our checksum instead.
async fn is_whole_by_sha256(path: &Path) -> bool {
    let old = old_checksum_path(path);
    let Ok(written) = tokio::fs::read_to_string(&old).await else {
        return false;
    };
    if content(path).await.is_ok_and(|found| found == written)
        && let Ok(checksum) = checksum(path).await
    {
        return tokio::fs::write(checksum_path(path), checksum).await.is_ok() && remove(&old).await.is_ok();
    }
    false
}

/// Names a guest by what it is, whoever made it.
async fn content(wasm: &Path) -> io::Result<String> {
    hashed(
        wasm,
        Sha256::new(),
        |hash, piece| hash.update(piece),
        |hash| hex(&hash.finalize()),
    )
    .await
}

/// Tells whether a file of ours is whole. Nobody else writes it, so that a fast hash will do: 50 MB of machine code are
/// hashed on the way of a first call.
async fn checksum(path: &Path) -> io::Result<String> {
    let text = |hash: Xxh3| format!("{:032x}", hash.digest128());
    hashed(path, Xxh3::new(), |hash, piece| hash.update(piece), text).await
}

/// Hashes a file beside the threads that serve calls.
async fn hashed<H: Send + 'static>(
    path: &Path,
    mut hash: H,
    add: fn(&mut H, &[u8]),
    text: fn(H) -> String,
) -> io::Result<String> {
    use std::io::Read;
    let path = path.to_owned();
    let read = move || {
        let mut file = std::fs::File::open(path)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(text(hash)),
                Ok(bytes) => add(&mut hash, &piece[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(io::Error::other)?
}

fn checksum_path(path: &Path) -> PathBuf {
    path.with_extension("xxh3")
}

fn old_checksum_path(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
