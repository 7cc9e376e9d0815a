//! What targets share that run futures.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Runs a future to its end, and lets go of what it has closed.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        let result = future.await;
        // Nothing in a target ever waits, and only a runtime that waits lets go of sockets that are closed.
        tokio::task::yield_now().await;
        result
    })
}
