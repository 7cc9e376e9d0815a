//! Which walls can be built on this host: found by building them around a process that ends at once.
//!
//! `runtime` calls [`build`] when the server starts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{WaitId, WaitIdOptions};

use super::{Limits, Program, SpawnError, Spawned, Wall, Walls, spawn};
use crate::WallsWanted;

/// The walls that functions get.
///
/// # Errors
/// All are wanted and one cannot be built, or no process can be started at all.
pub(crate) fn build(wanted: WallsWanted) -> io::Result<Walls> {
    let mut walls = Walls::default();
    if wanted == WallsWanted::Off {
        return Ok(walls);
    }
    walls.built = Wall::ALL.to_vec();
    loop {
        match probe(&walls) {
            Ok(()) => return Ok(walls),
            Err(SpawnError::Wall(wall, error)) if wanted == WallsWanted::Auto && walls.has(wall) => {
                walls.built.retain(|&built| built != wall);
                walls.missing.push((wall, error.to_string()));
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn probe(walls: &Walls) -> Result<(), SpawnError> {
    let program = Program {
        path: None,
        args: &[],
        environment: &BTreeMap::new(),
        dir: Path::new("/"),
        log: None,
        socket: None,
        limits: Limits {
            data_bytes_max: None,
            open_files_max: 64,
            file_bytes_max: None,
        },
    };
    let Spawned { pidfd, .. } = spawn(&program, walls)?;
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(io::Error::from)?;
    Ok(())
}
