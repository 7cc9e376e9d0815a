//! Machine code that was lost: it is compiled again beside the calls, once, and calls wait for that.

use std::path::PathBuf;
use std::process::Command;

use squall_runtime::Runtime;
use squall_runtime_wasm::Compiler;
use squall_types::PrepareError;

use crate::HELLO;
use crate::host::{World, answer, call};
use crate::hostile::machine_code;

/// Notes that it runs, tells `begun`, and waits for `gate` before it copies what was compiled before.
const WAITS: &str =
    r#"echo >> "$0/count"; echo > "$0/begun"; cat "$0/gate" > "$0/opened"; cp "$0/code" "$2""#;
/// Notes that it runs, and complains.
const REFUSES: &str = r#"echo >> "$0/count"; echo "too new" >&2; exit 1"#;

/// A compiler that is a script, and the folder where it is watched.
struct Bench(tempfile::TempDir);

impl Bench {
    /// A server that starts without the machine code of HELLO, which `script` makes.
    async fn start(script: &str) -> (World, Self) {
        let world = World::new();
        world.prepare(HELLO).await.expect("compiled");
        let bench = Self(tempfile::tempdir().expect("a temporary folder"));
        let code = machine_code(&world);
        std::fs::copy(&code, bench.path("code")).expect("copied");
        std::fs::remove_file(code).expect("removed");
        for pipe in ["begun", "gate"] {
            let made = Command::new("mkfifo").arg(bench.path(pipe)).status();
            assert!(made.expect("mkfifo runs").success());
        }
        let folder = bench.0.path().to_string_lossy().into_owned();
        let arguments = vec!["-c".to_owned(), script.to_owned(), folder];
        let world = world.restarted_with(Compiler::Child("/bin/sh".into(), arguments));
        (world, bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Waits until the script runs.
    async fn begun(&self) {
        tokio::fs::read(self.path("begun")).await.expect("a pipe");
    }

    /// Lets the script go on.
    async fn open(&self) {
        tokio::fs::write(self.path("gate"), b"").await.expect("a pipe");
    }

    /// How often the script has run.
    fn count(&self) -> usize {
        std::fs::read(self.path("count")).expect("it has run").len()
    }
}

#[tokio::test]
async fn a_call_that_goes_does_not_end_the_compilation_that_it_waits_for() {
    let (world, bench) = Bench::start(WAITS).await;
    let revision = world.revision(HELLO);
    tokio::select! {
        biased;
        _ = world.runtime.create(&revision) => panic!("nothing is compiled yet"),
        () = bench.begun() => {}
    }
    let why = world.runtime.preparing(revision.id).await;
    assert!(why.is_some_and(|why| why.contains("compiled again")), "{why:?}");
    bench.open().await;
    let mut instance = world.instance_of(&revision).await;
    assert!(answer(call(&mut *instance, "{}").await.0).contains("Hello"));
    assert_eq!(world.runtime.preparing(revision.id).await, None);
    assert_eq!(bench.count(), 1);
}

#[tokio::test]
async fn all_who_wait_for_one_content_share_its_compilation() {
    let (world, bench) = Bench::start(WAITS).await;
    let (first, second) = (world.revision(HELLO), world.revision(HELLO));
    let open = async {
        bench.begun().await;
        bench.open().await;
    };
    let (one, same, other, prepared, ()) = tokio::join!(
        world.runtime.create(&first),
        world.runtime.create(&first),
        world.runtime.create(&second),
        world.runtime.prepare(&second),
        open,
    );
    assert!(one.is_ok() && same.is_ok() && other.is_ok() && prepared.is_ok());
    assert_eq!(bench.count(), 1);
}

#[tokio::test]
async fn code_that_does_not_compile_again_is_not_tried_for_each_call() {
    let (world, bench) = Bench::start(REFUSES).await;
    let revision = world.revision(HELLO);
    for _ in 0..3 {
        let refused = world.runtime.create(&revision).await.err().expect("no instance");
        assert!(refused.reason.contains("too new"), "{refused}");
    }
    assert_eq!(bench.count(), 1);
    let refused = world.runtime.prepare(&revision).await;
    assert!(matches!(refused, Err(PrepareError::Code(_))), "{refused:?}");
    assert_eq!(bench.count(), 2, "whoever prepares it tries again");
}

#[tokio::test]
async fn a_server_that_stops_ends_what_it_compiles() {
    let (world, bench) = Bench::start(WAITS).await;
    let revision = world.revision(HELLO);
    let stop = async {
        bench.begun().await;
        world.runtime.shutdown().await;
    };
    let (prepared, ()) = tokio::join!(world.runtime.prepare(&revision), stop);
    assert_eq!(prepared, Err(PrepareError::Stopped));
    assert!(!world.runtime.is_prepared(&revision).await);
}

#[tokio::test]
async fn what_has_lost_its_machine_code_is_no_longer_prepared() {
    let world = World::new();
    let revision = world.revision(HELLO);
    world.runtime.prepare(&revision).await.expect("compiled");
    assert!(world.runtime.is_prepared(&revision).await);
    let world = world.restarted();
    assert!(world.runtime.is_prepared(&revision).await);
    std::fs::remove_file(machine_code(&world)).expect("removed");
    assert!(!world.runtime.is_prepared(&revision).await);
    world.runtime.prepare(&revision).await.expect("compiled again");
    assert!(world.runtime.is_prepared(&revision).await);
}
