//! Guests that take what they can get: each is bounded, is told why, and leaves its neighbours alone.

use squall_runtime::LogCapture;
use squall_types::PrepareError;

use crate::host::{World, answer, call, error, event, module};

const HELLO: &[u8] = include_bytes!("../../../../examples/hello-wasm-c/hello.wasm");
const MEMORY_BYTES_MAX: u64 = 128 * 1024 * 1024;

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("WebAssembly text")
}

async fn check_a_neighbour(world: &World) {
    assert!(answer(world.call(HELLO, "{}").await.0).contains("Hello"));
}

#[tokio::test]
async fn allocating_without_end_ends_at_the_limit() {
    let world = World::new();
    let greedy = module(
        "",
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (call $exit (i32.const 0))",
    );
    let (reply, _) = world.call(&greedy, "{}").await;
    let taken = reply.as_ref().expect("a reply").memory_bytes_max;
    assert_eq!(answer(reply), "null");
    // 16 pages are a mebibyte: the last growth that fits leaves less than that.
    assert!(
        (MEMORY_BYTES_MAX - 16 * 65_536..=MEMORY_BYTES_MAX).contains(&taken),
        "{taken}"
    );
    check_a_neighbour(&world).await;
}

#[tokio::test]
async fn a_table_ends_at_its_limit() {
    let world = World::new();
    let greedy = module(
        "(table $t 1 funcref)",
        "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
         (if (i32.gt_u (table.size $t) (i32.const 20000)) (then (unreachable)))",
    );
    assert_eq!(answer(world.call(&greedy, "{}").await.0), "null");
    check_a_neighbour(&world).await;
}

