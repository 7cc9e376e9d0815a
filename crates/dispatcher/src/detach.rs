//! A future that runs to its end even when its caller goes away (invariant 6).
//!
//! While the caller waits, it drives the work itself: the warm path spawns nothing. When it drops the future halfway,
//! the rest is handed to the dispatcher's own set of tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
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
    pub(crate) fn new(
        work: impl Future<Output = T> + Send + 'static,
        tasks: TaskTracker,
        runtime: Handle,
    ) -> Self {
        Self {
            work: Some(Box::pin(work)),
            tasks,
            runtime,
        }
    }
}

impl<T: Send + 'static> Detached<T> {
    /// Hands the rest over to the tasks at once.
    pub(crate) fn detach(mut self) -> JoinHandle<T> {
        let work = self.work.take().expect("it has not ended");
        self.tasks.spawn_on(work, &self.runtime)
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
            self.tasks.spawn_on(
                async move {
                    work.await;
                },
                &self.runtime,
            );
        }
    }
}
