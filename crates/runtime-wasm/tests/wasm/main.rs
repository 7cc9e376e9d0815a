//! Guests through the traits, as the dispatcher runs them: prepared, created, called, dropped.
//!
//! The clock is the real one: the epoch's ticker is a thread. Nothing here depends on how long anything takes.

mod again;
mod components;
mod host;
mod hostile;
mod outgoing;
mod reuse;
mod streams;
mod surroundings;

use std::time::Duration;

use squall_runtime::{Exit, Fault, LogCapture, Runtime};
use squall_types::PrepareError;

use host::{World, answer, call, error, event, module};

/// Built by examples/hello-wasm-c/build.sh.
const HELLO: &[u8] = include_bytes!("../../../../examples/hello-wasm-c/hello.wasm");

/// Writes the first 6 bytes of memory to a descriptor.
const WRITE: &str = r#"
    (data (i32.const 0) "hello\n")
    (data (i32.const 16) "\00\00\00\00\06\00\00\00")
    (func $say (param i32) (drop (call $write (local.get 0) (i32.const 16) (i32.const 1) (i32.const 32))))"#;

#[tokio::test]
async fn a_command_answers_and_writes_its_log() {
    let world = World::new();
    world.prepare(HELLO).await.expect("it compiles and links");
    let mut instance = world.instance(HELLO).await;
    for (payload, name) in [(r#"{"name": "Ada"}"#, "Ada"), ("{}", "world")] {
        let (reply, log) = call(&mut *instance, payload).await;
        let memory = reply.as_ref().expect("a reply").memory_bytes_max;
        assert_eq!(answer(reply), format!("{{\"greeting\": \"Hello, {name}!\"}}\n"));
        assert_eq!(log, [format!("greeting {name}")]);
        assert!(memory >= 65_536, "{memory}");
    }
}

#[tokio::test]
async fn each_call_gets_a_fresh_sandbox() {
    let count = module(
        r#"(data (i32.const 0) "0") (data (i32.const 16) "\00\00\00\00\01\00\00\00")"#,
        "(i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
         (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))",
    );
    let world = World::new();
    let mut instance = world.instance(&count).await;
    for _ in 0..3 {
        assert_eq!(answer(call(&mut *instance, "{}").await.0), "1");
    }
}

#[tokio::test]
async fn text_becomes_a_json_string_and_nothing_becomes_null() {
    let world = World::new();
    let text = module(WRITE, "(call $say (i32.const 1))");
    assert_eq!(answer(world.call(&text, "{}").await.0), "\"hello\\n\"");
    assert_eq!(answer(world.call(&module("", ""), "{}").await.0), "null");
}

#[tokio::test]
async fn an_exit_status_is_the_functions_error() {
    let world = World::new();
    let (reply, _) = world.call(&module("", "(call $exit (i32.const 3))"), "{}").await;
    assert!(matches!(reply, Err(Fault::Exited(Exit::Status(3)))), "{reply:?}");
    let exit_well = module(WRITE, "(call $say (i32.const 1)) (call $exit (i32.const 0))");
    assert_eq!(answer(world.call(&exit_well, "{}").await.0), "\"hello\\n\"");
}

#[tokio::test]
async fn a_trap_is_an_error_with_a_trace_and_the_slot_lives() {
    let trap = module("(func $deep (unreachable))", "(call $deep)");
    let world = World::new();
    let mut instance = world.instance(&trap).await;
    for _ in 0..2 {
        let error = error(call(&mut *instance, "{}").await.0);
        assert_eq!(error["errorType"], "Runtime.WasmTrap", "{error}");
        assert!(
            error["errorMessage"]
                .as_str()
                .expect("text")
                .contains("unreachable"),
            "{error}"
        );
        let trace = error["stackTrace"].to_string();
        assert!(trace.contains("deep") && trace.contains("main"), "{error}");
    }
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let recursion = module("(func $deep (call $deep))", "(call $deep)");
    let error = error(World::new().call(&recursion, "{}").await.0);
    assert!(
        error["errorMessage"].as_str().expect("text").contains("stack"),
        "{error}"
    );
}

