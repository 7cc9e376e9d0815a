//! `--tls-cert` and `--tls-key`: read at the start, and again on SIGHUP.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Context;
use squall_gateway::Tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::up::UpArgs;

/// Everybody on the host may read it.
const READ_BY_OTHERS: u32 = 0o004;

/// What the command line asks for; `None` for HTTP without TLS.
///
/// # Errors
/// When a file cannot be read, or the key is not the certificate's.
pub(crate) fn of(args: &UpArgs) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    let tls = Tls::read(certificate.clone(), key.clone()).context("could not start TLS")?;
    if fs::metadata(key)?.permissions().mode() & READ_BY_OTHERS != 0 {
        tracing::warn!(path = %key.display(), "everybody on this host may read the key of the certificate: `chmod o-r` it");
    }
    Ok(Some(tls))
}

/// Reads both files again at each SIGHUP, until `stop`; without TLS the signal means what it means to any program.
///
/// # Errors
/// When the system refuses to watch the signal.
pub(crate) fn renew_on_hangup(
    tls: Option<Tls>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let watch = |tls| signal(SignalKind::hangup()).map(|hangup| (tls, hangup));
    let watched = tls.map(watch).transpose()?;
    Ok(async move {
        let Some((tls, mut hangup)) = watched else { return };
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = stop.cancelled() => return,
            }
            match tls.renew() {
                Ok(()) => tracing::info!("read the certificate and its key again"),
                Err(error) => tracing::error!(%error, "the certificate before this stays in use"),
            }
        }
    })
}
