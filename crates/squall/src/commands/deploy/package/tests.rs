//! Packages of folders that tests lay out.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use super::*;

/// A folder with these files; a name that ends in `*` is executable.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = dir.path().join(name.trim_end_matches('*'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("writable");
        if name.ends_with('*') {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("our own file");
        }
    }
    dir
}

fn names(zip: Vec<u8>) -> Vec<(String, Option<u32>)> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).expect("a zip");
    (0..archive.len())
        .map(|i| {
            let entry = archive.by_index(i).expect("an entry");
            (
                entry.name().expect("UTF-8").into_owned(),
                entry.unix_mode().map(|mode| mode & 0o777),
            )
        })
        .collect()
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let files = [("b.py", "2"), ("a/z.py", "1"), ("run*", "#!")];
    let mut backwards = files;
    backwards.reverse();
    let (one, two) = (folder(&files), folder(&backwards));
    let file = File::options()
        .write(true)
        .open(two.path().join("b.py"))
        .expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .expect("our own file");
    let zip = |dir: &tempfile::TempDir| {
        Package::open(dir.path())
            .expect("a package")
            .into_zip()
            .expect("a zip")
    };
    assert_eq!(zip(&one), zip(&two));
    let expected = [("a/", 0o755), ("a/z.py", 0o644), ("b.py", 0o644), ("run", 0o755)];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, mode)| ((*name).to_owned(), Some(*mode)))
        .collect();
    assert_eq!(names(zip(&one)), expected);
}

#[test]
fn history_keys_and_caches_stay_behind() {
    let dir = folder(&[
        ("app.py", ""),
        (".git/HEAD", ""),
        (".squall/credentials.json", ""),
        (".venv/bin/python", ""),
        ("lib/__pycache__/x.pyc", ""),
        ("node_modules/.cache/x", ""),
        ("node_modules/m/index.js", ""),
        ("gitlike/.gitignore", ""),
    ]);
    let package = Package::open(dir.path()).expect("a package");
    let files: Vec<&String> = package.contents.keys().filter(|name| package.has(name)).collect();
    assert_eq!(files, ["app.py", "gitlike/.gitignore", "node_modules/m/index.js"]);
}

#[test]
fn a_link_inside_is_kept_and_one_that_leads_out_is_refused() {
    let dir = folder(&[("lib/real.so", "x"), ("bin/tool", "x")]);
    let root = dir.path().canonicalize().expect("there");
    symlink("../lib/real.so", root.join("bin/near.so")).expect("a link");
    symlink(root.join("lib/real.so"), root.join("bin/absolute.so")).expect("a link");
    let package = Package::open(dir.path()).expect("a package");
    for name in ["bin/near.so", "bin/absolute.so"] {
        let target = "../lib/real.so".to_owned();
        assert_eq!(package.contents[name], Content::Link { target }, "{name}");
    }
    let refuse = |target: &str, expected: &str| {
        let link = root.join("link");
        symlink(target, &link).expect("a link");
        let error = format!("{:#}", Package::open(dir.path()).expect_err("it leads out"));
        assert!(error.contains(expected) && error.contains("link"), "{error}");
        fs::remove_file(link).expect("our own link");
    };
    refuse("/etc/hostname", "leads out of the folder");
    refuse("..", "leads out of the folder");
    refuse("no-such-file", "leads nowhere");
}

#[test]
fn a_single_file_becomes_a_package_of_its_own() {
    let dir = folder(&[
        ("my.fn.py", "x"),
        ("tool*", "#!/bin/sh"),
        ("fn/bootstrap*", "\x7fELF"),
        ("n.txt", "x"),
        ("m.wasm", ""),
    ]);
    let check = |file: &str, name: &str, entry: (&str, u32)| {
        let package = Package::open(&dir.path().join(file)).expect("a package");
        assert_eq!(package.name(), Some(name));
        let expected = vec![(entry.0.to_owned(), Some(entry.1))];
        assert_eq!(names(package.into_zip().expect("a zip")), expected);
    };
    check("my.fn.py", "my-fn", ("my.fn.py", 0o644));
    check("m.wasm", "m", ("m.wasm", 0o644));
    check("tool", "tool", ("bootstrap", 0o755));
    check("fn/bootstrap", "fn", ("bootstrap", 0o755));
    let refuse = |file: &str, expected: &str| {
        let error = format!(
            "{:#}",
            Package::open(&dir.path().join(file)).expect_err("refused")
        );
        assert!(error.contains(expected), "{error}");
    };
    refuse("n.txt", "neither ELF nor");
    refuse("none.py", "could not read");
}

#[test]
fn a_zip_is_taken_as_it_is_and_can_be_looked_into() {
    let dir = folder(&[("f/app.py", "def handler(event, context): pass")]);
    let bytes = Package::open(&dir.path().join("f"))
        .expect("a package")
        .into_zip()
        .expect("a zip");
    let file = dir.path().join("report.zip");
    fs::write(&file, &bytes).expect("writable");
    let package = Package::open(&file).expect("a package");
    assert_eq!((package.name(), package.has("app.py")), (Some("report"), true));
    assert!(package.text("app.py").expect("text").starts_with("def handler"));
    assert_eq!(package.into_zip().expect("a zip"), bytes);
    fs::write(&file, "not a zip").expect("writable");
    assert!(Package::open(&file).is_err());
}
