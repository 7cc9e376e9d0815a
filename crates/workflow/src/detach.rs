//! A future that runs to its end even when its caller goes away: a disconnect does not stop a run.
//!
//! While the caller waits, it drives the work itself, so a direct call spawns nothing. When it drops the future
//! halfway, the rest goes to the set of tasks that it was made with.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work that its caller cannot stop.
pub(crate) struct Detached<T: 'static> {
    /// `None` once it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl<T: 'static> Detached<T> {
    /// Nothing runs before the first poll; from creation on, dropping does not lose the work.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static, tasks: &TaskTracker) -> Self {
        Self {
            work: Some(Box::pin(work)),
            tasks: tasks.clone(),
            runtime: Handle::current(),
        }
    }
}

impl<T: 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut().expect("not polled after it ended");
        let result = work.as_mut().poll(context);
        if result.is_ready() {
            self.work = None;
        }
        result
    }
}

impl<T: 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        // A work that panicked must not be polled again.
        if std::thread::panicking() {
            return;
        }
        if let Some(work) = self.work.take() {
            let rest = async move {
                work.await;
            };
            self.tasks.spawn_on(rest, &self.runtime);
        }
    }
}
