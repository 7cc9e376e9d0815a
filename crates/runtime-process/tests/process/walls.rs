//! Instances within the walls that this host allows; `tests/e2e/test_walls.py` has the hostile ones.

use std::sync::Arc;

use serde_json::json;
use squall_runtime_process::WallsWanted;

use crate::host::Host;

#[tokio::test]
async fn forks_and_fresh_processes_answer_within_the_walls() {
    let host = Host::with(WallsWanted::Auto);
    let app = "import vendored\ndef handler(event, context):\n    with open('/tmp/mine', 'w') as file:\n        file.write('x')\n    return [event, open('/tmp/mine').read()]\n";
    // Two threads after the imports make a zygote unfit.
    let threads = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n";
    for package in ["", threads] {
        let files = [
            ("app.py", app),
            ("vendored.py", package),
            ("vendored-1.0.dist-info/top_level.txt", "vendored\n"),
        ];
        let mut started = host.start(&Arc::new(host.revision(&files))).await;
        assert_eq!(started.answer("7").await, json!([7, "x"]));
        assert_eq!(package.is_empty(), started.lines().is_empty());
    }
}
