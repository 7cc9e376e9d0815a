//! Zip archives as strangers send them: what is refused, and how the rest is unpacked.
//!
//! [`check`] reads every byte that [`unpack`] would write, so nothing that the headers claim has to be believed.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;

use super::disk;
use crate::{Limits, RegistryError};

const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
/// What everybody may do with a file, whatever the archive says: its owner writes, all read.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
const EXECUTABLE_BITS: u32 = 0o111;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4096;

/// One entry that passed the checks of its name and type.
struct Planned {
    index: usize,
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Directory,
    File { mode: u32 },
    Link { target: PathBuf },
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn refuse(reason: impl std::fmt::Display) -> RegistryError {
    RegistryError::InvalidZip(format!(
        "Could not unzip uploaded file. Please check your file, then try to upload again. ({reason})"
    ))
}

/// Refuses an archive that cannot or may not be unpacked.
pub(crate) fn check(zip: &[u8], limits: &Limits) -> Result<(), RegistryError> {
    let (mut archive, planned) = plan(zip, limits)?;
    let mut left = limits.unzipped_bytes_max;
    for entry in &planned {
        if let Kind::File { .. } = entry.kind {
            copy(&mut archive, entry, &mut io::sink(), &mut left, limits)?;
        }
    }
    Ok(())
}

/// Unpacks an archive into a folder that does not exist yet, and makes it durable.
pub(crate) fn unpack(zip: &[u8], dir: &Path, limits: &Limits) -> Result<(), RegistryError> {
    let (mut archive, planned) = plan(zip, limits)?;
    let mut left = limits.unzipped_bytes_max;
    fs::create_dir(dir).map_err(|error| disk("make", dir, &error))?;
    for entry in &planned {
        let place = dir.join(&entry.path);
        let parent = place.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|error| disk("make", parent, &error))?;
        match &entry.kind {
            Kind::Directory => fs::create_dir_all(&place).map_err(|error| disk("make", &place, &error))?,
            Kind::Link { target } => symlink(target, &place).map_err(|error| disk("link", &place, &error))?,
            Kind::File { mode } => {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(*mode)
                    .open(&place);
                let mut file = file.map_err(|error| disk("make", &place, &error))?;
                copy(&mut archive, entry, &mut file, &mut left, limits)?;
                // The process's umask has no say in what a function may read.
                file.set_permissions(fs::Permissions::from_mode(*mode))
                    .map_err(|error| disk("write", &place, &error))?;
                file.sync_all().map_err(|error| disk("write", &place, &error))?;
            }
        }
    }
    sync_tree(dir).map_err(|error| disk("sync", dir, &error))
}

/// Checks all that can be checked without reading content: sizes, counts, names, types, links.
fn plan<'a>(zip: &'a [u8], limits: &Limits) -> Result<(Archive<'a>, Vec<Planned>), RegistryError> {
    if zip.len() as u64 > limits.zip_bytes_max {
        let text = format!("Zipped size must be smaller than {} bytes", limits.zip_bytes_max);
        return Err(RegistryError::TooLarge(text));
    }
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(refuse)?;
    if archive.is_empty() {
        return Err(refuse("the archive is empty"));
    }
    if archive.len() > limits.zip_entries_max {
        return Err(refuse(format!(
            "it has {} entries, more than {}",
            archive.len(),
            limits.zip_entries_max
        )));
    }
    if archive.has_duplicate_names() {
        return Err(refuse("two entries have the same name"));
    }
    let mut planned = Vec::with_capacity(archive.len());
    let mut paths = HashSet::new();
    for index in 0..archive.len() {
        let Some(entry) = plan_entry(&mut archive, index)? else {
            continue;
        };
        if !paths.insert(entry.path.clone()) {
            return Err(refuse(format!("two entries are `{}`", entry.path.display())));
        }
        planned.push(entry);
    }
    refuse_below_non_folders(&planned)?;
    Ok((archive, planned))
}

