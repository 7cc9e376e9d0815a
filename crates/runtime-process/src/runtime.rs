//! [`ProcessRuntime`]: decides how an instance of a revision is made, and keeps what its instances share.
//!
//! The dispatcher calls it through the trait `Runtime`. Per revision it holds folders and, for Python, one zygote;
//! both are made by whoever needs them first, and dropped by `rest` and `retire`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use squall_runtime::{Instance, InstanceId, NotOffered, Runtime, StartError};
use squall_types::{Revision, RevisionId, RuntimeName};
use tokio::sync::OnceCell;

use crate::config::{ProcessConfig, SetupError};
use crate::frame::{self, Channel, NearEnd};
use crate::interpreter::Interpreters;
use crate::managed::Managed;
use crate::process::{Process, Starter};
use crate::working_copy::Folders;
use crate::zygote::{NoZygote, Zygote};
use crate::{environment, python};

/// A zygote that ends this often is not started again for its revision.
const ZYGOTE_ENDS_MAX: u32 = 3;

/// Runs `python3.x` functions as processes of this host.
#[derive(Debug)]
pub struct ProcessRuntime {
    config: ProcessConfig,
    interpreters: Interpreters,
    starter: Starter,
    python_dir: PathBuf,
    revisions: Mutex<HashMap<RevisionId, Arc<Shared>>>,
}

/// What the instances of one revision share.
#[derive(Debug)]
struct Shared {
    folders: Folders,
    zygote: Mutex<ZygoteSlot>,
}

type ZygoteCell = Arc<OnceCell<Result<Zygote, NoZygote>>>;

#[derive(Debug, Default)]
struct ZygoteSlot {
    cell: ZygoteCell,
    ends: u32,
}

/// A process and the supervisor's end of its channel.
struct Started {
    process: Process,
    near: NearEnd,
    notice: Option<String>,
}

impl ProcessRuntime {
    /// Empties the run folder and writes the managed runtimes into it. Runs no interpreter yet.
    ///
    /// # Errors
    /// The run folder cannot be emptied or written.
    pub fn new(config: ProcessConfig) -> Result<Arc<Self>, SetupError> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        Self::with_path(config, &path)
    }

    fn with_path(mut config: ProcessConfig, path: &std::ffi::OsStr) -> Result<Arc<Self>, SetupError> {
        let dir = config.dir.clone();
        let failed = |cause: io::Error| SetupError {
            attempt: format!("prepare the run folder `{}`", dir.display()),
            cause,
        };
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::create_dir_all(&dir).map_err(failed)?;
        // Functions see this path in their environment, from another working directory.
        config.dir = fs::canonicalize(&dir).map_err(failed)?;
        let python_dir = python::write_runtime(&config.dir).map_err(failed)?;
        Ok(Arc::new(Self {
            interpreters: Interpreters::on(path),
            starter: Starter::new().map_err(failed)?,
            python_dir,
            revisions: Mutex::default(),
            config,
        }))
    }

    fn shared(&self, revision: &Revision) -> Arc<Shared> {
        let mut revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = revisions.entry(revision.id).or_insert_with(|| {
            Arc::new(Shared {
                folders: Folders::new(&self.config.dir, revision),
                zygote: Mutex::default(),
            })
        });
        Arc::clone(shared)
    }

    fn forget(&self, id: RevisionId) -> Option<Arc<Shared>> {
        let mut revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.remove(&id)
    }

    async fn create_python(&self, revision: &Revision, minor: u32) -> Result<Managed, String> {
        let interpreter = self
            .interpreters
            .python(minor)
            .ok_or_else(|| format!("`{}` is not installed on this host", revision.runtime))?;
        let shared = self.shared(revision);
        let task = shared
            .folders
            .task(&revision.code.dir)
            .await
            .map_err(|error| format!("copying its code failed: {error}"))?;
        let id = InstanceId::random();
        let tmp = shared
            .folders
            .instance_tmp(id)
            .await
            .map_err(|error| format!("making its private folder failed: {error}"))?;
        let common = environment::of_revision(&self.config, revision, task);
        let environment = environment::of_instance(common.clone(), revision, id, &tmp);
        let started = self
            .start_python(revision, interpreter, &shared, task, common, &environment, tmp)
            .await?;
        let init = serde_json::json!({
            "handler": revision.handler,
            "task_root": task,
            "environment": environment,
            "response_bytes_max": self.config.response_bytes_max,
        });
        let exit = started.process.exit();
        Ok(Managed {
            id,
            channel: Channel::new(started.near, exit, self.config.response_bytes_max),
            process: started.process,
            init: init.to_string().into_bytes(),
            notice: started.notice,
            header: Vec::new(),
        })
    }

    /// A fork of the revision's zygote, or a fresh process where that is not possible.
    #[expect(
        clippy::too_many_arguments,
        reason = "two ways to start the one instance, each needs most of them"
    )]
    async fn start_python(
        &self,
        revision: &Revision,
        interpreter: &Path,
        shared: &Shared,
        task: &Path,
        common: BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
        tmp: PathBuf,
    ) -> Result<Started, String> {
        let cell = shared.zygote_cell();
        let zygote = cell
            .get_or_init(|| self.start_zygote(revision, interpreter, task, common))
            .await;
        let notice = match zygote {
            Ok(zygote) => {
                let (near, far) = frame::ends().map_err(|error| error.to_string())?;
                match zygote.fork(far, Some(tmp.clone())).await {
                    Ok(process) => {
                        return Ok(Started {
                            process,
                            near,
                            notice: None,
                        });
                    }
                    Err(reason) => format!("its zygote could not fork: {reason}"),
                }
            }
            Err(NoZygote::Unfit(reason) | NoZygote::Failed(reason)) => reason.clone(),
        };
        let (near, far) = frame::ends().map_err(|error| error.to_string())?;
        let script = self.python_dir.join("squall_main.py");
        let ends = (Some(far.log), far.socket);
        let launch = python::launch(interpreter, script, revision, environment.clone(), task, ends);
        let process = self.starter.start(launch, Some(tmp)).await;
        Ok(Started {
            process: process.map_err(|error| error.to_string())?,
            near,
            notice: Some(format!(
                "squall: started a fresh process, not a fork of a zygote: {notice}"
            )),
        })
    }

    async fn start_zygote(
        &self,
        revision: &Revision,
        interpreter: &Path,
        task: &Path,
        environment: BTreeMap<String, String>,
    ) -> Result<Zygote, NoZygote> {
        let script = self.python_dir.join("squall_zygote.py");
        let launch =
            |control| python::launch(interpreter, script, revision, environment, task, (None, control));
        let task_root = task.display().to_string();
        let zygote = Zygote::start(&self.starter, launch, &revision.handler, &task_root).await;
        if let Err(NoZygote::Unfit(reason) | NoZygote::Failed(reason)) = &zygote {
            tracing::info!(
                function = %revision.name, version = %revision.version, reason,
                "no zygote: starting fresh processes"
            );
        }
        zygote
    }
}

