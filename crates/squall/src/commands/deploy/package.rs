//! The code as a zip: the same bytes for the same files, whatever their times, owners and order on disk.
//!
//! Bounded by Lambda's own limit on unpacked code, checked before anything is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

/// Lambda's limit on unpacked code.
const UNPACKED_BYTES_MAX: u64 = 262_144_000;
/// A source file beyond this is data; nobody writes a handler in it.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Never part of a function: history, the server's own data (and key), what is made anew on each machine.
const SKIPPED: [&str; 4] = [".git", ".squall", ".venv", "__pycache__"];

/// What one name in the package is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    File {
        path: PathBuf,
        executable: bool,
    },
    /// To another name inside of the package.
    Link {
        target: String,
    },
    Directory,
    Packed,
}

/// Code to deploy, looked through but not read.
#[derive(Debug)]
pub(super) struct Package {
    name: Option<String>,
    /// By path inside the package; the map's order is the zip's.
    contents: BTreeMap<String, Content>,
    /// A .zip that was given is sent as it is.
    zip: Option<Vec<u8>>,
}

impl Package {
    /// Looks through a folder, a .zip, a source file, WebAssembly or an executable.
    ///
    /// # Errors
    /// When it is none of these, cannot be read, is too large, or has a link that leads out of it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let attempted = || format!("could not read `{}`", path.display());
        let root = path.canonicalize().with_context(attempted)?;
        if root.is_dir() {
            let mut walk = Walk::new(root.clone());
            walk.folder(&root, "")?;
            return Ok(Self::new(root.file_name(), walk.contents));
        }
        if !root.is_file() {
            bail!("`{}` is neither a folder nor a file", path.display());
        }
        match root.extension().and_then(|e| e.to_str()) {
            Some("zip") => Self::of_zip(&root).with_context(attempted),
            Some("py" | "mjs" | "js" | "cjs" | "wasm") => Self::of_source(&root).with_context(attempted),
            _ => Self::of_executable(&root).with_context(attempted),
        }
    }

    fn new(file_name: Option<&std::ffi::OsStr>, contents: BTreeMap<String, Content>) -> Self {
        Self {
            name: file_name.and_then(|name| function_name(&name.to_string_lossy())),
            contents,
            zip: None,
        }
    }

    fn of_source(file: &Path) -> anyhow::Result<Self> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.context("its name is not UTF-8")?.to_owned();
        let content = Content::File {
            path: file.to_owned(),
            executable: false,
        };
        Ok(Self::new(file.file_stem(), BTreeMap::from([(name, content)])))
    }

    fn of_executable(file: &Path) -> anyhow::Result<Self> {
        let mut head = [0_u8; 4];
        let read = File::open(file)?.read(&mut head)?;
        let head = &head[..read];
        if !head.starts_with(b"\x7fELF") && !head.starts_with(b"#!") {
            bail!(
                "it is no folder, .zip, .py, .mjs, .js, .cjs or .wasm file, and no executable (neither ELF nor `#!`)"
            );
        }
        let content = Content::File {
            path: file.to_owned(),
            executable: true,
        };
        let contents = BTreeMap::from([("bootstrap".to_owned(), content)]);
        let is_bootstrap = file.file_name().is_some_and(|name| name == "bootstrap");
        // A file that is called bootstrap says nothing; its folder might.
        let named = if is_bootstrap {
            file.parent().and_then(Path::file_name)
        } else {
            file.file_stem()
        };
        Ok(Self::new(named, contents))
    }

    fn of_zip(file: &Path) -> anyhow::Result<Self> {
        check_size(file.metadata()?.len())?;
        let bytes = fs::read(file)?;
        let archive = ZipArchive::new(Cursor::new(&bytes)).context("it is not a zip")?;
        let contents = archive
            .file_names()
            .map(|name| Ok((name?.into_owned(), Content::Packed)))
            .collect::<anyhow::Result<_>>()
            .context("it has a name that is not UTF-8")?;
        let mut package = Self::new(file.file_stem(), contents);
        package.zip = Some(bytes);
        Ok(package)
    }

    /// What the function might be called.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the package has this name, other than as a folder.
    pub(super) fn has(&self, name: &str) -> bool {
        self.contents
            .get(name)
            .is_some_and(|content| *content != Content::Directory)
    }

    /// Names outside of any folder, sorted.
    pub(super) fn top_level(&self) -> impl Iterator<Item = &str> {
        self.contents
            .keys()
            .map(String::as_str)
            .filter(|name| !name.contains('/'))
    }

    /// A file's text; `None` when there is no such file, or it is no text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        match self.contents.get(name)? {
            Content::File { path, .. } => {
                File::open(path)
                    .ok()?
                    .take(TEXT_BYTES_MAX)
                    .read_to_string(&mut text)
                    .ok()?;
            }
            Content::Packed => {
                let mut archive = ZipArchive::new(Cursor::new(self.zip.as_deref()?)).ok()?;
                let entry = archive.by_name(name).ok()?;
                entry.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
            }
            Content::Link { .. } | Content::Directory => return None,
        }
        Some(text)
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub(super) fn into_zip(self) -> anyhow::Result<Vec<u8>> {
        if let Some(bytes) = self.zip {
            return Ok(bytes);
        }
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in &self.contents {
            add(&mut zip, name, content).with_context(|| format!("could not pack `{name}`"))?;
        }
        Ok(zip.finish().context("could not finish the package")?.into_inner())
    }
}

