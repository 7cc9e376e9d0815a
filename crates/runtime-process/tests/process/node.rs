//! Node handlers, in workers that were booted ahead.

use std::sync::Arc;

use serde_json::json;
use squall_runtime::{Exit, Fault, Runtime};
use squall_types::{Revision, RuntimeName};

use crate::host::{Host, runs};

fn revision(host: &Host, source: &str) -> Revision {
    let mut revision = host.revision(&[("app.mjs", source)]);
    revision.runtime = RuntimeName::Node { major: 20 };
    revision
}

#[tokio::test]
async fn a_handler_answers_logs_raises_and_leaves() {
    let host = Host::new();
    let source = "
export const handler = async (event, context) => {
  if (event === 'raise') throw new TypeError('no good');
  if (event === 'leave') process.exit(6);
  console.log('got', event);
  return { event, name: context.functionName, colour: process.env.COLOUR };
};
";
    let mut started = host.start(&Arc::new(revision(&host, source))).await;
    let expected = json!({ "event": 1, "name": "probe", "colour": "blue" });
    assert_eq!(started.answer("1").await, expected);
    let lines = started.lines();
    assert!(lines.len() == 1 && lines[0].ends_with("got 1"), "{lines:?}");
    let error = started.error("\"raise\"").await;
    assert_eq!(
        (error["errorType"].as_str(), error["errorMessage"].as_str()),
        (Some("TypeError"), Some("no good"))
    );
    let fault = started.call("\"leave\"").await.unwrap_err();
    assert!(matches!(fault, Fault::Exited(Exit::Status(6))), "{fault:?}");
}

#[tokio::test]
async fn no_two_instances_share_a_worker_and_resting_ends_none_of_them() {
    let host = Host::new();
    let source =
        "export const handler = async () => [process.pid, process.cwd() === process.env.LAMBDA_TASK_ROOT];\n";
    let revision = Arc::new(revision(&host, source));
    let mut pids = Vec::new();
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut started = host.start(&revision).await;
        let answer = started.answer("{}").await;
        assert_eq!(answer[1], json!(true));
        pids.push(answer[0].to_string());
        all.push(started);
    }
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2]);
    assert!(pids.iter().all(|pid| runs(pid)));
    host.runtime.rest(revision.id).await;
    assert!(
        pids.iter().all(|pid| runs(pid)),
        "resting ends only workers that wait"
    );
}
