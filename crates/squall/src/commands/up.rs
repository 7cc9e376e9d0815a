//! `squall up`: a server, until it is told to end.

use std::process::ExitCode;

use anyhow::bail;

use crate::up::UpArgs;

pub(super) fn run(_args: UpArgs) -> anyhow::Result<ExitCode> {
    bail!("`squall up` is not there yet")
}
