//! What `ProcessRuntime` is told at its start, and what can go wrong then.

use std::path::PathBuf;

use squall_access::Sessions;
use squall_types::Home;

use crate::network::Doors;

/// Lambda's limit for a response: 6 MiB and 100 bytes.
pub const RESPONSE_BYTES_MAX: usize = 6_291_556;

/// Which walls are built around native functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallsWanted {
    /// All that this host allows; which are missing is said once.
    Auto,
    /// All, or nothing runs.
    Full,
    /// None. For looking for a fault; functions can then do what the server can.
    Off,
}

/// How native functions are run.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The run folder: working copies and private folders. Emptied at the start, so it must hold nothing else.
    pub dir: PathBuf,
    /// The account and region that functions see.
    pub home: Home,
    /// `AWS_ENDPOINT_URL` for functions, so that their SDK calls come back here.
    pub endpoint: Option<String>,
    /// The way to `endpoint` for functions without a network; `None` leaves them none.
    pub doors: Option<Doors>,
    /// Where each instance has credentials from; a function cannot override them. `None` gives it none.
    pub sessions: Option<Sessions>,
    /// Most bytes of a response.
    pub response_bytes_max: usize,
    /// The walls around functions.
    pub walls: WallsWanted,
    /// Folders of the host that all functions may read and write, within walls too.
    pub shared: Vec<PathBuf>,
    /// Folders that no function sees, also where a shared one holds them.
    pub hidden: Vec<PathBuf>,
}

impl ProcessConfig {
    /// The defaults, with working copies in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            home: Home::default(),
            endpoint: None,
            doors: None,
            sessions: None,
            response_bytes_max: RESPONSE_BYTES_MAX,
            walls: WallsWanted::Auto,
            shared: Vec::new(),
            hidden: Vec::new(),
        }
    }
}

/// Native functions cannot be run at all.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempt}: {cause}")]
pub struct SetupError {
    pub(crate) attempt: String,
    pub(crate) cause: std::io::Error,
}
