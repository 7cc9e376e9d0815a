//! Which crate may depend on which: down the layers only, never within one.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The layers, as ARCHITECTURE.md draws them. A new crate gets its line here and there.
const LAYERS: [(&str, u8); 15] = [
    ("squall", 6),
    ("squall-gateway", 5),
    ("squall-workflow", 4),
    ("squall-events", 4),
    ("squall-dispatcher", 4),
    ("squall-host", 4),
    ("squall-runtime-process", 4),
    ("squall-runtime-wasm", 4),
    ("squall-registry", 3),
    ("squall-state", 3),
    ("squall-access", 3),
    ("squall-objects", 3),
    ("squall-cluster", 3),
    ("squall-store", 2),
    ("squall-runtime", 2),
];
const TYPES: (&str, u8) = ("squall-types", 1);

/// What the edge reaches through traits of `types` alone: a peer may stand there as well as this machine.
const NOT_IN_GATEWAY: [&str; 3] = [
    "squall-dispatcher",
    "squall-runtime-process",
    "squall-runtime-wasm",
];

/// For building and testing; nothing that ships depends on them.
const DEVELOPMENT: [&str; 3] = ["squall-testkit", "squall-bench", "xtask"];

/// Heavy dependencies, and the one crate that hides each.
const OWNERS: [(&str, &str); 3] = [
    ("fjall", "squall-store"),
    ("wasmtime", "squall-runtime-wasm"),
    ("async-nats", "squall-cluster"),
];

/// What does I/O or starts tasks, which `types` never does.
const NOT_IN_TYPES: [&str; 4] = ["tokio", "tokio-util", "hyper", "hyper-util"];

/// What one crate needs to be built, or to be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// As Cargo.toml says it.
    pub(super) name: String,
    /// Name, and whether it is for tests only.
    pub(super) needs: Vec<(String, bool)>,
}

/// The workspace's own crates.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("could not read the workspace's metadata")?;
    let packages = metadata.packages.iter().map(|package| Package {
        name: package.name.to_string(),
        needs: package
            .dependencies
            .iter()
            .map(|needed| (needed.name.clone(), needed.kind == DependencyKind::Development))
            .collect(),
    });
    Ok(packages.collect())
}

/// Every arrow that must not be.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let from = package.name.as_str();
        if layer(from).is_none() && !DEVELOPMENT.contains(&from) {
            found.push(format!(
                "{from}: the crate is in no layer (xtask/src/tidy/arrows.rs, ARCHITECTURE.md)"
            ));
            continue;
        }
        for (to, for_tests) in &package.needs {
            if let Some(wrong) = wrong_with(from, to, *for_tests) {
                found.push(format!("{from} -> {to}: {wrong}"));
            }
        }
    }
    found
}

fn wrong_with(from: &str, to: &str, for_tests: bool) -> Option<String> {
    let owner = OWNERS
        .iter()
        .find(|(needed, _)| to == *needed || to.starts_with(&format!("{needed}-")));
    if let Some((_, owner)) = owner.filter(|(_, owner)| from != *owner) {
        return Some(format!("only {owner} knows it"));
    }
    if from == TYPES.0 && !for_tests && NOT_IN_TYPES.contains(&to) {
        return Some("types does no I/O and starts no tasks".to_owned());
    }
    if from == "squall-gateway" && !for_tests && NOT_IN_GATEWAY.contains(&to) {
        return Some("the gateway calls `types::Invoke`, whoever implements it".to_owned());
    }
    if DEVELOPMENT.contains(&from) {
        return None;
    }
    if DEVELOPMENT.contains(&to) {
        return (!for_tests).then(|| "it is for development only".to_owned());
    }
    let (above, below) = (layer(from)?, layer(to)?);
    let allowed = if for_tests { above >= below } else { above > below };
    (!allowed).then(|| format!("arrows point down, and this one goes from layer {above} to layer {below}"))
}

fn layer(name: &str) -> Option<u8> {
    LAYERS
        .iter()
        .chain([&TYPES])
        .find(|(package, _)| *package == name)
        .map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_arrow(from: &str, to: &str, for_tests: bool, allowed: bool) {
        let package = Package {
            name: from.to_owned(),
            needs: vec![(to.to_owned(), for_tests)],
        };
        let found = check(&[package]);
        assert_eq!(found.is_empty(), allowed, "{from} -> {to}: {found:?}");
    }

    #[test]
    fn arrows_point_down_and_never_within_a_layer() {
        check_arrow("squall", "squall-gateway", false, true);
        check_arrow("squall-gateway", "squall-registry", false, true);
        check_arrow("squall-store", "squall-types", false, true);
        check_arrow("squall-gateway", "squall-events", false, true);
        check_arrow("squall-gateway", "squall-dispatcher", false, false);
        check_arrow("squall-events", "squall-dispatcher", false, false);
        check_arrow("squall-store", "squall-runtime", false, false);
        check_arrow("squall-types", "squall-store", false, false);
        check_arrow("squall-registry", "squall-gateway", false, false);
    }

    #[test]
    fn tests_may_use_a_neighbour_but_nothing_above() {
        check_arrow("squall-dispatcher", "squall-runtime-process", true, true);
        check_arrow("squall-store", "squall-registry", true, false);
        check_arrow("squall-store", "squall-testkit", true, true);
        check_arrow("squall-store", "squall-testkit", false, false);
        check_arrow("squall-gateway", "xtask", false, false);
    }

    #[test]
    fn heavy_dependencies_stay_in_one_crate() {
        check_arrow("squall-store", "fjall", false, true);
        check_arrow("squall-gateway", "fjall", false, false);
        check_arrow("squall-registry", "fjall", true, false);
        check_arrow("squall", "wasmtime-wasi", false, false);
        check_arrow("squall-runtime-wasm", "wasmtime-wasi", false, true);
        check_arrow("squall-types", "tokio", false, false);
        check_arrow("squall-types", "serde", false, true);
    }

    #[test]
    fn a_crate_that_nobody_placed_is_found() {
        check_arrow("squall-surprise", "serde", false, false);
        check_arrow("xtask", "anyhow", false, true);
    }
}
