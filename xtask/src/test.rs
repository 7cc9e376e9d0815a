//! `cargo xtask test`: everything that must pass, one step after the other, until one fails.

mod environment;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;

use crate::{say, tidy};

/// Runs all steps.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let target = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("could not read the workspace's metadata")?
        .target_directory
        .into_std_path_buf();
    let begun = Instant::now();
    step("tools", environment::install_missing)?;
    step("tidy", || tidy::run(root))?;
    step("format", || {
        succeed(cargo(root).args(["fmt", "--all", "--check"]))
    })?;
    step("lints", || {
        let words = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        succeed(cargo(root).args(words))
    })?;
    step("unit tests", || succeed(&mut unit_tests(root)))?;
    step("tests of the Node runtime", || succeed(&mut node_tests(root)))?;
    step("release build", || {
        succeed(cargo(root).args(["build", "--release", "--locked", "--package", "squall"]))
    })?;
    let python = step("python environment", || environment::python(root, &target))?;
    step("end-to-end tests", || {
        let mut pytest = Command::new(&python);
        pytest
            .args(["-m", "pytest", "tests/e2e"])
            .current_dir(root)
            .env("SQUALL_BIN", target.join("release/squall"))
            .env("SQUALL_E2E_CACHE", target.join("e2e-cache"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        succeed(&mut pytest)
    })?;
    say(&format!("all passed in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// nextest where it is installed: it runs each test in a process of its own, and names what hangs.
fn unit_tests(root: &Path) -> Command {
    let mut probe = cargo(root);
    probe
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let has_nextest = probe.status().is_ok_and(|status| status.success());
    let mut command = cargo(root);
    command.args(if has_nextest {
        ["nextest", "run"].as_slice()
    } else {
        ["test"].as_slice()
    });
    command.args(["--workspace", "--locked", "--no-fail-fast"]);
    command
}

/// Node's own runner, on the part of the process runtime that is JavaScript.
fn node_tests(root: &Path) -> Command {
    let mut node = Command::new("node");
    let folder = root.join("crates/runtime-process/src/node/runtime/test");
    node.args(["--test", "bootstrap.test.mjs"]).current_dir(folder);
    node
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Of this program's own build; cargo sets them anew for what it runs.
    command
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_PKG_NAME");
    command
}

/// Says what begins, and how long it took.
fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("== {name}"));
    let begun = Instant::now();
    let done = work().with_context(|| format!("failed: {name}"))?;
    say(&format!(
        "== {name}: passed in {:.1} s\n",
        begun.elapsed().as_secs_f64()
    ));
    Ok(done)
}

/// Runs a command with our own output.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let words = words(command);
    let status = command
        .status()
        .with_context(|| format!("could not start `{words}`"))?;
    if !status.success() {
        bail!("`{words}` ended with {status}");
    }
    Ok(())
}

fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(words, " {}", argument.to_string_lossy());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_fails_its_step() {
        let check = |script: &str| step("sample", || succeed(Command::new("sh").args(["-c", script])));
        assert!(check("exit 0").is_ok());
        let error = format!("{:#}", check("exit 3").expect_err("it failed"));
        assert!(
            error.contains("failed: sample") && error.contains("exit 3"),
            "{error}"
        );
        assert!(step("sample", || succeed(&mut Command::new("/no/such/program"))).is_err());
    }
}
