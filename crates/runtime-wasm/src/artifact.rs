//! What was uploaded: which kind of WebAssembly it is, told from its first eight bytes.

use std::path::{Path, PathBuf};

/// The largest file that is compiled. JavaScript and Python guests have 13 to 18 MB.
pub(crate) const WASM_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// The two binary formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A core module, version 1.
    Module,
    /// A component, version 13 of layer 1.
    Component,
}

/// Why a file is not one that we run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("the package has no .wasm file; put one at its top level")]
    Missing,
    #[error("the package has several .wasm files at its top level ({0}); name one of them as the handler")]
    Several(String),
    #[error("`{0}` is not WebAssembly: it does not start with `\\0asm`")]
    NotWasm(String),
    #[error("`{name}` is WebAssembly of version {version}; modules of version 1 and components are run")]
    Version { name: String, version: u32 },
    #[error("`{name}` has {bytes} bytes, more than the {WASM_BYTES_MAX} that are compiled")]
    TooLarge { name: String, bytes: u64 },
    #[error("could not read `{name}`: {source}")]
    Io { name: String, source: std::io::Error },
}

/// Tells the format of a file's first bytes.
pub(crate) fn format(name: &str, head: &[u8]) -> Result<Format, ArtifactError> {
    let not_wasm = || ArtifactError::NotWasm(name.to_owned());
    let rest = head.strip_prefix(b"\0asm").ok_or_else(not_wasm)?;
    let version = rest.first_chunk::<4>().ok_or_else(not_wasm)?;
    match version {
        [1, 0, 0, 0] => Ok(Format::Module),
        [13, 0, 1, 0] => Ok(Format::Component),
        other => Err(ArtifactError::Version {
            name: name.to_owned(),
            version: u32::from_le_bytes(*other),
        }),
    }
}

/// Finds the one file to run in an unpacked package: the handler where it names a file, else the only `.wasm`.
pub(crate) fn find(dir: &Path, handler: &str) -> Result<PathBuf, ArtifactError> {
    let io = |source| ArtifactError::Io {
        name: dir.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == handler);
    if let Some(path) = found.iter().find(named) {
        return Ok(path.clone());
    }
    let names = || {
        found
            .iter()
            .filter_map(|p| p.file_name())
            .map(|n| n.to_string_lossy())
            .collect::<Vec<_>>()
    };
    match found.as_slice() {
        [] => Err(ArtifactError::Missing),
        [only] => Ok(only.clone()),
        _ => Err(ArtifactError::Several(names().join(", "))),
    }
}

/// Reads a file whole, and tells its format.
pub(crate) fn read(path: &Path) -> Result<(Format, Vec<u8>), ArtifactError> {
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let io = |source| ArtifactError::Io {
        name: name.clone(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > WASM_BYTES_MAX {
        return Err(ArtifactError::TooLarge { name, bytes });
    }
    let content = std::fs::read(path).map_err(io)?;
    let format = format(&name, &content)?;
    Ok((format, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_modules_and_components_from_everything_else() {
        assert!(matches!(format("f", b"\0asm\x01\0\0\0"), Ok(Format::Module)));
        assert!(matches!(format("f", b"\0asm\x0d\0\x01\0"), Ok(Format::Component)));
        for (head, expected) in [
            (&b""[..], "is not WebAssembly"),
            (b"\x7fELF\x02\x01\x01\0", "is not WebAssembly"),
            (b"\0asm\x01", "is not WebAssembly"),
            (b"\0asm\x0a\0\x01\0", "version"),
        ] {
            let error = format("f", head).expect_err("not one of ours").to_string();
            assert!(error.contains(expected), "{head:?}: {error}");
        }
    }

    #[test]
    fn finds_the_one_file_and_asks_when_there_are_several() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| std::fs::write(dir.path().join(name), b"").expect("writable");
        assert!(matches!(find(dir.path(), ""), Err(ArtifactError::Missing)));
        file("a.wasm");
        assert!(find(dir.path(), "").expect("the only one").ends_with("a.wasm"));
        file("b.wasm");
        assert!(matches!(find(dir.path(), ""), Err(ArtifactError::Several(_))));
        assert!(
            find(dir.path(), "b.wasm")
                .expect("the named one")
                .ends_with("b.wasm")
        );
    }
}
