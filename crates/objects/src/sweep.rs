//! Removing what a crash left behind: files that were written, and that no record names.
//!
//! Runs once, beside everything else: what is being uploaded or read is held, and is not touched.

use std::collections::HashSet;

use squall_store::Scan;
use uuid::Uuid;

use crate::error::ObjectsError;
use crate::objects::Objects;
use crate::record::FILES;

impl Objects {
    /// Looks through all files once. Memory holds the names of one folder in 256.
    ///
    /// # Errors
    /// Where the store or a folder cannot be read.
    pub async fn sweep(&self) -> Result<usize, ObjectsError> {
        let mut removed = 0;
        for first in 0..=u8::MAX {
            removed += self.sweep_folder(first).await?;
        }
        if removed > 0 {
            tracing::info!(removed, "removed bodies of uploads that were never finished");
        }
        Ok(removed)
    }

    async fn sweep_folder(&self, first: u8) -> Result<usize, ObjectsError> {
        let folder = self.inner.bodies.folder(first);
        let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
        let listed = listed.map_err(std::io::Error::other).and_then(|listed| listed);
        let mut files = listed.map_err(|error| ObjectsError::file("list the bodies", &error))?;
        // Held before its record is there: what is neither held now nor named afterwards never will be named.
        files.retain(|file| !self.inner.bodies.is_held(*file));
        if files.is_empty() {
            return Ok(0);
        }
        let named = self.inner.store.scan(Scan::prefix(FILES, vec![first])).await?;
        let named: HashSet<&[u8]> = named.iter().map(|(name, _)| &name[..]).collect();
        files.retain(|file| !named.contains(&file.as_bytes()[..]));
        for file in &files {
            self.inner.bodies.remove(*file);
        }
        Ok(files.len())
    }
}

fn list(folder: &std::path::Path) -> std::io::Result<Vec<Uuid>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        files.extend(name.to_str().and_then(|name| name.parse::<Uuid>().ok()));
    }
    Ok(files)
}
