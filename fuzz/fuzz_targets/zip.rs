//! A package stays within its folder and its bounds, and nothing is left of one that is refused.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|data: &[u8]| squall_registry::fuzzing::zip(data, &FOLDER.path().join("code")));
