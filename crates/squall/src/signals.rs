//! SIGTERM and SIGINT: the first drains, the second exits.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports of a process that a second signal ended.
const EXIT_STATUS_INTERRUPTED: i32 = 130;

/// A token that the first signal cancels. A second signal ends the process at once:
/// what was acknowledged is durable, so nothing is lost by it.
///
/// # Errors
/// When the system refuses to watch signals.
pub(crate) fn first_drains_second_exits() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if times > 1 {
                tracing::warn!("second signal: exiting without draining");
                std::process::exit(EXIT_STATUS_INTERRUPTED);
            }
            stopped.cancel();
        }
    });
    Ok(stop)
}
