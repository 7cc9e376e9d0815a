//! Machine code on disk, by the content of the WebAssembly and the engine that it was compiled for.
//!
//! Loading it runs it, so it is loaded only from a folder that the server alone writes, and only when its checksum
//! is the one that was written beside it. A file that is damaged, or of another engine, is compiled again.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, watch};

use crate::compile::{CompileError, Compiler};

/// What is larger is compiled for seconds, and does not hold up what is not.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;

/// The folder of machine code.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    fingerprint: String,
    compiler: Compiler,
    /// One compilation of large files at a time, for each uses all cores, and one of small ones beside it.
    compiling_large: Mutex<()>,
    compiling_small: Mutex<()>,
    stopping: watch::Sender<bool>,
}

impl Cache {
    /// Opens the folder for one engine. What another engine's code or an interrupted compilation left is removed.
    ///
    /// # Errors
    /// When it cannot be made, or not be cleaned.
    pub(crate) fn open(dir: PathBuf, fingerprint: String, compiler: Compiler) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if !stem.ends_with(&fingerprint) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self {
            dir,
            fingerprint,
            compiler,
            compiling_large: Mutex::default(),
            compiling_small: Mutex::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// The path of checked machine code for the file at `wasm`; compiles it where there is none.
    pub(crate) async fn machine_code(&self, wasm: &Path) -> Result<PathBuf, CompileError> {
        let turn = if tokio::fs::metadata(wasm).await?.len() > SMALL_BYTES_MAX {
            &self.compiling_large
        } else {
            &self.compiling_small
        };
        let name = checksum(wasm).await?;
        let path = self.dir.join(format!("{name}-{}.cwasm", self.fingerprint));
        if is_whole(&path).await {
            return Ok(path);
        }
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(CompileError::Stopped),
            compiled = self.compile(wasm, &path, turn) => compiled.map(|()| path),
        }
    }

    /// Removes machine code that the engine refused, checksum first: the next to ask has it compiled.
    pub(crate) async fn discard(&self, machine_code: &Path) -> io::Result<()> {
        for path in [&*checksum_path(machine_code), machine_code] {
            match tokio::fs::remove_file(path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends what is being compiled, and compiles nothing more.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Compiles beside the place and moves it there, checksum first: a crash leaves nothing that would be trusted.
    async fn compile(&self, wasm: &Path, path: &Path, turn: &Mutex<()>) -> Result<(), CompileError> {
        let _one_at_a_time = turn.lock().await;
        if is_whole(path).await {
            // Somebody else wanted the same, and came first.
            return Ok(());
        }
        let fresh = Fresh(self.dir.join(format!("{}.new", uuid::Uuid::new_v4().simple())));
        self.compiler.compile(wasm, &fresh.0).await?;
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

async fn install(fresh: &Path, path: &Path) -> io::Result<()> {
    tokio::fs::write(checksum_path(path), checksum(fresh).await?).await?;
    tokio::fs::rename(fresh, path).await
}

async fn is_whole(path: &Path) -> bool {
    let Ok(written) = tokio::fs::read_to_string(checksum_path(path)).await else {
        return false;
    };
    checksum(path).await.is_ok_and(|found| found == written)
}

/// The SHA-256 of a file, taken beside the threads that serve calls: 37 MB of machine code take tens of milliseconds.
async fn checksum(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    let hash = move || std::fs::read(path).map(|content| hex(&Sha256::digest(&content)));
    tokio::task::spawn_blocking(hash)
        .await
        .map_err(io::Error::other)?
}

fn checksum_path(path: &Path) -> PathBuf {
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
