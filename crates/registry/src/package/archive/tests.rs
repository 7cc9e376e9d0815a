//! Archives as an attacker would make them.

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

fn limits() -> Limits {
    Limits {
        unzipped_bytes_max: 1_000_000,
        zip_entries_max: 100,
        ..Limits::default()
    }
}

fn zip(entries: &[(&str, &[u8], Option<u32>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        let mut options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        if let Some(mode) = mode {
            options = options.unix_permissions(*mode);
        }
        if mode.is_some_and(|mode| mode & FILE_TYPE == SYMLINK) {
            let target = std::str::from_utf8(content).expect("a link's target is text");
            writer.add_symlink(*name, target, options).expect("writable");
        } else {
            writer.start_file(*name, options).expect("writable");
            writer.write_all(content).expect("writable");
        }
    }
    writer.finish().expect("finished").into_inner()
}

#[track_caller]
fn check_refused(archive: &[u8], reason: &str) {
    let error = check(archive, &limits())
        .expect_err("it must be refused")
        .to_string();
    assert!(error.contains(reason), "expected `{reason}` in: {error}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(
        unpack(archive, &dir.path().join("code"), &limits()).is_err(),
        "unpacking refuses it too"
    );
}

#[test]
fn refuses_what_is_no_zip() {
    check_refused(b"", "Could not unzip uploaded file");
    check_refused(b"hello, this is text", "Could not unzip uploaded file");
    let whole = zip(&[("a.py", b"print(1)", None)]);
    check_refused(&whole[..whole.len() / 2], "Could not unzip uploaded file");
    check_refused(&zip(&[]), "empty");
}

#[test]
fn refuses_names_that_leave_the_folder() {
    for name in ["../evil", "a/../../evil", "/etc/passwd"] {
        check_refused(&zip(&[(name, b"x", None)]), "outside of the function's folder");
    }
    check_refused(&zip(&[("a\\..\\evil", b"x", None)]), "backslash");
}

#[test]
fn refuses_links_that_leave_the_folder() {
    for target in ["/etc/passwd", "../outside", "sub/../../outside", "self/.."] {
        check_refused(
            &zip(&[("link", target.as_bytes(), Some(SYMLINK | 0o777))]),
            "points outside",
        );
    }
    let through = zip(&[
        ("link", b"sub", Some(SYMLINK | 0o777)),
        ("link/file", b"x", None),
        ("sub/a", b"", None),
    ]);
    check_refused(&through, "below a file or a symbolic link");
}

#[test]
fn refuses_a_bomb_by_what_comes_out_of_it() {
    let zeros = vec![0_u8; 2_000_000];
    let bomb = zip(&[("zeros", &zeros, None)]);
    assert!(bomb.len() < 20_000, "the archive itself is small");
    check_refused(&bomb, "Unzipped size must be smaller than 1000000 bytes");
}

#[test]
fn refuses_too_many_entries() {
    let names: Vec<String> = (0..101).map(|n| format!("f{n}")).collect();
    let entries: Vec<(&str, &[u8], Option<u32>)> =
        names.iter().map(|n| (n.as_str(), &b""[..], None)).collect();
    check_refused(&zip(&entries), "101 entries");
}

#[test]
fn refuses_a_file_that_is_also_a_folder() {
    check_refused(&zip(&[("a", b"x", None), ("a/b", b"x", None)]), "below a file");
}

#[test]
fn keeps_modes_and_links_that_stay_inside() {
    use std::os::unix::fs::PermissionsExt;
    let archive = zip(&[
        ("bin/tool", b"#!/bin/sh\n", Some(0o755)),
        ("data", b"x", Some(0o600)),
        ("bootstrap", b"#!/bin/sh\n", Some(0)),
        ("link", b"bin/tool", Some(SYMLINK | 0o777)),
    ]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let code = dir.path().join("code");
    check(&archive, &limits()).expect("a good archive");
    unpack(&archive, &code, &limits()).expect("a good archive");
    let mode = |name: &str| fs::metadata(code.join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!(
        [mode("bin/tool"), mode("data"), mode("bootstrap")],
        [0o755, 0o644, 0o755]
    );
    assert_eq!(fs::read(code.join("link")).expect("readable"), b"#!/bin/sh\n");
}
