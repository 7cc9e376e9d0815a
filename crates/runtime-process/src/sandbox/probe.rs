//! Which walls can be built on this host: found by building them around a process that ends at once.
//!
//! `runtime` calls [`build`] when the server starts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{WaitId, WaitIdOptions};

use super::{Limits, OwnNetwork, Program, Room, SpawnError, Spawned, Wall, Walls, spawn};
use crate::WallsWanted;
use crate::cgroup::{Allowance, Cgroups};

/// Of a process that does nothing.
const ALLOWANCE: Allowance = Allowance {
    memory_bytes_max: 64 << 20,
    folder_bytes_max: 0,
    memory_mib: 128,
};

/// The walls that functions get. `stage` is a folder that stays.
///
/// # Errors
/// All are wanted and one cannot be built, or no process can be started at all.
pub(crate) fn build(wanted: WallsWanted, stage: &Path) -> io::Result<Walls> {
    let mut walls = Walls {
        stage: stage.to_owned(),
        as_root: rustix::process::geteuid().is_root(),
        cgroups: None,
        built: Vec::new(),
        missing: Vec::new(),
    };
    if wanted == WallsWanted::Off {
        return Ok(walls);
    }
    walls.built = Wall::ALL.to_vec();
    match Cgroups::open() {
        Ok(cgroups) => walls.cgroups = Some(cgroups),
        Err(error) => leave_out(&mut walls, wanted, Wall::Cgroups, error)?,
    }
    loop {
        match probe(&walls, None) {
            Ok(()) if !walls.has(Wall::Network) => return Ok(walls),
            // Last: the kernel does not say which of the namespaces it refuses.
            Ok(()) => match probe(
                &walls,
                Some(OwnNetwork {
                    door: Some(1),
                    runtime_api: None,
                    egress: None,
                }),
            ) {
                Ok(()) => return Ok(walls),
                Err(error) => leave_out(&mut walls, wanted, Wall::Network, io::Error::other(error))?,
            },
            // A root of a container may not make namespaces, but perhaps one of users.
            Err(SpawnError::Wall(Wall::Namespaces, _)) if walls.as_root => walls.as_root = false,
            Err(SpawnError::Wall(wall, error)) if walls.has(wall) => {
                leave_out(&mut walls, wanted, wall, error)?
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// Goes on without a wall, where that is wanted.
fn leave_out(walls: &mut Walls, wanted: WallsWanted, wall: Wall, error: io::Error) -> io::Result<()> {
    if wanted == WallsWanted::Full {
        return Err(io::Error::other(SpawnError::Wall(wall, error)));
    }
    // A network of its own is built as the other namespaces are.
    let falls = |built: Wall| built == wall || (wall, built) == (Wall::Namespaces, Wall::Network);
    if wall == Wall::Cgroups {
        walls.cgroups = None;
    }
    walls.built.retain(|&built| !falls(built));
    walls.missing.push((wall, error.to_string()));
    Ok(())
}

fn probe(walls: &Walls, network: Option<OwnNetwork>) -> Result<(), SpawnError> {
    let room = Room {
        task: walls.stage.clone(),
        runtime: None,
        packages: None,
        interpreters: Vec::new(),
        shared: Vec::new(),
        hidden: Vec::new(),
        tmp_bytes_max: 1 << 20,
        uid: walls.uid(""),
        function: "probe".parse().map_err(io::Error::other)?,
        network,
    };
    // A group may be made by whom the kernel does not let put a process in it.
    let cgroups = walls.cgroups.as_ref();
    let cgroup = cgroups.map(|cgroups| cgroups.take(ALLOWANCE)).transpose();
    let cgroup = cgroup.map_err(|error| SpawnError::Wall(Wall::Cgroups, error))?;
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
            processes_max: None,
        },
        room: Some(&room),
        cgroup: cgroup.as_deref(),
    };
    let Spawned { pidfd, .. } = spawn(&program, walls)?;
    rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(io::Error::from)?;
    Ok(())
}
