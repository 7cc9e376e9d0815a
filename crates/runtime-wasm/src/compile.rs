//! Compiling, in a process of its own with limits: a guest that is made to break the compiler breaks only that.
//!
//! The server starts its own executable again, which calls [`compile_in_child`]: it limits itself, reads one file,
//! writes one file, and says on standard error what is wrong with the guest.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::artifact::{self, Format};
use crate::engine;

/// Seconds of CPU that one compilation may take. A 13 MB JavaScript component takes 24.
const CPU_SECS_MAX: u64 = 300;
/// Address space that it may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// How long it may take by the clock, on a busy machine.
const WALL_MAX: Duration = Duration::from_secs(600);
/// Calls go first where the machine is busy.
const NICENESS: i32 = 10;
/// The most of its complaint that is kept.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This executable with these first arguments; the input and the output path follow.
    Child(PathBuf, Vec<String>),
    /// The calling process, without limits: for tests.
    InProcess,
}

/// Why a file was not compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CompileError {
    /// The guest's fault, in words for its owner.
    #[error("{0}")]
    Guest(String),
    /// It took more than it may: the guest's fault too.
    #[error(
        "compiling took more than {CPU_SECS_MAX} s of CPU, {} GiB of memory or {} s",
        MEMORY_BYTES_MAX >> 30,
        WALL_MAX.as_secs()
    )]
    Limit,
    /// Our fault.
    #[error("could not run the compiler: {0}")]
    Io(Arc<std::io::Error>),
    /// The server stops.
    #[error("the server stopped before the code was compiled")]
    Stopped,
}

impl From<std::io::Error> for CompileError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl Compiler {
    /// Compiles `input` into `output`, which does not exist yet. Dropping the future kills the child.
    pub(crate) async fn compile(&self, input: &Path, output: &Path) -> Result<(), CompileError> {
        match self {
            Self::InProcess => compile(input, output).map_err(CompileError::Guest),
            Self::Child(executable, arguments) => {
                let mut command = Command::new(executable);
                command.args(arguments).arg(input).arg(output);
                run(command).await
            }
        }
    }
}

async fn run(mut command: Command) -> Result<(), CompileError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .env_clear();
    let mut child = command.spawn()?;
    let mut complaint = Vec::new();
    let ended = async {
        if let Some(stderr) = child.stderr.take() {
            stderr
                .take(COMPLAINT_BYTES_MAX)
                .read_to_end(&mut complaint)
                .await?;
        }
        child.wait().await
    };
    let Ok(status) = tokio::time::timeout(WALL_MAX, ended).await else {
        return Err(CompileError::Limit);
    };
    match status?.code() {
        Some(0) => Ok(()),
        Some(_) => Err(CompileError::Guest(
            String::from_utf8_lossy(&complaint).trim().to_owned(),
        )),
        // The kernel ended it at a limit, or the compiler gave up for want of memory.
        None => Err(CompileError::Limit),
    }
}

/// The whole life of the compiling process: limits itself, compiles, and says what is wrong.
///
/// # Errors
/// What to print on standard error before exiting with a status other than 0.
pub fn compile_in_child(input: &Path, output: &Path) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    let refused = |error: rustix::io::Errno| format!("could not limit the compiler: {error}");
    let limit = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(refused)
    };
    limit(Resource::Cpu, CPU_SECS_MAX)?;
    limit(Resource::As, MEMORY_BYTES_MAX)?;
    limit(Resource::Core, 0)?;
    nice(NICENESS).map_err(refused)?;
    compile(input, output)
}

fn compile(input: &Path, output: &Path) -> Result<(), String> {
    let (format, wasm) = artifact::read(input).map_err(|error| error.to_string())?;
    let engine = engine::compiling().map_err(|error| format!("could not make a compiler: {error:#}"))?;
    let code = match format {
        Format::Module => engine.precompile_module(&wasm),
        Format::Component => engine.precompile_component(&wasm),
    };
    let code = code.map_err(|error| format!("could not compile the WebAssembly: {error:#}"))?;
    std::fs::write(output, code).map_err(|error| format!("could not write the machine code: {error}"))
}