impl Shared {
    /// The cell of the present zygote; a new one when it has ended.
    fn zygote_cell(&self) -> ZygoteCell {
        let mut slot = self.zygote.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = matches!(slot.cell.get(), Some(Ok(zygote)) if zygote.ended());
        if ended && slot.ends < ZYGOTE_ENDS_MAX {
            slot.ends += 1;
            slot.cell = ZygoteCell::default();
        }
        Arc::clone(&slot.cell)
    }

    fn drop_zygote(&self) {
        let mut slot = self.zygote.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(zygote)) = slot.cell.get() {
            zygote.kill();
            slot.cell = ZygoteCell::default();
        }
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn offered(&self) -> Vec<RuntimeName> {
        let mut offered = self.interpreters.offered();
        offered.retain(is_supported);
        offered
    }

    fn check(&self, runtime: &RuntimeName) -> Result<(), NotOffered> {
        let installed = match runtime {
            RuntimeName::Python { minor } => self.interpreters.python(*minor).is_some(),
            RuntimeName::Node { .. } | RuntimeName::Provided(_) | RuntimeName::Other(_) => false,
        };
        if installed {
            return Ok(());
        }
        let offered: Vec<String> = self.offered().iter().map(ToString::to_string).collect();
        Err(NotOffered {
            asked: runtime.clone(),
            offered: offered.join(", "),
        })
    }

    async fn create(&self, revision: &Arc<Revision>) -> Result<Box<dyn Instance>, StartError> {
        let failed = |reason| StartError {
            function: format!("{}:{}", revision.name, revision.version),
            reason,
        };
        match &revision.runtime {
            RuntimeName::Python { minor } => {
                let instance = self.create_python(revision, *minor).await.map_err(failed)?;
                Ok(Box::new(instance))
            }
            other => Err(failed(format!("the runtime `{other}` cannot run here"))),
        }
    }

    async fn rest(&self, revision: RevisionId) {
        let revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = revisions.get(&revision) {
            shared.drop_zygote();
        }
    }

    async fn retire(&self, revision: RevisionId) {
        let Some(shared) = self.forget(revision) else {
            return;
        };
        shared.drop_zygote();
        if let Err(error) = shared.folders.remove().await {
            tracing::warn!(%revision, %error, "could not remove the folders of a retired revision");
        }
    }

    async fn shutdown(&self) {
        let all: Vec<Arc<Shared>> = {
            let mut revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
            revisions.drain().map(|(_, shared)| shared).collect()
        };
        for shared in all {
            shared.drop_zygote();
        }
    }
}

fn is_supported(runtime: &RuntimeName) -> bool {
    matches!(runtime, RuntimeName::Python { .. })
}