/// On one thread: the loop must give way, or nobody else would ever run.
#[tokio::test]
async fn an_endless_loop_is_dropped_while_another_call_is_answered() {
    let world = World::new();
    let mut looping = world.instance(&module("", "(loop (br 0))")).await;
    let mut hello = world.instance(HELLO).await;
    let (endless_event, mut log) = (event("{}"), LogCapture::new(1000));
    let endless = looping.invoke(&endless_event, &mut log);
    let others = async {
        for _ in 0..5 {
            assert!(answer(call(&mut *hello, "{}").await.0).contains("Hello"));
        }
    };
    tokio::select! {
        biased;
        ended = endless => panic!("an endless loop ended: {ended:?}"),
        () = others => {}
    }
    // The loop's future is dropped: its sandbox is gone, and the next call is answered.
    assert!(answer(call(&mut *hello, "{}").await.0).contains("Hello"));
}

/// The one thread is told never to look at clocks as long as it has tasks: two loops must leave it without any.
#[test]
fn clocks_are_looked_at_while_loops_run() {
    let thread = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .event_interval(u32::MAX)
        .build()
        .expect("a runtime");
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let tell = tell.clone();
        thread.spawn(async move {
            let mut looping = World::new().instance(&module("", "(loop (br 0))")).await;
            let (endless_event, mut log) = (event("{}"), LogCapture::new(1000));
            let endless = looping.invoke(&endless_event, &mut log);
            let ended = tokio::time::timeout(Duration::from_millis(100), endless).await;
            tell.send(ended.is_err()).expect("somebody hears it");
        });
    }
    let cut_off = [(); 2].map(|()| told.recv_timeout(Duration::from_secs(60)));
    thread.shutdown_background();
    assert_eq!(cut_off, [Ok(true), Ok(true)]);
}

#[tokio::test]
async fn memory_past_the_functions_is_refused() {
    let world = World::new();
    // 128 MiB are 2048 pages, of which one is there.
    let grow = |pages: u32| {
        let body =
            format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (unreachable)))");
        module("", &body)
    };
    let (reply, _) = world.call(&grow(2047), "{}").await;
    assert_eq!(
        reply.as_ref().expect("a reply").memory_bytes_max,
        128 * 1024 * 1024
    );
    assert_eq!(answer(reply), "null");
    let refused = error(world.call(&grow(2048), "{}").await.0);
    assert_eq!(refused["errorType"], "Runtime.WasmTrap", "{refused}");
    let large =
        wat::parse_str(r#"(module (memory 2049) (func (export "_start")))"#).expect("WebAssembly text");
    let refused = error(world.call(&large, "{}").await.0);
    assert!(
        refused["errorMessage"].as_str().expect("text").contains("memory"),
        "{refused}"
    );
}

#[tokio::test]
async fn output_is_in_order_and_bounded() {
    let world = World::new();
    let write = "(local $i i32)
        (loop (call $say (i32.const 2))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000))))";
    let (reply, log) = world.call(&module(WRITE, write), "{}").await;
    assert_eq!(answer(reply), "null");
    let (last, lines) = log.split_last().expect("lines");
    assert!(
        lines.iter().all(|line| line == "hello") && lines.len() >= 150,
        "{}",
        lines.len()
    );
    assert!(last.contains("dropped 4000 bytes"), "{last}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    // 101 times 64 KiB are more than 6 MiB.
    let write = r"(local $i i32)
        (i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 65536))
        (loop (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if 0 (i32.lt_u (local.get $i) (i32.const 101))))";
    let (reply, _) = World::new().call(&module("", write), "{}").await;
    assert!(
        matches!(
            reply,
            Err(Fault::ResponseTooLarge {
                bytes_max: 6_291_556,
                ..
            })
        ),
        "{reply:?}"
    );
}