/// What the pool has no place for is the guest's fault, and said when it is deployed.
#[tokio::test]
async fn what_is_larger_than_the_pool_is_refused_when_it_is_deployed() {
    let world = World::new();
    let check = async |wasm: &str| {
        let refused = world.prepare(&text(wasm)).await.expect_err("refused");
        assert!(
            matches!(&refused, PrepareError::Code(why) if why.contains("exceed")),
            "{refused:?}"
        );
    };
    check(r#"(module (memory 1) (memory 1) (func (export "_start")))"#).await;
    check(r#"(module (table 20001 funcref) (func (export "_start")))"#).await;
    check_a_neighbour(&world).await;
}

/// On one thread, as the loop without output is tested: what is written is bounded however long it goes on.
#[tokio::test]
async fn logging_without_end_is_bounded_and_gives_way() {
    let world = World::new();
    let noise = module(
        r#"(data (i32.const 0) "noise\n") (data (i32.const 16) "\00\00\00\00\06\00\00\00")"#,
        "(loop (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 32))) (br 0))",
    );
    let mut noisy = world.instance(&noise).await;
    let mut hello = world.instance(HELLO).await;
    let (noise_event, mut log) = (event("{}"), LogCapture::new(1000));
    let others = async {
        for _ in 0..100 {
            assert!(answer(call(&mut *hello, "{}").await.0).contains("Hello"));
        }
    };
    tokio::select! {
        biased;
        ended = noisy.invoke(&noise_event, &mut log) => panic!("endless noise ended: {ended:?}"),
        () = others => {}
    }
    let lines = log.finish();
    let kept: usize = lines.iter().map(|line| line.text.len()).sum();
    assert!(kept <= 1100, "{kept} bytes of log were kept");
}

#[tokio::test]
async fn a_host_call_with_pointers_into_nowhere_is_the_guests_error() {
    let world = World::new();
    let wild = module(
        "",
        "(drop (call $write (i32.const 1) (i32.const -8) (i32.const -1) (i32.const -4)))",
    );
    let reply = world.call(&wild, "{}").await.0.expect("a reply");
    // Whether preview 1 answers with an error number or ends the guest: nothing of the host was written.
    match reply.result {
        Ok(written) => assert_eq!(written, "null"),
        Err(refused) => assert!(
            String::from_utf8_lossy(&refused.body).contains("Runtime.Wasm"),
            "{refused:?}"
        ),
    }
    check_a_neighbour(&world).await;
}

/// A command that logs one message of this many bytes, all of them 0.
fn shouting(bytes: u32) -> Vec<u8> {
    let pages = bytes.div_ceil(65_536);
    text(&format!(
        r#"(component
            (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $levels (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $levels)))
                (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
            (core module $memory (memory (export "memory") {pages}))
            (core instance $m (instantiate $memory))
            (core func $log (canon lower (func $logging "log") (memory $m "memory")))
            (core module $code
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                (func (export "run") (result i32)
                    (call $log (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {bytes}))
                    (i32.const 0)))
            (core instance $host (export "log" (func $log)))
            (core instance $made (instantiate $code (with "host" (instance $host))))
            (func $run (result (result)) (canon lift (core func $made "run")))
            (instance $runs (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $runs)))"#
    ))
}

/// What the host copies for a guest is not in the guest's memory, whose limit does not hold there.
#[tokio::test]
async fn one_call_of_the_host_takes_so_much_and_no_more() {
    const BYTES_MAX: u32 = (16 << 20) + (64 << 10);
    let world = World::new();
    let mut quiet = world.instance(HELLO).await;
    let (reply, log) = world.call(&shouting(BYTES_MAX), "{}").await;
    assert_eq!(answer(reply), "null");
    assert!(
        log.concat().len() < 2000,
        "more than the log's own bound was kept"
    );
    let mut shouting = world.instance(&shouting(BYTES_MAX + 1)).await;
    for _ in 0..2 {
        let ((refused, _), (neighbour, _)) =
            tokio::join!(call(&mut *shouting, "{}"), call(&mut *quiet, "{}"));
        let refused = error(refused);
        assert_eq!(refused["errorType"], "Runtime.WasmError", "{refused}");
        assert!(
            refused["errorMessage"].to_string().contains("too much data"),
            "{refused}"
        );
        assert!(answer(neighbour).contains("Hello"));
    }
}

#[tokio::test]
async fn a_trap_in_deep_code_has_a_bounded_trace() {
    let world = World::new();
    let deep = module(
        "(func $down (param i32)
            (if (i32.eqz (local.get 0)) (then (unreachable)))
            (call $down (i32.sub (local.get 0) (i32.const 1))))",
        "(call $down (i32.const 1000))",
    );
    let trapped = error(world.call(&deep, "{}").await.0);
    let trace = trapped["stackTrace"].as_array().expect("a trace");
    assert!(!trace.is_empty() && trace.len() < 1000, "{} lines", trace.len());
    assert!(trapped["stackTrace"].to_string().contains("down"), "{trapped}");
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_by_its_size() {
    let world = World::new();
    let revision = world.revision(b"\0asm\x01\0\0\0");
    let file = std::fs::File::options()
        .write(true)
        .open(revision.code.dir.join("guest.wasm"))
        .expect("writable");
    // A hole: nothing of it is on disk.
    file.set_len(100 * 1024 * 1024 + 1).expect("a longer file");
    let refused = squall_runtime::Runtime::prepare(&world.runtime, &revision)
        .await
        .expect_err("refused");
    assert!(
        matches!(&refused, PrepareError::Code(why) if why.contains("more than the 104857600")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn machine_code_of_another_engine_is_removed_and_never_loaded() {
    let world = World::new();
    world.prepare(HELLO).await.expect("compiled");
    let ours = machine_code(&world);
    let whole = std::fs::read(&ours).expect("readable");
    let name = ours.file_name().expect("a name").to_string_lossy().into_owned();
    let (content, _) = name.split_once('-').expect("content and engine");
    let theirs = ours.with_file_name(format!("{content}-0123456789abcdef.cwasm"));
    std::fs::write(&theirs, b"not for this engine").expect("writable");
    let world = world.restarted();
    check_a_neighbour(&world).await;
    assert!(!theirs.exists(), "another engine's code was kept");
    assert_eq!(std::fs::read(&ours).expect("readable"), whole);
}

/// The checksum tells what a disk did. What it cannot tell, the engine does: then too it is compiled again.
#[tokio::test]
async fn machine_code_that_the_engine_refuses_is_compiled_again() {
    let world = World::new();
    world.prepare(HELLO).await.expect("compiled");
    let path = machine_code(&world);
    let other = World::new();
    other.prepare(&module("", "")).await.expect("compiled");
    // Its version is written into the file, in the section that names the engine.
    let mut foreign = std::fs::read(machine_code(&other)).expect("readable");
    let version = foreign
        .windows(2)
        .rposition(|two| two == b"48")
        .expect("a version");
    foreign[version..version + 2].copy_from_slice(b"47");
    std::fs::write(&path, &foreign).expect("writable");
    let checksum = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&foreign));
    std::fs::write(path.with_extension("xxh3"), checksum).expect("writable");
    let world = world.restarted();
    check_a_neighbour(&world).await;
    assert_ne!(std::fs::read(&path).expect("readable"), foreign);
}

pub(crate) fn machine_code(world: &World) -> std::path::PathBuf {
    let entries = std::fs::read_dir(world.machine_code_dir()).expect("a folder");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .expect("machine code")
}
