//! Fifty instances leave nothing behind.

use std::sync::Arc;
use std::time::Duration;

use squall_runtime::Runtime;

use crate::host::Host;

/// Runs in a process of its own, where nobody else opens descriptors: this same test binary, started again.
#[test]
fn fifty_instances_leave_no_descriptor_and_no_zombie() {
    const ALONE: &str = "SQUALL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "leaks::fifty_instances_leave_no_descriptor_and_no_zombie";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let host = Host::new();
        let revision = Arc::new(host.revision(&[("app.py", "def handler(event, context): return 1\n")]));
        start_and_stop(&host, &revision).await;
        let before = descriptors();
        for _ in 0..50 {
            start_and_stop(&host, &revision).await;
        }
        let given_back = async {
            while descriptors() > before {
                tokio::task::yield_now().await;
            }
        };
        let given_back = tokio::time::timeout(Duration::from_secs(30), given_back).await;
        assert!(
            given_back.is_ok(),
            "{} descriptors, and {before} before",
            descriptors()
        );
        host.runtime.retire(revision.id).await;
        while !children().is_empty() {
            tokio::task::yield_now().await;
        }
    });
}

async fn start_and_stop(host: &Host, revision: &Arc<squall_types::Revision>) {
    let mut started = host.start(revision).await;
    started.answer("{}").await;
    started.instance.stop(Duration::from_secs(10)).await;
    // The task that watched it holds the last descriptor; it ends soon after it has told.
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> Vec<String> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let list = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(str::to_owned));
    }
    children
}
