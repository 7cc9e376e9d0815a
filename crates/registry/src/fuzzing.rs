//! For the fuzz targets: takes any bytes, and panics where a promise is broken. See `fuzz/`.

use std::fs;
use std::path::{Component, Path};

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

/// Unpacks a package into the folder `code` of `room`, which is empty before and after. What is taken is what the check
/// at the door takes, and within the bounds; whatever becomes of it, nothing is written or linked outside of `code`.
pub fn zip(data: &[u8], room: &Path) {
    let (limits, code) = (limits(), room.join("code"));
    let may = archive::check(data, &limits).is_ok();
    let did = archive::unpack(data, &code, &limits).is_ok();
    assert!(may || !did, "what is refused at the door is not unpacked");
    if code.exists() {
        let unpacked = walk(&code);
        assert!(
            !did || unpacked.bytes <= limits.unzipped_bytes_max,
            "{unpacked:?}"
        );
        assert!(!did || unpacked.files <= limits.zip_entries_max, "{unpacked:?}");
        fs::remove_dir_all(&code).expect("what was unpacked can be removed");
    }
    let beside = fs::read_dir(room).expect("a folder").count();
    assert_eq!(beside, 0, "written beside the package");
}

#[derive(Debug, Default)]
struct Unpacked {
    files: usize,
    bytes: u64,
}

fn walk(code: &Path) -> Unpacked {
    let mut unpacked = Unpacked::default();
    let mut folders = vec![code.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that was made").flatten() {
            let kind = entry.file_type().expect("it is there");
            if kind.is_dir() {
                folders.push(entry.path());
                continue;
            }
            unpacked.files += 1;
            if kind.is_symlink() {
                let to = fs::read_link(entry.path()).expect("a link");
                assert!(
                    leads_within(code, &folder, &to),
                    "a link out of the package: {to:?}"
                );
            } else {
                unpacked.bytes += entry.metadata().expect("it is there").len();
            }
        }
    }
    unpacked
}

/// By its words: a link may also lead to nothing.
fn leads_within(code: &Path, folder: &Path, to: &Path) -> bool {
    let mut at = folder.to_owned();
    to.components().all(|component| match component {
        Component::Normal(name) => {
            at.push(name);
            true
        }
        Component::ParentDir => at.pop() && at.starts_with(code),
        Component::CurDir => true,
        Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    //! That the target takes packages: what it refuses it cannot test.

    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn package(name: &str, content: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file(name, SimpleFileOptions::default())
            .expect("an entry");
        writer.write_all(content).expect("written");
        writer.finish().expect("an archive").into_inner()
    }

    #[test]
    fn packages_are_taken_and_refused_and_nothing_is_left() {
        let room = tempfile::tempdir().expect("a temporary folder");
        let whole = package("a/b.py", b"x = 1");
        zip(&whole, room.path());
        zip(&whole[..whole.len() / 2], room.path());
        // Refused while it is unpacked, at the first byte that is too many.
        let bytes = usize::try_from(limits().unzipped_bytes_max).expect("a small bound");
        zip(&package("a", &vec![0; bytes]), room.path());
        zip(&package("a", &vec![0; bytes + 1]), room.path());
    }

    #[test]
    fn links_are_judged_by_where_they_lead() {
        let leads = |to: &str| leads_within(Path::new("/r/code"), Path::new("/r/code/a"), Path::new(to));
        assert!(leads("b") && leads("../b") && leads("./b/../c"));
        assert!(!leads("../../b") && !leads("/r/code/a") && !leads("../../code/a"));
    }
}
