//! Several processes: killed ones, failing ones, second ones.
//!
//! Each test runs itself again, in a process of its own that finds the directory in its environment.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const CHILD_DIR: &str = "SQUALL_STORE_TEST_CHILD_DIR";
const CHILD_ROUND: &str = "SQUALL_STORE_TEST_CHILD_ROUND";
/// What a child says starts with this, since the test harness writes to the same stream.
const SAYS: &str = "child: ";
/// Keys of one batch.
const PARTS: u8 = 3;

/// The directory, in a child.
fn child_dir() -> Option<std::path::PathBuf> {
    env::var_os(CHILD_DIR).map(Into::into)
}

/// Runs a test of this module again, as a child; under `shell`, which ends in `exec "$@"`, if there is one.
fn child(test: &str, dir: &Path, round: u64, shell: Option<&str>) -> Child {
    let binary = env::current_exe().expect("tests have a path");
    let mut command = match shell {
        Some(shell) => {
            let mut command = Command::new("sh");
            command.args(["-c", shell, "sh"]).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command.args([
        "--exact",
        "--nocapture",
        &format!("embedded::tests::processes::{test}"),
    ]);
    command.env(CHILD_DIR, dir).env(CHILD_ROUND, round.to_string());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starts")
}

/// What the child says, line by line, until it ends.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let lines = out.lines().map(|line| line.expect("text"));
    lines.filter_map(|line| line.split_once(SAYS).map(|(_, said)| said.to_owned()))
}

fn part(round: u64, task: u64, n: u64, part: u8) -> Vec<u8> {
    format!("{round:04}/{task:04}/{n:08}/{part}").into_bytes()
}

/// Commits without end, from several tasks, and says what was acknowledged.
async fn write_until_killed(dir: &Path, round: u64) {
    let config = EmbeddedConfig {
        // Small, so that it is also killed while it writes tables.
        memtable_bytes: 16 * 1024,
        ..EmbeddedConfig::default()
    };
    let store = Arc::new(Embedded::open(dir, config).expect("opens"));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0.. {
                let batch = if n % 2 == 0 {
                    Batch::durable()
                } else {
                    Batch::buffered()
                };
                let put = |batch: Batch, p| batch.put(SPACE, part(round, task, n, p), vec![p; 50]);
                let committed = store.commit((0..PARTS).fold(batch, put)).await.expect("commits");
                println!("{SAYS}{round} {task} {n} {}", committed.sequence);
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    if let Some(dir) = child_dir() {
        let round = env::var(CHILD_ROUND).expect("a round").parse().expect("a number");
        return write_until_killed(&dir, round).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = BTreeMap::new();
    for (round, acks) in [1, 2, 17, 130, 700, 2500].into_iter().enumerate() {
        let test = "a_killed_writer_loses_nothing_that_it_acknowledged";
        let mut child = child(test, dir.path(), round as u64, None);
        let mut said_in_all = 0;
        for (n, said) in lines(&mut child).enumerate() {
            said_in_all = n + 1;
            let numbers: Vec<u64> = said.split(' ').map(|n| n.parse().expect("a number")).collect();
            acknowledged.insert((numbers[0], numbers[1], numbers[2]), numbers[3]);
            if n + 1 == acks {
                child.kill().expect("kills");
            }
        }
        child.wait().expect("ends");
        assert!(
            said_in_all >= acks,
            "the writer ended by itself in round {round}, after {said_in_all}"
        );
        check_all_there(dir.path(), &acknowledged).await;
    }
}

/// All that was acknowledged is there, and whatever is there is whole.
async fn check_all_there(dir: &Path, acknowledged: &BTreeMap<(u64, u64, u64), u64>) {
    let store = open(dir).expect("opens");
    for ((round, task, n), sequence) in acknowledged {
        for p in 0..PARTS {
            let entry = store
                .get(SPACE, &part(*round, *task, *n, p))
                .await
                .expect("reads");
            let entry = entry.unwrap_or_else(|| panic!("{round} {task} {n} is lost"));
            assert_eq!(
                (entry.revision, entry.value),
                (*sequence, Bytes::from(vec![p; 50]))
            );
        }
    }
    let found = store.scan(Scan::prefix(SPACE, "")).await.expect("scans");
    for parts in found.chunks(PARTS.into()) {
        assert_eq!(parts.len(), usize::from(PARTS), "a batch is whole");
        assert!(
            parts
                .iter()
                .all(|(_, entry)| entry.revision == parts[0].1.revision),
            "{parts:?}"
        );
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_has_it() {
    if let Some(dir) = child_dir() {
        return match open(&dir) {
            Ok(_) => println!("{SAYS}it opened"),
            Err(error) => println!("{SAYS}{error}"),
        };
    }
    let dir = tempfile::tempdir().expect("a directory");
    let test = "a_second_process_is_refused_and_told_who_has_it";
    let store = open(dir.path()).expect("opens");
    let said: Vec<_> = lines(&mut child(test, dir.path(), 0, None)).collect();
    let pid = std::process::id();
    let expected = format!(
        "`{}` is in use by another process (pid {pid})",
        dir.path().display()
    );
    assert_eq!(said, [expected]);
    drop(store);
    let said: Vec<_> = lines(&mut child(test, dir.path(), 0, None)).collect();
    assert_eq!(said, ["it opened"]);
}

/// Commits until it fails, then once more.
async fn write_until_it_fails(dir: &Path) {
    let store = open(dir).expect("opens");
    for n in 0.. {
        if let Err(error) = put(&store, n, n % 2 == 0).await {
            println!("{SAYS}failed {error}");
            let again = put(&store, n, true).await.map(drop);
            assert!(
                numbers(&store).await.len() as u64 >= n,
                "what was written can be read"
            );
            return println!("{SAYS}again {again:?}");
        }
        println!("{SAYS}{n}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_an_error_and_stops_all_that_follow() {
    if let Some(dir) = child_dir() {
        return write_until_it_fails(&dir).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    written(dir.path(), 1).await;
    // No file may grow past 128 KiB or so; the journal exists already and is cut to its data when it is opened.
    let shell = "trap '' XFSZ; ulimit -f 256; exec \"$@\"";
    let test = "a_write_that_fails_is_an_error_and_stops_all_that_follow";
    let said: Vec<_> = lines(&mut child(test, dir.path(), 0, Some(shell))).collect();
    let [acknowledged @ .., failed, again] = said.as_slice() else {
        panic!("the child said {said:?}");
    };
    assert!(
        failed.starts_with("failed the store could not commit a batch: File too large"),
        "{failed}"
    );
    assert!(again.starts_with("again Err(Io"), "{again}");
    assert!(
        acknowledged.len() > 100,
        "{} were acknowledged",
        acknowledged.len()
    );
    let found = numbers(&open(dir.path()).expect("opens")).await;
    assert!(found.len() >= acknowledged.len(), "{} are there", found.len());
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
}
