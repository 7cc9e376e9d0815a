//! Components: those that handle HTTP requests, and commands.

use squall_runtime::{Exit, Fault};

use crate::host::{World, answer, call, error};
use crate::streams;

/// Built by examples/hello-wasm-http-c/build.sh.
pub(crate) const HELLO: &[u8] = include_bytes!("../../../../examples/hello-wasm-http-c/hello.wasm");

/// A component of the proxy world that does `body` with a request and the place for its response.
fn handler(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.3" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            (core module $code (func (export "handle") (param i32 i32) {body}))
            (core instance $made (instantiate $code))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $made "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#
    );
    wat::parse_str(text).expect("WebAssembly text")
}

/// A command that returns this: 0 is ok.
fn command(result: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $code (func (export "run") (result i32) (i32.const {result})))
            (core instance $made (instantiate $code))
            (func $run (result (result)) (canon lift (core func $made "run")))
            (instance $runs (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $runs)))"#
    );
    wat::parse_str(text).expect("WebAssembly text")
}

#[tokio::test]
async fn an_event_is_a_request_and_the_responses_body_its_answer() {
    let world = World::new();
    world.prepare(HELLO).await.expect("it compiles and links");
    let mut instance = world.instance(HELLO).await;
    for event in [r#"{"name": "Ada"}"#, "[1, 2]"] {
        let (reply, log) = call(&mut *instance, event).await;
        assert_eq!(answer(reply), format!("{{\"you\": {event}}}"));
        assert!(log.is_empty(), "{log:?}");
    }
}

#[tokio::test]
async fn streamed_calls_share_a_slot_and_no_answer() {
    let world = World::new();
    let mut instance = world.instance(HELLO).await;
    for _ in 0..3 {
        let (reply, text) = streams::whole(&mut *instance, "/any").await;
        assert!(reply.is_ok_and(|reply| reply.result.is_ok()));
        assert_eq!(text.as_deref(), Some("{\"you\": }"));
    }
}

#[tokio::test]
async fn a_component_that_does_not_respond_is_not_waited_for() {
    let world = World::new();
    let silent = error(world.call(&handler(""), "{}").await.0);
    assert_eq!(silent["errorType"], "Runtime.WasmError", "{silent}");
    assert!(
        silent["errorMessage"]
            .as_str()
            .expect("text")
            .contains("without a response"),
        "{silent}"
    );
    let trapped = error(world.call(&handler("(unreachable)"), "{}").await.0);
    assert_eq!(trapped["errorType"], "Runtime.WasmTrap", "{trapped}");
}

#[tokio::test]
async fn a_command_component_leaves_with_a_status() {
    let world = World::new();
    assert_eq!(answer(world.call(&command(0), "{}").await.0), "null");
    let (reply, _) = world.call(&command(1), "{}").await;
    assert!(matches!(reply, Err(Fault::Exited(Exit::Status(1)))), "{reply:?}");
}

/// Components in the wild mix the releases of WASI 0.2, within one component too.
#[tokio::test]
async fn every_release_of_wasi_0_2_is_linked_with_every_other() {
    let world = World::new();
    for release in 0..=12 {
        let other = 12 - release;
        let text = format!(
            r#"(component
                (import "wasi:random/random@0.2.{release}" (instance $random
                    (export "get-random-u64" (func (result u64)))))
                (import "wasi:clocks/monotonic-clock@0.2.{other}" (instance $clock
                    (export "now" (func (result u64)))))
                (core func $random (canon lower (func $random "get-random-u64")))
                (core func $now (canon lower (func $clock "now")))
                (core module $code
                    (import "host" "random" (func $random (result i64)))
                    (import "host" "now" (func $now (result i64)))
                    (func (export "run") (result i32) (i64.eqz (i64.or (call $random) (call $now)))))
                (core instance $host (export "random" (func $random)) (export "now" (func $now)))
                (core instance $made (instantiate $code (with "host" (instance $host))))
                (func $run (result (result)) (canon lift (core func $made "run")))
                (instance $runs (export "run" (func $run)))
                (export "wasi:cli/run@0.2.{release}" (instance $runs)))"#
        );
        let component = wat::parse_str(text).expect("WebAssembly text");
        assert_eq!(
            answer(world.call(&component, "{}").await.0),
            "null",
            "0.2.{release} and 0.2.{other}"
        );
    }
}
