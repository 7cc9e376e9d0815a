//! A zygote: a Python process that has imported a revision's packages and forks its instances.
//!
//! `runtime` keeps at most one per revision. The messages are described in `squall_zygote.py`.
//! One task reads what the zygote says; it ends when the zygote does, and every fork that was asked for then fails.

mod control;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use squall_runtime::Exit;
use tokio::sync::oneshot;

use self::control::Control;
use crate::frame::FarEnd;
use crate::process::{Launch, Process, Starter};

/// Forking takes a few milliseconds. A zygote that takes this long is kept from it by what its instances have left, and
/// is ended with all of them; a fresh process still starts in time for who waits.
const FORK_MAX: Duration = Duration::from_secs(10);

/// A zygote that is ready to fork.
#[derive(Debug)]
pub(crate) struct Zygote {
    control: Arc<Control>,
    waiting: Arc<Mutex<Waiting>>,
    number: AtomicU64,
    process: Process,
}

/// Why there is no zygote.
#[derive(Debug, Clone)]
pub(crate) enum NoZygote {
    /// It works, but its forks would not be right.
    Unfit(String),
    /// It could not be started, or ended at once.
    Failed(String),
}

#[derive(Debug, Default)]
struct Waiting {
    forks: HashMap<u64, oneshot::Sender<Result<Fork, String>>>,
    exits: HashMap<i32, oneshot::Sender<Exit>>,
    ended: bool,
}

/// A fork before anybody watches it.
#[derive(Debug)]
struct Fork {
    pidfd: Option<OwnedFd>,
    exit: Option<oneshot::Receiver<Exit>>,
}

impl Drop for Fork {
    /// Whoever asked for it has gone.
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Ready {
        ready: bool,
    },
    Unfit {
        unfit: String,
    },
    /// `pid` is the number in the zygote's own namespace: no signal of the server goes by it.
    Forked {
        forked: u64,
        pid: i32,
    },
    Failed {
        failed: u64,
        reason: String,
    },
    Exited {
        exited: i32,
        status: i32,
    },
}

impl Zygote {
    /// Starts one and waits until it has imported what it can.
    pub(crate) async fn start(
        starter: &Starter,
        launch: impl FnOnce(OwnedFd) -> Launch,
        handler: &str,
        task_root: &str,
    ) -> Result<Self, NoZygote> {
        let failed = |error: io::Error| NoZygote::Failed(error.to_string());
        let (control, far) = Control::pair().map_err(failed)?;
        let process = starter.start(launch(far)).await.map_err(failed)?;
        let hello = serde_json::json!({ "handler": handler, "task_root": task_root });
        control
            .send(hello.to_string().as_bytes(), &[])
            .await
            .map_err(failed)?;
        match control.receive().await.map_err(failed)? {
            Some((message, _)) => match serde_json::from_slice(&message) {
                Ok(Said::Ready { ready: true }) => {}
                Ok(Said::Unfit { unfit }) => return Err(NoZygote::Unfit(unfit)),
                _ => {
                    return Err(NoZygote::Failed(
                        "it said something else than that it is ready".to_owned(),
                    ));
                }
            },
            None => return Err(NoZygote::Failed("it ended while it imported packages".to_owned())),
        }
        let control = Arc::new(control);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn(listen(Arc::clone(&control), Arc::clone(&waiting)));
        Ok(Self {
            control,
            waiting,
            number: AtomicU64::new(0),
            process,
        })
    }

    /// Whether it has ended.
    pub(crate) fn ended(&self) -> bool {
        self.process.exit().borrow().is_some() || lock(&self.waiting).ended
    }