fn plan_entry(archive: &mut Archive<'_>, index: usize) -> Result<Option<Planned>, RegistryError> {
    let mut entry = archive.by_index(index).map_err(refuse)?;
    let name = entry.name().map_err(refuse)?.into_owned();
    let path = relative_path(&name)?;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let mode = entry.unix_mode();
    let file_type = mode.map_or(0, |mode| mode & FILE_TYPE);
    let kind = match file_type {
        _ if entry.is_dir() => Kind::Directory,
        DIRECTORY => Kind::Directory,
        SYMLINK => {
            let mut target = String::new();
            let read = entry.by_ref().take(LINK_BYTES_MAX).read_to_string(&mut target);
            read.map_err(|error| refuse(format!("could not read the link `{name}`: {error}")))?;
            Kind::Link {
                target: checked_target(&path, &target)?,
            }
        }
        0 | REGULAR => {
            // A bootstrap that was zipped without modes (on Windows, say) is meant to be run.
            let executable = match mode {
                Some(mode) if mode & 0o777 != 0 => mode & EXECUTABLE_BITS != 0,
                _ => path == Path::new("bootstrap"),
            };
            Kind::File {
                mode: if executable {
                    FILE_MODE | EXECUTABLE_BITS
                } else {
                    FILE_MODE
                },
            }
        }
        other => return Err(refuse(format!("`{name}` is a special file (type {other:o})"))),
    };
    Ok(Some(Planned { index, path, kind }))
}

/// A name as a path below the root; refuses what would leave it.
fn relative_path(name: &str) -> Result<PathBuf, RegistryError> {
    let leaves = || refuse(format!("`{name}` would lie outside of the function's folder"));
    if name.contains('\0') || name.contains('\\') {
        return Err(refuse(format!(
            "the name `{}` has a NUL or a backslash",
            name.escape_default()
        )));
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return Err(leaves()),
        }
    }
    Ok(path)
}

/// The target of a link; refuses one that leaves the root.
fn checked_target(link: &Path, target: &str) -> Result<PathBuf, RegistryError> {
    let leaves = || {
        refuse(format!(
            "the link `{}` points outside of the function's folder",
            link.display()
        ))
    };
    let mut depth = link.components().count() - 1;
    let mut below = false;
    for component in Path::new(target).components() {
        match component {
            Component::Normal(_) => below = true,
            Component::CurDir => {}
            // What is named before it may be a link itself, whose parent is somewhere else than it seems.
            Component::ParentDir if below => return Err(leaves()),
            Component::ParentDir => depth = depth.checked_sub(1).ok_or_else(leaves)?,
            Component::RootDir | Component::Prefix(_) => return Err(leaves()),
        }
    }
    if target.is_empty() {
        return Err(refuse(format!("the link `{}` points nowhere", link.display())));
    }
    Ok(PathBuf::from(target))
}

/// A file below a link would land where the link points; a file below a file could not be written.
fn refuse_below_non_folders(planned: &[Planned]) -> Result<(), RegistryError> {
    let leaves: HashSet<&Path> = planned
        .iter()
        .filter(|entry| !matches!(entry.kind, Kind::Directory))
        .map(|entry| entry.path.as_path())
        .collect();
    let below = planned
        .iter()
        .find(|entry| entry.path.ancestors().skip(1).any(|above| leaves.contains(above)));
    match below {
        Some(entry) => Err(refuse(format!(
            "`{}` lies below a file or a symbolic link",
            entry.path.display()
        ))),
        None => Ok(()),
    }
}

/// Copies an entry's content, counting what comes out instead of believing the header.
fn copy(
    archive: &mut Archive<'_>,
    entry: &Planned,
    to: &mut impl Write,
    left: &mut u64,
    limits: &Limits,
) -> Result<(), RegistryError> {
    let file = archive.by_index(entry.index).map_err(refuse)?;
    let copied = io::copy(&mut file.take(*left + 1), to);
    let copied = copied.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            disk("write", &entry.path, &error)
        }
        _ => refuse(format!("`{}`: {error}", entry.path.display())),
    })?;
    *left = left.checked_sub(copied).ok_or_else(|| {
        RegistryError::TooLarge(format!(
            "Unzipped size must be smaller than {} bytes",
            limits.unzipped_bytes_max
        ))
    })?;
    Ok(())
}

/// Makes the folders themselves durable, deepest first; the files already are.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    let dir = fs::File::open(dir)?;
    dir.set_permissions(fs::Permissions::from_mode(DIRECTORY_MODE))?;
    dir.sync_all()
}

#[cfg(test)]
mod tests;
