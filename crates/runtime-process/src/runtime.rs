//! [`ProcessRuntime`]: decides how an instance of a revision is made, and keeps what its instances share.
//!
//! The dispatcher calls it through the trait `Runtime`. Per revision it holds folders and, for Python, one zygote;
//! both are made by whoever needs them first, and dropped by `rest` and `retire`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use squall_access::Issued;
use squall_runtime::network::Network;
use squall_runtime::{Instance, InstanceId, Processors, Runtime, StartError};
use squall_types::{MIB, PrepareError, Revision, RevisionId, RuntimeName};

use crate::config::{ProcessConfig, SetupError, WallsWanted};
use crate::contention::ServerTurns;
use crate::frame::{Channel, NearEnd};
use crate::interpreter::Interpreters;
use crate::log_pipe::LogPipe;
use crate::managed::Managed;
use crate::node::{Kind, Pool};
use crate::process::{Launch, Process, Starter};
use crate::provided::{Provided, Stillborn};
use crate::python::forks::{Forks, Plan};
use crate::runtime_api::RuntimeApi;
use crate::sandbox::{self, OwnNetwork, RUNTIME, Room, TASK, TMP, Wall, Walls};
use crate::working_copy::Folders;
use crate::{environment, network, python};

/// Runs functions as processes of this host: Python, Node, any executable.
#[derive(Debug)]
pub struct ProcessRuntime {
    config: ProcessConfig,
    interpreters: Arc<Interpreters>,
    starter: Arc<Starter>,
    walls: Arc<Walls>,
    python_dir: PathBuf,
    node_pool: Arc<Pool>,
    revisions: Mutex<HashMap<RevisionId, Arc<Shared>>>,
}

/// What the instances of one revision share.
#[derive(Debug)]
struct Shared {
    folders: Folders,
    /// What its instances see, made for the first.
    room: OnceLock<Arc<Room>>,
    forks: Forks,
}

/// What every instance needs, whatever runs it.
struct Prepared {
    id: InstanceId,
    shared: Arc<Shared>,
    /// Where the function's code is, for the function.
    task: PathBuf,
    /// What it sees; `None` is all that the server sees.
    room: Option<Arc<Room>>,
    /// A folder on the host that goes with the instance.
    tmp: Option<PathBuf>,
    common: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    credentials: Option<Issued>,
}

