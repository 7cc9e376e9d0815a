//! Stops what has been idle for too long. Sleeps until the first instance can be due: an idle server is not woken.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use crate::dispatcher::Inner;

/// Runs until it is dropped.
pub(crate) async fn run(inner: &Arc<Inner>) {
    loop {
        let (effects, next) = inner
            .state()
            .pools
            .reap(Instant::now(), inner.config.idle_timeout);
        inner.carry_out(effects);
        // What becomes idle after this look is due later than that.
        sleep_until(next).await;
    }
}
