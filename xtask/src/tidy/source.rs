//! What one Rust file may hold, and where.

use super::code::{blank, line_of, test_parts, words};

const LINES_MAX: usize = 600;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "manager", "managers", "common", "misc",
];
/// Making a process, and loading machine code.
const UNSAFE_IN: [&str; 3] = [
    "crates/runtime-process/src/sandbox",
    "crates/runtime-process/src/socket.rs",
    "crates/runtime-wasm/src/guest.rs",
];
/// `squall` binds the port and hands it to the gateway; `network` hands it who comes by a function's door, and `egress`
/// takes what leaves a function's network.
const LISTENS_IN: [&str; 6] = [
    "crates/gateway/",
    "crates/runtime-process/src/egress/mod.rs",
    "crates/runtime-process/src/network.rs",
    "crates/runtime-process/src/runtime_api",
    "crates/squall/src/",
    // Not of the server: a rival for the bench.
    "crates/runtime-wasm/examples/serve.rs",
];
const LISTENING: [&str; 4] = [
    "TcpListener",
    "hyper::server",
    "hyper_util::server",
    "axum::serve",
];
const FJALL_IN: [&str; 1] = ["crates/store/"];
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
const SLEEPS: [&str; 3] = ["sleep", "sleep_until", "sleep_ms"];

/// A file with what the rules look at.
struct Source<'a> {
    /// From the workspace's root.
    path: &'a str,
    text: &'a str,
    code: String,
}

/// Every broken rule, as `path:line: what`.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let source = Source {
        path,
        text,
        code: blank(text),
    };
    let mut found = Vec::new();
    source.check_shape(&mut found);
    source.check_name(&mut found);
    source.check_places(&mut found);
    source.check_unfinished(&mut found);
    source.check_sleeps(&mut found);
    found
}