/// Times are 1980's first day and modes one of two: they would make a new package of old code.
fn add(zip: &mut ZipWriter<Cursor<Vec<u8>>>, name: &str, content: &Content) -> anyhow::Result<()> {
    let options = SimpleFileOptions::default()
        .last_modified_time(DateTime::default())
        .compression_method(CompressionMethod::Deflated);
    match content {
        Content::File { path, executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            zip.start_file(name, options.unix_permissions(mode))?;
            zip.write_all(&fs::read(path)?)?;
        }
        Content::Link { target } => zip.add_symlink(name, target, options)?,
        Content::Directory => zip.add_directory(name, options.unix_permissions(0o755))?,
        Content::Packed => bail!("it is inside of another zip"),
    }
    Ok(())
}

/// A folder being looked through.
struct Walk {
    root: PathBuf,
    contents: BTreeMap<String, Content>,
    bytes: u64,
}

impl Walk {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            contents: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn folder(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let attempted = || format!("could not read `{}`", folder.display());
        for entry in fs::read_dir(folder).with_context(attempted)? {
            let path = entry.with_context(attempted)?.path();
            let file_name = path.file_name().and_then(|name| name.to_str());
            let file_name =
                file_name.with_context(|| format!("the name `{}` is not UTF-8", path.display()))?;
            let name = format!("{prefix}{file_name}");
            if SKIPPED.contains(&file_name) || name.ends_with("node_modules/.cache") {
                continue;
            }
            self.entry(&path, name)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: String) -> anyhow::Result<()> {
        let metadata =
            fs::symlink_metadata(path).with_context(|| format!("could not read `{}`", path.display()))?;
        if metadata.is_symlink() {
            let target = self.link_target(path)?;
            self.contents.insert(name, Content::Link { target });
        } else if metadata.is_dir() {
            self.folder(path, &format!("{name}/"))?;
            self.contents.insert(name, Content::Directory);
        } else if metadata.is_file() {
            self.bytes += metadata.len();
            check_size(self.bytes)?;
            let content = Content::File {
                path: path.to_owned(),
                executable: metadata.permissions().mode() & 0o111 != 0,
            };
            self.contents.insert(name, content);
        } else {
            bail!(
                "`{}` is a socket, a pipe or a device, which no package can hold",
                path.display()
            );
        }
        Ok(())
    }

    /// Where a link leads, seen from its own folder: a package has no other place to start from.
    fn link_target(&self, link: &Path) -> anyhow::Result<String> {
        let target = link
            .canonicalize()
            .with_context(|| format!("the link `{}` leads nowhere", link.display()))?;
        let Ok(inside) = target.strip_prefix(&self.root) else {
            bail!(
                "the link `{}` leads out of the folder, to `{}`: copy what it needs into the folder",
                link.display(),
                target.display()
            );
        };
        let depth = link
            .parent()
            .and_then(|folder| folder.strip_prefix(&self.root).ok())
            .map_or(0, |folder| folder.components().count());
        let relative: PathBuf = std::iter::repeat_n("..", depth).collect::<PathBuf>().join(inside);
        let relative = relative.to_str().context("a link's target is not UTF-8")?;
        Ok(relative.to_owned())
    }
}

fn check_size(bytes: u64) -> anyhow::Result<()> {
    if bytes > UNPACKED_BYTES_MAX {
        bail!("the code has more than {UNPACKED_BYTES_MAX} bytes, the most that a function may have");
    }
    Ok(())
}

/// A file's name as a function's: letters, digits, `-` and `_`, 64 at most.
fn function_name(file_name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = file_name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
