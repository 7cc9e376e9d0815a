//! What a component learns of its surroundings, and what it tells its log.

use squall_runtime::{Exit, Fault};

use crate::host::{World, answer};

/// A command that reads `key` of its configuration and logs the value as `greeter`; 1 where there is none.
fn greeter(key: &str) -> Vec<u8> {
    let length = key.len();
    let text = format!(
        r#"(component
            (import "wasi:config/store@0.2.0-rc.1" (instance $config
                (type $failure (variant (case "upstream" string) (case "io" string)))
                (export "error" (type $error (eq $failure)))
                (type $got (result (option string) (error $error)))
                (export "get" (func (param "key" string) (result $got)))))
            (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $levels (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $levels)))
                (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
            (core module $memory
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (global.get $next))
                    (global.set $next (i32.add (global.get $next) (local.get 3)))
                    (local.get $at))
                (data (i32.const 0) "{key}") (data (i32.const 32) "greeter"))
            (core instance $m (instantiate $memory))
            (core func $get (canon lower (func $config "get")
                (memory $m "memory") (realloc (func $m "realloc"))))
            (core func $log (canon lower (func $logging "log") (memory $m "memory")))
            (core module $code
                (import "host" "memory" (memory 1))
                (import "host" "get" (func $get (param i32 i32 i32)))
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                (func (export "run") (result i32)
                    ;; At 64: not ok; at 68: is some; at 72 and 76: where and how long.
                    (call $get (i32.const 0) (i32.const {length}) (i32.const 64))
                    (call $log (i32.const 3) (i32.const 32) (i32.const 7)
                        (i32.load (i32.const 72)) (i32.load (i32.const 76)))
                    (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68))))))
            (core instance $host (export "memory" (memory $m "memory"))
                (export "get" (func $get)) (export "log" (func $log)))
            (core instance $made (instantiate $code (with "host" (instance $host))))
            (func $run (result (result)) (canon lift (core func $made "run")))
            (instance $runs (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $runs)))"#
    );
    wat::parse_str(text).expect("WebAssembly text")
}

#[tokio::test]
async fn configuration_is_the_environment_and_the_log_the_functions() {
    let (reply, log) = World::new().call(&greeter("GREETING"), "{}").await;
    assert_eq!(answer(reply), "null");
    assert_eq!(log, ["[WARN] greeter: salut"]);
}

#[tokio::test]
async fn what_is_not_configured_is_none() {
    let (reply, log) = World::new().call(&greeter("ABSENT"), "{}").await;
    assert!(matches!(reply, Err(Fault::Exited(Exit::Status(1)))), "{reply:?}");
    assert_eq!(log, ["[WARN] greeter: "]);
}
