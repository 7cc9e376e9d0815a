//! Makes `squall-init`, the small static executable that stands first within a function's walls.
//!
//! It is compiled by the compiler that compiles the crate, and becomes part of it: nothing has to be installed.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/sandbox/init/main.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("squall-init");
    let target = variable("TARGET");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition=2024", "--crate-name=squall_init", "--crate-type=bin"])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Coverflow-checks=off",
        ])
        .args([
            "-Crelocation-model=static",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
        ])
        .args([
            "-Clink-arg=-static",
            "-Clink-arg=-Wl,--build-id=none,-z,noexecstack",
        ])
        .arg("--target")
        .arg(&target)
        .arg("-o")
        .arg(&output)
        .arg(SOURCE);
    // Where cargo is told which linker makes executables for this target, it is the right one here too.
    let name = target.to_string_lossy().to_uppercase().replace('-', "_");
    let linker = format!("CARGO_TARGET_{name}_LINKER");
    println!("cargo::rerun-if-env-changed={linker}");
    if let Some(linker) = std::env::var_os(linker) {
        let mut setting = std::ffi::OsString::from("-Clinker=");
        setting.push(linker);
        rustc.arg(setting);
    }
    let status = rustc.status().expect("the compiler that runs this can be run");
    assert!(status.success(), "could not compile {SOURCE}: {status}");
}
