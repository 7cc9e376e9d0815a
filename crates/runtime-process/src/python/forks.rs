//! How a Python instance is started: a fork of its revision's zygote, or a fresh process where that is not possible.
//!
//! `runtime` keeps one [`Forks`] per revision. The zygote is started by whoever needs it first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_types::Revision;
use tokio::sync::OnceCell;

use crate::cgroup::Cgroup;
use crate::frame::{self, NearEnd};
use crate::process::{Process, Starter};
use crate::python;
use crate::sandbox::{Room, Walls};
use crate::zygote::{NoZygote, Zygote};

/// A zygote that ends this often is not started again for its revision.
const ZYGOTE_ENDS_MAX: u32 = 3;

type ZygoteCell = Arc<OnceCell<Result<Zygote, NoZygote>>>;

/// The zygote of one revision, or why there is none.
#[derive(Debug, Default)]
pub(crate) struct Forks {
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    cell: ZygoteCell,
    ends: u32,
}

/// What an instance is started with.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) starter: &'a Starter,
    pub(crate) interpreter: &'a Path,
    pub(crate) runtime_dir: &'a Path,
    pub(crate) revision: &'a Revision,
    pub(crate) task: &'a Path,
    /// The variables that every instance of the revision has.
    pub(crate) common: &'a BTreeMap<String, String>,
    /// The variables of this one.
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) walls: &'a Arc<Walls>,
    pub(crate) room: Option<&'a Arc<Room>>,
}

/// A process, the supervisor's end of its channel, and a line for the function's log.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) near: NearEnd,
    pub(crate) notice: Option<String>,
}

impl Forks {
    pub(crate) async fn start(&self, plan: &Plan<'_>) -> Result<Started, String> {
        let cell = self.cell();
        let reason = match cell.get_or_init(|| start_zygote(plan)).await {
            Ok(zygote) => {
                let (near, far) = frame::ends().map_err(|error| error.to_string())?;
                match zygote.fork(far).await {
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
        start_fresh(plan, &reason).await
    }

    /// Ends the zygote. The next start makes another.
    pub(crate) fn drop_zygote(&self) {
        let mut slot = self.lock();
        if let Some(Ok(zygote)) = slot.cell.get() {
            zygote.kill();
            slot.cell = ZygoteCell::default();
        }
    }

    /// The cell of the present zygote; a new one when it has ended.
    fn cell(&self) -> ZygoteCell {
        let mut slot = self.lock();
        let ended = matches!(slot.cell.get(), Some(Ok(zygote)) if zygote.ended());
        if ended && slot.ends < ZYGOTE_ENDS_MAX {
            slot.ends += 1;
            slot.cell = ZygoteCell::default();
        }
        Arc::clone(&slot.cell)
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group for one process of the revision.
async fn cgroup(plan: &Plan<'_>) -> Result<Option<Arc<Cgroup>>, String> {
    let made = plan.walls.cgroup(python::allowance(plan.revision)).await;
    made.map_err(|error| format!("no control group could be made for it: {error}"))
}

async fn start_zygote(plan: &Plan<'_>) -> Result<Zygote, NoZygote> {
    let script = plan.runtime_dir.join("squall_zygote.py");
    let (revision, task) = (plan.revision, plan.task);
    let cgroup = cgroup(plan).await.map_err(NoZygote::Failed)?;
    let launch = |control| {
        let environment = plan.common.clone();
        python::launch(
            plan.interpreter,
            script,
            revision,
            environment,
            task,
            (None, control),
            (plan.walls, plan.room, cgroup),
        )
    };
    let task_root = task.display().to_string();
    let zygote = Zygote::start(plan.starter, launch, &revision.handler, &task_root).await;
    if let Err(NoZygote::Unfit(reason) | NoZygote::Failed(reason)) = &zygote {
        tracing::info!(
            function = %revision.name, version = %revision.version, reason,
            "no zygote: starting fresh processes"
        );
    }
    zygote
}

async fn start_fresh(plan: &Plan<'_>, reason: &str) -> Result<Started, String> {
    let (near, far) = frame::ends().map_err(|error| error.to_string())?;
    let script = plan.runtime_dir.join("squall_main.py");
    let ends = (Some(far.log), far.socket);
    let environment = plan.environment.clone();
    let launch = python::launch(
        plan.interpreter,
        script,
        plan.revision,
        environment,
        plan.task,
        ends,
        (plan.walls, plan.room, cgroup(plan).await?),
    );
    let process = plan.starter.start(launch).await;
    Ok(Started {
        process: process.map_err(|error| error.to_string())?,
        near,
        notice: Some(format!(
            "squall: started a fresh process, not a fork of a zygote: {reason}"
        )),
    })
}
