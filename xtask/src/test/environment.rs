//! What the tests need beside Rust: tools of the system, and a Python environment of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::succeed;
use crate::say;

/// How a tool is found (a command that succeeds), and Debian's package of it.
/// From npm on they build npm's aws-lambda-ric, which a test runs unmodified.
const TOOLS: [(&[&str], &str); 11] = [
    (&["cc", "--version"], "build-essential"),
    (&["c++", "--version"], "build-essential"),
    (&["curl", "--version"], "curl"),
    (&["python3", "--version"], "python3"),
    (&["python3", "-c", "import venv, ensurepip"], "python3-venv"),
    (&["node", "--version"], "nodejs"),
    (&["npm", "--version"], "npm"),
    (&["cmake", "--version"], "cmake"),
    (&["autoconf", "--version"], "autoconf"),
    (&["automake", "--version"], "automake"),
    (&["libtoolize", "--version"], "libtool"),
];

/// Installs what is missing where that is possible; else says what to install.
pub(super) fn install_missing() -> anyhow::Result<()> {
    let missing = missing(&TOOLS);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let install = format!("apt-get install --yes --no-install-recommends {packages}");
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !is_root || !succeeds(&["apt-get", "--version"]) {
        bail!("missing: {packages}; install them, on Debian with `sudo {install}`");
    }
    say(&format!("missing: {packages}; installing them"));
    let mut apt = Command::new("sh");
    apt.args(["-c", &format!("apt-get update && {install}")])
        .env("DEBIAN_FRONTEND", "noninteractive");
    succeed(&mut apt)
}

fn missing(tools: &[(&'static [&'static str], &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools
        .iter()
        .filter(|(probe, _)| !succeeds(probe))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

fn succeeds(words: &[&str]) -> bool {
    Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The Python of an environment below `target` that has what tests/e2e/requirements.txt lists.
/// Kept from run to run while the list and the interpreter stay the same.
pub(super) fn python(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let list = root.join("tests/e2e/requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("could not read `{}`", list.display()))?;
    let version = Command::new("python3")
        .arg("--version")
        .output()
        .context("could not start `python3`")?;
    let wanted = format!("{}{wanted}", String::from_utf8_lossy(&version.stdout));
    let environment = target.join("e2e-venv");
    let stamp = environment.join("squall-requirements");
    let python = environment.join("bin/python");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say(&format!(
        "making a Python environment in {}",
        environment.display()
    ));
    succeed(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ]);
    succeed(pip.arg(&list))?;
    // Last: a half-made environment has no stamp and is made again.
    fs::write(&stamp, wanted).with_context(|| format!("could not write `{}`", stamp.display()))?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_packages_of_missing_tools() {
        let tools: [(&[&str], &str); 4] = [
            (&["true"], "there"),
            (&["false"], "broken"),
            (&["false", "again"], "broken"),
            (&["/no/such/program"], "absent"),
        ];
        assert_eq!(missing(&tools), ["broken", "absent"]);
    }
}
