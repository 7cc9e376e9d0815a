//! For the fuzz targets: takes any bytes, and panics where a promise is broken. See `fuzz/`.

use std::fs;
use std::path::Path;

use crate::Limits;
use crate::package::archive;

/// What a fuzzed package may hold: bounds that small inputs reach.
pub fn limits() -> Limits {
    Limits {
        zip_bytes_max: 64 * 1024,
        unzipped_bytes_max: 256 * 1024,
        zip_entries_max: 64,
        ..Limits::default()
    }
}

/// Unpacks a package into `dir`, which is not there yet and is removed again. What is refused leaves nothing beside
/// `dir`; what is taken stays within it and within the bounds.
pub fn zip(data: &[u8], dir: &Path) {
    let limits = limits();
    let may = archive::check(data, &limits).is_ok();
    let did = archive::unpack(data, dir, &limits).is_ok();
    assert!(may || !did, "what is refused at the door is not unpacked");
    if dir.exists() {
        let within = dir.canonicalize().expect("it is there");
        let mut bytes = 0;
        let mut folders = vec![within.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder that was made").flatten() {
                let kind = entry.file_type().expect("it is there");
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_symlink() {
                    let to = folder.join(fs::read_link(entry.path()).expect("a link"));
                    let to = to.canonicalize();
                    assert!(
                        to.is_err() || to.is_ok_and(|to| to.starts_with(&within)),
                        "a link out of the package"
                    );
                } else {
                    bytes += entry.metadata().expect("it is there").len();
                }
            }
        }
        assert!(bytes <= limits.unzipped_bytes_max, "{bytes} bytes were unpacked");
        fs::remove_dir_all(&within).expect("what was unpacked can be removed");
    }
}

#[cfg(test)]
mod tests {
    //! That the target takes packages: what it refuses it cannot test.

    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    #[test]
    fn a_package_is_taken_and_removed() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file("a/b.py", SimpleFileOptions::default())
            .expect("an entry");
        writer.write_all(b"x = 1").expect("written");
        let package = writer.finish().expect("an archive").into_inner();
        let folder = tempfile::tempdir().expect("a temporary folder");
        zip(&package, &folder.path().join("code"));
        zip(&package[..package.len() / 2], &folder.path().join("code"));
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