    /// Forks an instance. Dropping the future leaves none behind.
    pub(crate) async fn fork(&self, far: FarEnd) -> Result<Process, String> {
        let member = self.process.admit().map_err(|error| error.to_string())?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.ended {
                return Err("the zygote has ended".to_owned());
            }
            waiting.forks.insert(number, tell);
        }
        let message = format!("{{\"fork\":{number}}}");
        if let Err(error) = self
            .control
            .send(message.as_bytes(), &[&far.socket, &far.log])
            .await
        {
            lock(&self.waiting).forks.remove(&number);
            return Err(error.to_string());
        }
        drop(far);
        let Ok(told) = tokio::time::timeout(FORK_MAX, told).await else {
            self.kill();
            return Err(format!(
                "the zygote did not fork within {FORK_MAX:?}, and was ended"
            ));
        };
        let mut fork = told.map_err(|_| "the zygote has ended".to_owned())??;
        let (Some(pidfd), Some(exit)) = (fork.pidfd.take(), fork.exit.take()) else {
            return Err("the zygote sent no pidfd".to_owned());
        };
        Process::watch_fork(pidfd, exit, member).map_err(|error| error.to_string())
    }

    /// Ends it, and its forks with it.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }
}

async fn listen(control: Arc<Control>, waiting: Arc<Mutex<Waiting>>) {
    // Also when this task panics: nobody would wait for a zygote to which nobody listens.
    let waiting = EndsWith(waiting);
    while let Ok(Some((message, pidfd))) = control.receive().await {
        match serde_json::from_slice(&message) {
            Ok(said) => lock(&waiting.0).hear(said, pidfd),
            Err(error) => {
                tracing::warn!(%error, "a zygote sent what is no message");
                break;
            }
        }
    }
}

/// Tells all who wait that the zygote has ended, when it is dropped.
struct EndsWith(Arc<Mutex<Waiting>>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        waiting.ended = true;
        waiting.forks.clear();
        waiting.exits.clear();
    }
}

impl Waiting {
    fn hear(&mut self, said: Said, pidfd: Option<OwnedFd>) {
        match said {
            Said::Forked { forked, pid } => {
                let (tell, exit) = oneshot::channel();
                self.exits.insert(pid, tell);
                let exit = Some(exit);
                // An asker that has gone drops the fork, which kills it.
                let fork = Fork { pidfd, exit };
                if let Some(asker) = self.forks.remove(&forked) {
                    let _ = asker.send(Ok(fork));
                }
            }
            Said::Failed { failed, reason } => {
                if let Some(asker) = self.forks.remove(&failed) {
                    let _ = asker.send(Err(reason));
                }
            }
            Said::Exited { exited, status } => {
                if let Some(watcher) = self.exits.remove(&exited) {
                    let _ = watcher.send(exit_of(status));
                }
            }
            Said::Ready { .. } | Said::Unfit { .. } => {}
        }
    }
}

/// From the number that `waitpid` gives.
fn exit_of(status: i32) -> Exit {
    match status & 0x7f {
        0 => Exit::Status((status >> 8) & 0xff),
        signal => Exit::Signal(signal),
    }
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    // The map is whole between any two statements, so a panic elsewhere does not spoil it.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor of a process that has ended and was reaped: the kernel gives it no number any more.
    fn pidfd_of_the_dead() -> OwnedFd {
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&child),
            rustix::process::PidfdFlags::empty(),
        );
        child.wait().expect("its end");
        pidfd.expect("its descriptor")
    }

    #[test]
    fn a_fork_that_has_ended_before_it_is_heard_of_is_handed_out_and_its_end_told() {
        let mut waiting = Waiting::default();
        let (tell, mut told) = oneshot::channel();
        waiting.forks.insert(7, tell);
        waiting.hear(Said::Forked { forked: 7, pid: 2 }, Some(pidfd_of_the_dead()));
        waiting.hear(Said::Exited { exited: 2, status: 9 }, None);
        let mut fork = told.try_recv().expect("an answer").expect("a fork");
        let mut exit = fork.exit.take().expect("its end is told");
        assert_eq!(exit.try_recv(), Ok(Exit::Signal(9)));
    }

    #[tokio::test]
    async fn a_listener_that_panics_leaves_nobody_waiting() {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (tell, told) = oneshot::channel();
        lock(&waiting).forks.insert(1, tell);
        let guard = EndsWith(Arc::clone(&waiting));
        let listener = tokio::spawn(async move {
            let _guard = guard;
            panic!("as by a fault of ours");
        });
        assert!(listener.await.is_err_and(|error| error.is_panic()));
        assert!(told.await.is_err() && lock(&waiting).ended);
    }
}
