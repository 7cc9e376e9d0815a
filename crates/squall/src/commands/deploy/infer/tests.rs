//! The table of what is found where.

use super::*;

const PYTHON: &str = "def handler(event, context): pass";
const NODE: &str = "exports.handler = async () => 1";

fn package(files: &[(&str, &str)]) -> (tempfile::TempDir, Package) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("writable");
    }
    let package = Package::open(dir.path()).expect("a package");
    (dir, package)
}

fn host(family: Family) -> Option<String> {
    Some(format!("host's {family:?}"))
}

fn wish(runtime: Option<&str>, handler: Option<&str>) -> Wish {
    Wish {
        runtime: runtime.map(str::to_owned),
        handler: handler.map(str::to_owned),
    }
}

fn check(files: &[(&str, &str)], wish: Wish, expected: Option<(&str, &str)>) {
    let (_dir, package) = package(files);
    let found = infer(&package, wish, host)
        .ok()
        .map(|plan| (plan.runtime, plan.handler));
    let expected = expected.map(|(runtime, handler)| (runtime.to_owned(), handler.to_owned()));
    assert_eq!(found, expected, "{files:?}");
}

#[test]
fn files_say_what_to_run() {
    let check = |files: &[(&str, &str)], expected| check(files, wish(None, None), expected);
    check(&[("app.py", PYTHON)], Some(("host's Python", "app.handler")));
    check(&[("any.py", PYTHON)], Some(("host's Python", "any.handler")));
    check(
        &[("app.py", PYTHON), ("lambda_function.py", PYTHON)],
        Some(("host's Python", "lambda_function.handler")),
    );
    check(
        &[("app.py", PYTHON), ("lambda_function.py", "")],
        Some(("host's Python", "app.handler")),
    );
    check(&[("a.py", PYTHON), ("b.py", PYTHON)], None);
    check(&[("src/app.py", PYTHON)], None);
    check(&[("index.mjs", NODE)], Some(("host's Node", "index.handler")));
    check(&[("any.js", NODE)], Some(("host's Node", "any.handler")));
    check(
        &[
            ("package.json", r#"{"main": "./dist/run"}"#),
            ("dist/run.js", NODE),
        ],
        Some(("host's Node", "dist/run.handler")),
    );
    check(
        &[("package.json", "{}"), ("index.js", NODE)],
        Some(("host's Node", "index.handler")),
    );
    check(
        &[("index.js", NODE), ("tool.py", "")],
        Some(("host's Node", "index.handler")),
    );
    check(&[("index.js", "1")], None);
    check(
        &[("bootstrap", "#!"), ("app.py", PYTHON)],
        Some(("host's Custom", "bootstrap")),
    );
    check(&[("m.wasm", "")], Some(("host's Wasm", "m.wasm")));
    check(
        &[("m.wasm", ""), ("index.js", NODE)],
        Some(("host's Node", "index.handler")),
    );
    check(&[("a.wasm", ""), ("b.wasm", "")], None);
    check(&[("bootstrap/x", "")], None);
    check(&[], None);
}

#[test]
fn flags_win_over_files() {
    let both = [("app.py", PYTHON), ("index.js", NODE), ("lib/deep.py", "")];
    check(
        &both,
        wish(Some("nodejs20.x"), None),
        Some(("nodejs20.x", "index.handler")),
    );
    check(
        &both,
        wish(Some("python3.9"), None),
        Some(("python3.9", "app.handler")),
    );
    check(
        &both,
        wish(None, Some("index.other")),
        Some(("host's Node", "index.other")),
    );
    check(
        &both,
        wish(None, Some("lib.deep.run")),
        Some(("host's Python", "lib.deep.run")),
    );
    check(
        &both,
        wish(None, Some("lib/deep.run")),
        Some(("host's Python", "lib/deep.run")),
    );
    check(
        &both,
        wish(Some("java21"), Some("a::b")),
        Some(("java21", "a::b")),
    );
    let modules = [("a.wasm", ""), ("b.wasm", "")];
    check(
        &modules,
        wish(None, Some("b.wasm")),
        Some(("host's Wasm", "b.wasm")),
    );
    check(&modules, wish(Some("wasm"), None), None);
    check(&both, wish(Some("java21"), None), None);
    check(&both, wish(Some("provided.al2"), None), None);
    check(&both, wish(None, Some("gone.run")), None);
}

#[test]
fn a_function_keeps_its_handler_while_the_code_has_its_file() {
    let (_dir, package) = package(&[("old.py", ""), ("index.js", NODE)]);
    let check = |runtime: &str, handler: &str, kept: bool| {
        let function = FunctionConfiguration {
            runtime: Some(runtime.to_owned()),
            handler: Some(handler.to_owned()),
            ..FunctionConfiguration::default()
        };
        assert_eq!(keep(&package, &function).is_some(), kept, "{runtime} {handler}");
    };
    check("python3.9", "old.any", true);
    check("nodejs18.x", "index.any", true);
    check("python3.9", "gone.any", false);
    check("provided.al2", "bootstrap", false);
    check("java21", "a::b", false);
}

#[test]
fn says_what_was_looked_for_and_what_there_is() {
    let (_dir, package) = package(&[("notes.txt", "")]);
    let error = infer(&package, Wish::default(), host)
        .expect_err("nothing to run")
        .to_string();
    for part in [
        "lambda_function.py",
        "lambda_handler",
        "bootstrap",
        "notes.txt",
        "--handler",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn versions_become_lambdas_names() {
    assert_eq!(python_runtime("Python 3.11.7\n").as_deref(), Some("python3.11"));
    assert_eq!(node_runtime("v20.20.2\n").as_deref(), Some("nodejs20.x"));
    assert_eq!(python_runtime("command not found"), None);
}