#[tokio::test]
async fn what_is_not_run_is_refused_with_its_reason() {
    let world = World::new();
    let check = async |wasm: &[u8], expected: &str| {
        let refused = world.prepare(wasm).await.expect_err("refused");
        assert!(
            matches!(&refused, PrepareError::Code(why) if why.contains(expected)),
            "{refused:?}"
        );
    };
    let text = |text: &str| wat::parse_str(text).expect("WebAssembly text");
    check(b"\x7fELF\x02\x01\x01\0", "is not WebAssembly").await;
    check(b"", "is not WebAssembly").await;
    check(b"\0asm\x0a\0\x01\0", "of version 65546").await;
    check(b"\0asm\x01\0\0\0\xff", "could not compile").await;
    check(&text("(module)"), "`_start`").await;
    check(
        &text(r#"(module (import "env" "gimme" (func)))"#),
        "`gimme` of `env`",
    )
    .await;
    check(
        &text(r#"(component (import "foo:bar/baz@1.0.0" (instance)))"#),
        "`foo:bar/baz@1.0.0`, which is not offered",
    )
    .await;
    check(&text("(component)"), "wasi:http/incoming-handler").await;
    let unknown =
        r#"(module (import "wasi_snapshot_preview1" "fd_teleport" (func)) (func (export "_start")))"#;
    check(&text(unknown), "fd_teleport").await;
}

#[tokio::test]
async fn damaged_machine_code_is_compiled_again() {
    let world = World::new();
    world.prepare(HELLO).await.expect("compiled");
    let machine_code = || {
        let entries = std::fs::read_dir(world.machine_code_dir()).expect("a folder");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .find(|path| path.extension().is_some_and(|e| e == "cwasm"))
            .expect("machine code")
    };
    let path = machine_code();
    let whole = std::fs::read(&path).expect("readable");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, &damaged).expect("writable");
    let world = world.restarted();
    assert!(answer(world.call(HELLO, "{}").await.0).contains("Hello"));
    assert_ne!(
        std::fs::read(&path).expect("readable"),
        damaged,
        "it was compiled again"
    );
}

#[tokio::test]
async fn what_an_older_server_compiled_is_used() {
    use sha2::Digest;
    let world = World::new();
    world.prepare(HELLO).await.expect("compiled");
    let dir = world.machine_code_dir();
    let with = |extension: &str| {
        let entries = std::fs::read_dir(&dir).expect("a folder");
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        paths.find(|path| path.extension().is_some_and(|e| e == extension))
    };
    let code = with("cwasm").expect("machine code");
    std::fs::remove_file(with("xxh3").expect("a checksum")).expect("removed");
    let hash = sha2::Sha256::digest(std::fs::read(&code).expect("readable"));
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(code.with_extension("sha256"), hex).expect("written");
    let before = std::fs::metadata(&code)
        .and_then(|meta| meta.modified())
        .expect("a time");
    let world = world.restarted();
    assert!(answer(world.call(HELLO, "{}").await.0).contains("Hello"));
    let after = std::fs::metadata(&code)
        .and_then(|meta| meta.modified())
        .expect("a time");
    assert_eq!(before, after, "it was not compiled again");
    assert!(with("sha256").is_none() && with("xxh3").is_some());
}

#[tokio::test]
async fn machine_code_goes_with_the_last_revision_that_uses_it() {
    let world = World::new();
    let (first, second) = (world.revision(HELLO), world.revision(HELLO));
    let other = world.revision(&module("", ""));
    for revision in [&first, &second, &other] {
        world.runtime.prepare(revision).await.expect("compiled");
    }
    let files = |world: &World| {
        let entries = std::fs::read_dir(world.machine_code_dir()).expect("a folder");
        let files = entries.filter(|entry| entry.as_ref().expect("an entry").path().is_file());
        files.count()
    };
    assert_eq!(files(&world), 4, "two contents, each with its checksum");
    world.runtime.retire(first.id).await;
    assert_eq!(files(&world), 4, "the second revision uses it");
    let world = world.restarted();
    world.runtime.retire(second.id).await;
    assert_eq!(files(&world), 2);
    world.runtime.retire(other.id).await;
    assert_eq!(files(&world), 0);
    assert!(
        answer(world.call(HELLO, "{}").await.0).contains("Hello"),
        "compiled again"
    );
}

#[tokio::test]
async fn a_stopped_runtime_blames_nobody() {
    let world = World::new();
    world.prepare(HELLO).await.expect("compiled");
    world.runtime.shutdown().await;
    let stopped = world.prepare(&module("", "")).await;
    assert_eq!(stopped, Err(PrepareError::Stopped));
}
