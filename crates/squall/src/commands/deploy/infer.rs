//! What to run in a package: its runtime and its handler, from its files.

use std::process::Command;

use anyhow::{Context, bail};

use super::handlers;
use super::package::Package;
use crate::client::lambda::FunctionConfiguration;

const PYTHON_FILES: [&str; 4] = ["lambda_function.py", "app.py", "main.py", "handler.py"];
const NODE_STEMS: [&str; 3] = ["index", "app", "handler"];
const NODE_EXTENSIONS: [&str; 3] = ["mjs", "js", "cjs"];
const CUSTOM_RUNTIME: &str = "provided.al2023";
const WASM_RUNTIME: &str = "wasm";

/// What the flags say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) runtime: Option<String>,
    pub(super) handler: Option<String>,
}

/// What to deploy the code as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) runtime: String,
    pub(super) handler: String,
}

/// Runtimes that find their handlers alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Custom,
    Python,
    Node,
    Wasm,
}

impl Family {
    const ALL: [Self; 4] = [Self::Custom, Self::Python, Self::Node, Self::Wasm];

    fn of_runtime(runtime: &str) -> Option<Self> {
        match runtime {
            WASM_RUNTIME => Some(Self::Wasm),
            _ if runtime.starts_with("provided") => Some(Self::Custom),
            _ if runtime.starts_with("python") => Some(Self::Python),
            _ if runtime.starts_with("nodejs") => Some(Self::Node),
            _ => None,
        }
    }

    fn find_handler(self, package: &Package) -> Option<String> {
        match self {
            Self::Custom => package.has("bootstrap").then(|| "bootstrap".to_owned()),
            Self::Python => find_python(package),
            Self::Node => find_node(package),
            Self::Wasm => find_wasm(package),
        }
    }

    /// Whether the package has the file that this handler names.
    fn has_handler(self, package: &Package, handler: &str) -> bool {
        if self == Self::Custom {
            return package.has("bootstrap");
        }
        if self == Self::Wasm {
            return is_wasm(handler) && package.has(handler);
        }
        let Some((module, _)) = handler.rsplit_once('.') else {
            return false;
        };
        if self == Self::Python {
            let file = module.replace('.', "/");
            return package.has(&format!("{file}.py")) || package.has(&format!("{file}/__init__.py"));
        }
        NODE_EXTENSIONS
            .iter()
            .any(|extension| package.has(&format!("{module}.{extension}")))
    }
}

/// The runtime and handler that a function has, where the code still fits them.
pub(super) fn keep(package: &Package, function: &FunctionConfiguration) -> Option<Plan> {
    let runtime = function.runtime.clone()?;
    let handler = function.handler.clone()?;
    let fits = Family::of_runtime(&runtime)?.has_handler(package, &handler);
    fits.then_some(Plan { runtime, handler })
}

/// Completes what the flags say. `host` gives this machine's runtime of a family, where it has one.
///
/// # Errors
/// When the package does not say, with what was looked for.
pub(super) fn infer(
    package: &Package,
    wish: Wish,
    host: impl Fn(Family) -> Option<String>,
) -> anyhow::Result<Plan> {
    match wish {
        Wish {
            runtime: Some(runtime),
            handler: Some(handler),
        } => Ok(Plan { runtime, handler }),
        Wish {
            runtime: Some(runtime),
            handler: None,
        } => {
            let family = Family::of_runtime(&runtime).with_context(|| {
                format!("no handler can be looked for in `{runtime}`: say it with --handler")
            })?;
            let handler = family.find_handler(package).with_context(|| not_found(package))?;
            Ok(Plan { runtime, handler })
        }
        Wish {
            runtime: None,
            handler: Some(handler),
        } => {
            let family = Family::ALL
                .into_iter()
                .find(|family| family.has_handler(package, &handler));
            let family = family.with_context(|| format!("there is no file for the handler `{handler}`"))?;
            let runtime = runtime(family, host)?;
            Ok(Plan { runtime, handler })
        }
        Wish {
            runtime: None,
            handler: None,
        } => {
            for family in Family::ALL {
                if let Some(handler) = family.find_handler(package) {
                    let runtime = runtime(family, host)?;
                    return Ok(Plan { runtime, handler });
                }
            }
            bail!(not_found(package))
        }
    }
}