impl ProcessRuntime {
    /// Empties the run folder and writes the managed runtimes into it. Runs no interpreter yet.
    ///
    /// # Errors
    /// The run folder cannot be emptied or written.
    pub fn new(config: ProcessConfig) -> Result<Arc<Self>, SetupError> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        let dir = config.dir.clone();
        Self::set_up(config, &path).map_err(|cause| SetupError {
            attempt: format!("prepare the run folder `{}`", dir.display()),
            cause,
        })
    }

    fn set_up(mut config: ProcessConfig, path: &OsStr) -> io::Result<Arc<Self>> {
        match fs::remove_dir_all(&config.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&config.dir)?;
        // Functions see this path in their environment, from another working directory.
        config.dir = fs::canonicalize(&config.dir)?;
        let starter = Arc::new(Starter::new(config.doors.clone())?);
        let stage = config.dir.join("root");
        fs::create_dir(&stage)?;
        let walls = Arc::new(sandbox::build(config.walls, &stage)?);
        say(&walls, config.walls);
        Ok(Arc::new(Self {
            interpreters: Arc::new(Interpreters::on(path)),
            python_dir: python::write_runtime(&config.dir)?,
            node_pool: Pool::new(&config.dir, Arc::clone(&starter), Arc::clone(&walls))?,
            starter,
            walls,
            revisions: Mutex::default(),
            config,
        }))
    }

    /// The server's turns on the processors beside those of its functions, for functions that it runs itself.
    pub fn processors(&self) -> Arc<dyn Processors> {
        Arc::new(ServerTurns::of(self.walls.cgroups.clone()))
    }

    /// `runtime` is where the managed runtime's source is.
    async fn prepare_instance(
        &self,
        revision: &Revision,
        runtime: Option<&Path>,
    ) -> Result<Prepared, String> {
        let shared = self.shared(revision);
        let within = self.walls.has(Wall::Namespaces);
        let network = self.network(revision, runtime)?;
        let door = network.as_ref().map(|network| network.door);
        let copied = shared.folders.task(&revision.code.dir, within).await;
        let copy = copied.map_err(|error| format!("copying its code failed: {error}"))?;
        let id = InstanceId::random();
        let (task, room, tmp) = if within {
            let room = shared
                .room
                .get_or_init(|| Arc::new(self.room(revision, copy, runtime, network)));
            (PathBuf::from(TASK), Some(Arc::clone(room)), None)
        } else {
            let made = shared.folders.instance_tmp(id).await;
            let tmp = made.map_err(|error| format!("making its private folder failed: {error}"))?;
            (copy.to_owned(), None, Some(tmp))
        };
        let endpoint = match door {
            None => self.config.endpoint.clone(),
            Some(port) => port.map(|port| format!("http://127.0.0.1:{port}")),
        };
        let common = environment::of_revision(&self.config, revision, &task, endpoint.as_deref());
        let sessions = self.config.sessions.as_ref();
        let credentials = sessions
            .map(|sessions| sessions.issue(&revision.name))
            .transpose();
        let credentials = credentials.map_err(|error| error.to_string())?;
        let seen = tmp.as_deref().unwrap_or(Path::new(TMP));
        let environment = environment::of_instance(common.clone(), revision, id, seen, credentials.as_ref());
        Ok(Prepared {
            id,
            shared,
            task,
            room,
            tmp,
            common,
            environment,
            credentials,
        })
    }

    /// The network of a revision's own, where it is not to have the host's.
    fn network(&self, revision: &Revision, runtime: Option<&Path>) -> Result<Option<OwnNetwork>, String> {
        let asked = Network::of(&revision.environment)?;
        let own = network::own(&asked, self.config.doors.as_ref(), runtime.is_none());
        if own.is_some() && !self.walls.has(Wall::Network) {
            return Err(
                "it is not to have the host's network, and this server cannot build that wall".to_owned(),
            );
        }
        Ok(own)
    }

    fn room(
        &self,
        revision: &Revision,
        task: &Path,
        runtime: Option<&Path>,
        network: Option<OwnNetwork>,
    ) -> Room {
        // A folder that holds the server's own data is not shown because an interpreter happens to be in it.
        let is_safe =
            |folder: &PathBuf| folder.components().count() > 2 && !self.config.dir.starts_with(folder);
        let interpreters = self.interpreters.folders().into_iter();
        Room {
            task: task.to_owned(),
            runtime: runtime.map(Path::to_owned),
            packages: runtime.map(|_| self.config.dir.join("node_modules")),
            interpreters: interpreters
                .filter(|folder| !folder.starts_with("/usr") && is_safe(folder))
                .collect(),
            shared: self.config.shared.clone(),
            hidden: self.config.hidden.clone(),
            tmp_bytes_max: u64::from(revision.ephemeral_storage_mib) * MIB,
            uid: self.walls.uid(&revision.name.to_string()),
            function: revision.name.clone(),
            network,
        }
    }

    async fn create_python(&self, revision: &Revision, minor: u32) -> Result<Box<dyn Instance>, String> {
        let interpreter = self.interpreters.python(minor);
        let interpreter = interpreter.ok_or_else(|| not_installed(revision))?;
        let prepared = self.prepare_instance(revision, Some(&self.python_dir)).await?;
        let within = prepared.room.as_ref();
        let plan = Plan {
            starter: &self.starter,
            interpreter,
            runtime_dir: within.map_or(&self.python_dir, |_| Path::new(RUNTIME)),
            revision,
            task: &prepared.task,
            common: &prepared.common,
            environment: &prepared.environment,
            walls: &self.walls,
            room: within,
        };
        let started = prepared.shared.forks.start(&plan).await?;
        let mut instance = self.managed(revision, prepared, started.process, started.near);
        instance.notice = started.notice;
        Ok(Box::new(instance))
    }

    async fn create_node(&self, revision: &Revision, major: u32) -> Result<Box<dyn Instance>, String> {
        let interpreter = self.interpreters.node(major);
        let interpreter = interpreter.ok_or_else(|| not_installed(revision))?.to_owned();
        let prepared = self
            .prepare_instance(revision, Some(self.node_pool.dir()))
            .await?;
        let kind = Kind {
            interpreter,
            memory_mib: revision.memory_mib,
            allowance: python::allowance(revision),
            room: prepared.room.clone(),
        };
        let own = &revision.environment;
        let taken = self.node_pool.take(kind, own, &prepared.environment).await;
        let worker = taken.map_err(|error| error.to_string())?;
        Ok(Box::new(self.managed(
            revision,
            prepared,
            worker.process,
            worker.near,
        )))
    }

    async fn create_provided(&self, revision: &Revision) -> Result<Box<dyn Instance>, String> {
        let mut prepared = self.prepare_instance(revision, None).await?;
        let own = prepared
            .room
            .as_ref()
            .and_then(|room| room.network.as_ref()?.runtime_api);
        let unheard = |error: io::Error| format!("listening for its Runtime API failed: {error}");
        let bound = match own {
            Some(_) => None,
            None => Some(RuntimeApi::bind().await.map_err(unheard)?),
        };
        let (log, far) = LogPipe::new().map_err(|error| error.to_string())?;
        let cgroup = self.walls.cgroup(python::allowance(revision)).await;
        let cgroup = cgroup.map_err(|error| format!("no control group could be made for it: {error}"))?;
        let address = match (&bound, own) {
            (Some(api), _) => api.addr().to_string(),
            (None, port) => format!("127.0.0.1:{}", port.unwrap_or_default()),
        };
        prepared
            .environment
            .insert("AWS_LAMBDA_RUNTIME_API".to_owned(), address);
        let launch = Launch {
            program: prepared.task.join("bootstrap"),
            args: Vec::new(),
            environment: prepared.environment,
            dir: prepared.task,
            log: Some(far),
            socket: None,
            limits: python::limits(revision),
            walls: Arc::clone(&self.walls),
            room: prepared.room,
            cgroup,
        };
        let id = prepared.id;
        match self.starter.start(launch).await {
            Ok(mut process) => {
                let passed = process.take_runtime_api().map(RuntimeApi::on);
                let passed = passed.transpose().map_err(unheard)?;
                let api = bound.or(passed).ok_or("it has no Runtime API")?;
                if let Some(tmp) = prepared.tmp {
                    process.discard_at_end(tmp);
                }
                Ok(Box::new(Provided {
                    id,
                    process,
                    api,
                    log,
                    _credentials: prepared.credentials,
                }))
            }
            Err(error) => match Stillborn::from_error(id, &error) {
                Some(instance) => Ok(Box::new(instance)),
                None => Err(error.to_string()),
            },
        }
    }

    fn managed(&self, revision: &Revision, prepared: Prepared, process: Process, near: NearEnd) -> Managed {
        let init = init_header(revision, &prepared.task, &prepared.environment, &self.config);
        if let Some(tmp) = prepared.tmp {
            process.discard_at_end(tmp);
        }
        let exit = process.exit();
        Managed {
            id: prepared.id,
            process,
            channel: Channel::new(near, exit, self.config.response_bytes_max),
            init,
            notice: None,
            header: Vec::new(),
            _credentials: prepared.credentials,
        }
    }

    fn shared(&self, revision: &Revision) -> Arc<Shared> {
        let mut revisions = self.revisions();
        let shared = revisions.entry(revision.id).or_insert_with(|| {
            Arc::new(Shared {
                folders: Folders::new(&self.config.dir, revision),
                room: OnceLock::new(),
                forks: Forks::default(),
            })
        });
        Arc::clone(shared)
    }

    fn revisions(&self) -> MutexGuard<'_, HashMap<RevisionId, Arc<Shared>>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn offered(&self) -> Vec<RuntimeName> {
        let provided = ["provided", "provided.al2", "provided.al2023"];
        let mut offered = self.interpreters.offered();
        offered.extend(provided.map(|name| RuntimeName::from(name.to_owned())));
        offered
    }

    fn offers(&self, runtime: &RuntimeName) -> bool {
        match runtime {
            RuntimeName::Python { minor } => self.interpreters.python(*minor).is_some(),
            RuntimeName::Node { major } => self.interpreters.node(*major).is_some(),
            RuntimeName::Provided(_) => true,
            RuntimeName::Wasm | RuntimeName::Other(_) => false,
        }
    }

    async fn prepare(&self, revision: &Arc<Revision>) -> Result<(), PrepareError> {
        // What is deployed is called soon.
        self.interpreters.try_ahead();
        let asked = Network::of(&revision.environment);
        asked.map(drop).map_err(PrepareError::Code)
    }

    async fn is_prepared(&self, revision: &Arc<Revision>) -> bool {
        // What is asked of when the server starts is called soon, and nothing else is prepared.
        if !matches!(revision.runtime, RuntimeName::Wasm | RuntimeName::Other(_)) {
            self.interpreters.try_ahead();
        }
        true
    }

    async fn create(&self, revision: &Arc<Revision>) -> Result<Box<dyn Instance>, StartError> {
        let created = match &revision.runtime {
            RuntimeName::Python { minor } => self.create_python(revision, *minor).await,
            RuntimeName::Node { major } => self.create_node(revision, *major).await,
            RuntimeName::Provided(_) => self.create_provided(revision).await,
            RuntimeName::Wasm | RuntimeName::Other(_) => Err(not_installed(revision)),
        };
        created.map_err(|reason| StartError {
            function: format!("{}:{}", revision.name, revision.version),
            reason,
        })
    }

    async fn rest(&self, revision: RevisionId) {
        if let Some(shared) = self.revisions().get(&revision) {
            shared.forks.drop_zygote();
        }
        self.node_pool.empty();
    }

    async fn retire(&self, revision: RevisionId) {
        let Some(shared) = self.revisions().remove(&revision) else {
            return;
        };
        shared.forks.drop_zygote();
        if let Err(error) = shared.folders.remove().await {
            tracing::warn!(%revision, %error, "could not remove the folders of a retired revision");
        }
    }

    async fn shutdown(&self) {
        self.node_pool.empty();
        let all: Vec<Arc<Shared>> = self.revisions().drain().map(|(_, shared)| shared).collect();
        for shared in all {
            shared.forks.drop_zygote();
        }
    }
}

/// Tells once what stands around functions, and what does not.
fn say(walls: &Walls, wanted: WallsWanted) {
    let list: Vec<String> = walls.built.iter().map(ToString::to_string).collect();
    let built = list.join(", ");
    for (wall, reason) in &walls.missing {
        tracing::info!(%wall, reason, "functions run without a wall that this host does not allow");
    }
    match wanted {
        WallsWanted::Off => tracing::info!("functions run without walls: run only code that you trust"),
        WallsWanted::Auto | WallsWanted::Full => tracing::info!(built, "walls around functions"),
    }
}

fn init_header(
    revision: &Revision,
    task: &Path,
    environment: &BTreeMap<String, String>,
    config: &ProcessConfig,
) -> Vec<u8> {
    let init = serde_json::json!({
        "handler": revision.handler,
        "task_root": task,
        "environment": environment,
        "response_bytes_max": config.response_bytes_max,
    });
    init.to_string().into_bytes()
}

fn not_installed(revision: &Revision) -> String {
    format!("the runtime `{}` is not installed on this host", revision.runtime)
}
