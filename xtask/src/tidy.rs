//! The rules of the tree that no compiler checks. They are stated in ARCHITECTURE.md and CONTRIBUTING.md.
//!
//! Run by `cargo xtask tidy`, and as a test. Each rule has a test that shows it a violation.

mod arrows;
mod code;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::say;

/// Folders that hold nothing of ours, or nothing that is kept.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Prints every violation.
///
/// # Errors
/// When there is one, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let violations = violations(root)?;
    for violation in &violations {
        say(violation);
    }
    match violations.len() {
        0 => Ok(()),
        n => bail!("the tree is not tidy: {n} violations"),
    }
}

/// One line each: where, and what is wrong.
fn violations(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut all = arrows::check(&arrows::read(root)?);
    let mut files = Vec::new();
    find_sources(root, root, &mut files)?;
    files.sort();
    if files.is_empty() {
        bail!("found no source below `{}`", root.display());
    }
    for file in files {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("could not read `{file}`"))?;
        all.extend(source::check(&file, &text));
    }
    Ok(all)
}

/// Adds the paths of all Rust files, from the root, with `/` between.
fn find_sources(root: &Path, folder: &Path, files: &mut Vec<String>) -> anyhow::Result<()> {
    let attempted = || format!("could not read `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(attempted)? {
        let entry = entry.with_context(attempted)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let kind = entry.file_type().with_context(attempted)?;
        if kind.is_dir() {
            let skipped =
                name.starts_with('.') || SKIPPED.contains(&name.as_str()) || path.join("pyvenv.cfg").exists();
            if !skipped {
                find_sources(root, &path, files)?;
            }
        } else if kind.is_file() && name.ends_with(".rs") {
            let below = path
                .strip_prefix(root)
                .context("a file of the tree is below its root")?;
            files.push(below.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let found = violations(&crate::root()).expect("a tree that can be read");
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    #[test]
    fn every_crate_is_looked_at() {
        let mut files = Vec::new();
        let root = crate::root();
        find_sources(&root, &root, &mut files).expect("a tree that can be read");
        for package in arrows::read(&root).expect("a workspace") {
            let folder = package.name.strip_prefix("squall-").unwrap_or(&package.name);
            let seen = files.iter().any(|file| file.contains(&format!("{folder}/src/")));
            assert!(seen, "no file of `{}` was found", package.name);
        }
    }
}
