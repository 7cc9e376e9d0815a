//! One working copy of a revision's code, and a private folder for each of its instances where the walls give none.
//!
//! Within walls the code cannot be written, so the copy is made of links to the same files: it is there at once, and
//! stays when the function is deleted while an instance still runs.
//! `runtime` keeps one [`Folders`] per revision under the run folder: `REVISION/task` is the copy that instances run in,
//! `REVISION/tmp/INSTANCE` is what an instance gets as `TMPDIR`. Retiring the revision removes the whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use squall_runtime::InstanceId;
use squall_types::Revision;
use tokio::sync::OnceCell;

/// A revision's folders.
#[derive(Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    task: OnceCell<PathBuf>,
}

impl Folders {
    pub(crate) fn new(run_dir: &Path, revision: &Revision) -> Self {
        Self {
            root: run_dir.join(revision.id.to_string()),
            task: OnceCell::new(),
        }
    }

    /// The working copy, made by whoever asks first.
    /// When that caller gives up, the next one makes it from the start.
    pub(crate) async fn task(&self, code: &Path, read_only: bool) -> io::Result<&Path> {
        let copied = self.task.get_or_try_init(|| async {
            let task = self.root.join("task");
            let (from, to) = (code.to_owned(), task.clone());
            blocking(move || {
                remove(&to)?;
                copy(&from, &to, read_only)
            })
            .await?;
            Ok::<_, io::Error>(task)
        });
        copied.await.map(PathBuf::as_path)
    }

    /// A new empty folder for an instance.
    pub(crate) async fn instance_tmp(&self, id: InstanceId) -> io::Result<PathBuf> {
        let tmp = self.root.join("tmp").join(id.to_string());
        tokio::fs::create_dir_all(&tmp).await?;
        Ok(tmp)
    }

    /// Removes everything. No instance runs any more.
    pub(crate) async fn remove(&self) -> io::Result<()> {
        let root = self.root.clone();
        blocking(move || remove(&root)).await
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a tree: files with their modes, folders, symbolic links as they are.
fn copy(from: &Path, to: &Path, link: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target, link)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() && !(link && fs::hard_link(entry.path(), &target).is_ok()) {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