impl Source<'_> {
    fn at(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_of(&self.code, offset))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Files of tests only: an integration test, or the tests of a module in their own file.
    fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    fn is_in_test(&self, offset: usize) -> bool {
        self.is_test() || test_parts(&self.code).iter().any(|part| part.contains(&offset))
    }

    fn check_shape(&self, found: &mut Vec<String>) {
        if !self.text.starts_with("//!") {
            found.push(self.at(
                0,
                "a file opens with `//!`: what it is, who calls it, what bounds it",
            ));
        }
        let lines = self.text.lines().count();
        if lines > LINES_MAX {
            found.push(self.at(0, &format!("{lines} lines are more than {LINES_MAX}: split it")));
        }
    }

    fn check_name(&self, found: &mut Vec<String>) {
        let of_file = self.path.trim_end_matches(".rs").split('/');
        let empty = |name: &str| name.split(['_', '-']).any(|part| EMPTY_NAMES.contains(&part));
        if let Some(name) = of_file.clone().find(|name| empty(name)) {
            found.push(self.at(0, &format!("`{name}` says nothing: name it after what is inside")));
        }
        for at in words(&self.code, "mod") {
            let name = self.code[at + 3..].trim_start();
            let name = name
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default();
            if empty(name) {
                found.push(self.at(
                    at,
                    &format!("`{name}` says nothing: name it after what is inside"),
                ));
            }
        }
    }

    fn check_places(&self, found: &mut Vec<String>) {
        if !self.is_in(&UNSAFE_IN) {
            let all = words(&self.code, "unsafe");
            found.extend(all.map(|at| {
                self.at(
                    at,
                    "`unsafe` lives in runtime-process::sandbox and ::socket and in runtime-wasm::guest only",
                )
            }));
        }
        // `xtask` only names it.
        if !self.is_in(&FJALL_IN) && !self.is_in(&["xtask/"]) {
            let all = words(&self.code, "fjall");
            found.extend(all.map(|at| self.at(at, "only the store knows fjall")));
        }
        if self.is_in(&["crates/"]) && !self.is_in(&LISTENS_IN) {
            let all = LISTENING.iter().flat_map(|word| words(&self.code, word));
            let ours = all.filter(|at| !self.is_in_test(*at));
            found.extend(ours.map(|at| self.at(at, "only the gateway and the runtime API listen")));
        }
    }

    fn check_unfinished(&self, found: &mut Vec<String>) {
        for (at, _) in self.code.match_indices("#[ignore") {
            found.push(self.at(at, "a test that is ignored tests nothing"));
        }
        for name in UNFINISHED {
            let word = name.trim_end_matches('!');
            for at in words(&self.code, word).filter(|at| self.code[at + word.len()..].starts_with('!')) {
                found.push(self.at(at, &format!("`{name}` is unfinished work")));
            }
        }
    }

    /// Under tokio's paused time a sleep takes no time and is exact; every other one is slow, or flaky, or both.
    fn check_sleeps(&self, found: &mut Vec<String>) {
        let paused = self.code.contains("start_paused") || self.code.contains("time::pause()");
        for at in SLEEPS.iter().flat_map(|word| words(&self.code, word)) {
            let blocks = self.code[..at].ends_with("thread::");
            if self.is_in_test(at) && (blocks || !paused) {
                found.push(self.at(at, "a test waits for what it tests, not for time to pass"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = "crates/store/src/x.rs";
    const GATEWAY: &str = "crates/gateway/src/x.rs";
    const SANDBOX: &str = "crates/runtime-process/src/sandbox/fork.rs";

    /// `rule` is a part of the one message expected; `None` expects silence.
    fn check_source(path: &str, text: &str, rule: Option<&str>) {
        let found = check(path, text);
        match rule {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(rule) => assert!(
                found.len() == 1 && found[0].contains(rule),
                "{path}\n{text}\n{found:?}"
            ),
        }
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        check_source(GATEWAY, "//! What.\n", None);
        check_source(GATEWAY, "// What.\n", Some("opens with"));
        check_source(GATEWAY, "", Some("opens with"));
    }

    #[test]
    fn a_file_has_an_end() {
        check_source(GATEWAY, &format!("//! What.\n{}", "\n".repeat(599)), None);
        check_source(
            GATEWAY,
            &format!("//! What.\n{}", "\n".repeat(600)),
            Some("601 lines"),
        );
    }

    #[test]
    fn a_module_says_what_is_inside() {
        check_source("crates/gateway/src/utils.rs", "//! What.", Some("`utils`"));
        check_source("crates/gateway/src/helpers/x.rs", "//! What.", Some("`helpers`"));
        check_source(
            "crates/gateway/src/pool_manager.rs",
            "//! What.",
            Some("`pool_manager`"),
        );
        check_source(GATEWAY, "//! What.\nmod common;", Some(":2: `common`"));
        check_source(GATEWAY, "//! What.\nmod commons; use hyper_util::rt;", None);
    }

    #[test]
    fn unsafe_lives_in_three_places() {
        let text = "//! What.\nfn f() { unsafe { g() } }";
        check_source(GATEWAY, text, Some(":2: `unsafe`"));
        check_source(SANDBOX, text, None);
        check_source("crates/runtime-process/src/sandbox.rs", text, None);
        check_source("crates/runtime-process/src/socket.rs", text, None);
        check_source("crates/runtime-wasm/src/guest.rs", text, None);
        check_source("crates/runtime-wasm/src/cache.rs", text, Some(":2: `unsafe`"));
        check_source(
            GATEWAY,
            "//! unsafe\n// unsafe\nconst X: &str = \"unsafe\"; // unsafe_code",
            None,
        );
    }

    #[test]
    fn only_the_edges_listen() {
        for line in [
            "use tokio::net::TcpListener;",
            "use hyper::server::conn::http1;",
            "use hyper_util::server::x;",
        ] {
            let text = format!("//! What.\n{line}");
            check_source("crates/dispatcher/src/x.rs", &text, Some("listen"));
            check_source("crates/runtime-process/src/pool.rs", &text, Some("listen"));
            check_source("crates/runtime-process/src/runtime_api/x.rs", &text, None);
            check_source(GATEWAY, &text, None);
            check_source("bench/src/hello.rs", &text, None);
            let in_test = format!("//! What.\n#[cfg(test)]\nmod tests {{ {line} }}");
            check_source("crates/dispatcher/src/x.rs", &in_test, None);
        }
    }

    #[test]
    fn only_the_store_knows_its_engine() {
        let text = "//! What.\nuse fjall::Database;";
        check_source(STORE, text, None);
        check_source(GATEWAY, text, Some("fjall"));
    }

    #[test]
    fn nothing_is_left_unfinished() {
        for line in ["todo!()", "unimplemented!(\"x\")", "std::dbg!(x)"] {
            check_source(
                GATEWAY,
                &format!("//! What.\nfn f() {{ {line}; }}"),
                Some("unfinished"),
            );
        }
        check_source(GATEWAY, "//! What.\nfn f() { my_todo!(); } // todo!()", None);
    }

    #[test]
    fn no_test_is_ignored() {
        check_source(
            GATEWAY,
            "//! What.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}",
            Some("ignored"),
        );
        check_source(GATEWAY, "//! What.\n#[ignore]\nfn f() {}", Some("ignored"));
    }

    #[test]
    fn a_test_does_not_sleep() {
        let in_tests = |body: &str| format!("//! What.\n#[cfg(test)]\nmod tests {{ {body} }}");
        let rule = Some("not for time to pass");
        check_source(GATEWAY, &in_tests("fn f() { std::thread::sleep(D); }"), rule);
        check_source(
            GATEWAY,
            &in_tests("fn f() { tokio::time::sleep(D).await; }"),
            rule,
        );
        check_source(GATEWAY, &in_tests("fn f() { sleep_until(D).await; }"), rule);
        check_source(
            "crates/x/tests/all.rs",
            "//! What.\nfn f() { sleep(D).await; }",
            rule,
        );
        check_source(
            "crates/x/src/y/tests.rs",
            "//! What.\nfn f() { sleep(D).await; }",
            rule,
        );
        let paused = "#[tokio::test(start_paused = true)] async fn f() { tokio::time::sleep(D).await; }";
        check_source(GATEWAY, &in_tests(paused), None);
        let blocking = "#[tokio::test(start_paused = true)] async fn f() { thread::sleep(D); }";
        check_source(GATEWAY, &in_tests(blocking), rule);
        check_source(
            GATEWAY,
            "//! What.\nfn f() { tokio::time::sleep(D).await; }",
            None,
        );
    }
}