fn runtime(family: Family, host: impl Fn(Family) -> Option<String>) -> anyhow::Result<String> {
    host(family).with_context(|| {
        format!("the code is {family:?}, and this machine has none to take the version from: say it with --runtime")
    })
}

/// The well-known files in order, then a file that is the only one of its kind.
fn find_python(package: &Package) -> Option<String> {
    let mut others = package
        .top_level()
        .filter(|name| name.ends_with(".py") && *name != "__init__.py");
    let only = others.next().filter(|_| others.next().is_none());
    PYTHON_FILES.into_iter().chain(only).find_map(|file| {
        let handler = handlers::python(&package.text(file)?)?;
        Some(format!("{}.{handler}", file.trim_end_matches(".py")))
    })
}

fn find_node(package: &Package) -> Option<String> {
    let is_node = |name: &&str| {
        NODE_EXTENSIONS
            .iter()
            .any(|extension| name.ends_with(&format!(".{extension}")))
    };
    let mut others = package.top_level().filter(is_node);
    let only = others.next().filter(|_| others.next().is_none());
    let known = NODE_STEMS
        .iter()
        .flat_map(|stem| NODE_EXTENSIONS.map(|extension| format!("{stem}.{extension}")));
    main_of_package_json(package)
        .into_iter()
        .chain(known)
        .chain(only.map(str::to_owned))
        .find_map(|file| {
            let handler = handlers::node(&package.text(&file)?)?;
            let (stem, _) = file.rsplit_once('.')?;
            Some(format!("{stem}.{handler}"))
        })
}

/// WebAssembly needs no handler; its file's name says which one it is.
fn find_wasm(package: &Package) -> Option<String> {
    let mut all = package.top_level().filter(|name| is_wasm(name));
    let only = all.next().filter(|_| all.next().is_none());
    only.map(str::to_owned)
}

fn is_wasm(name: &str) -> bool {
    name.ends_with(".wasm")
}

fn main_of_package_json(package: &Package) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(&package.text("package.json")?).ok()?;
    let main = value.get("main")?.as_str()?.trim_start_matches("./");
    let with_extension = package.has(main).then(|| main.to_owned());
    with_extension.or_else(|| Some(format!("{main}.js")).filter(|file| package.has(file)))
}

fn not_found(package: &Package) -> String {
    let found: Vec<&str> = package.top_level().take(10).collect();
    format!(
        "looked for `bootstrap`; for {}, or the only .py file, with a top-level function {} of two arguments; \
         for package.json's main, {}, or the only one, as .mjs, .js or .cjs, that exports {}; \
         for the only .wasm file; found {}: \
         say it with --runtime and --handler FILE.FUNCTION",
        PYTHON_FILES.join(", "),
        handlers::PYTHON.join(", "),
        NODE_STEMS.join(", "),
        handlers::NODE.join(" or "),
        if found.is_empty() {
            "nothing".to_owned()
        } else {
            found.join(", ")
        },
    )
}

/// The version of a family that this machine has; a server on it has the same.
pub(super) fn host_runtime(family: Family) -> Option<String> {
    match family {
        Family::Custom => Some(CUSTOM_RUNTIME.to_owned()),
        Family::Python => python_runtime(&version_of("python3")?),
        Family::Node => node_runtime(&version_of("node")?),
        Family::Wasm => Some(WASM_RUNTIME.to_owned()),
    }
}

fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// `Python 3.11.7` is `python3.11`.
fn python_runtime(version: &str) -> Option<String> {
    let mut numbers = version.trim().strip_prefix("Python ")?.split('.');
    Some(format!("python{}.{}", numbers.next()?, numbers.next()?))
}

/// `v20.20.2` is `nodejs20.x`.
fn node_runtime(version: &str) -> Option<String> {
    let major = version.trim().strip_prefix('v')?.split('.').next()?;
    Some(format!("nodejs{major}.x"))
}

#[cfg(test)]
mod tests;
