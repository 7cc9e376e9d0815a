//! Forks: what they share, what they do not, and what happens without them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use squall_runtime::{LogCapture, Runtime};

use crate::host::{Host, Started, runs};

async fn start_many(host: &Host, revision: Arc<squall_types::Revision>, count: usize) -> Vec<Started> {
    let creates: Vec<_> = (0..count)
        .map(|_| {
            let (runtime, revision) = (Arc::clone(&host.runtime), Arc::clone(&revision));
            tokio::spawn(async move {
                let mut instance = runtime.create(&revision).await.unwrap();
                let mut log = LogCapture::new(1 << 20);
                instance.init(&mut log).await.unwrap();
                Started { instance, log }
            })
        })
        .collect();
    let mut started = Vec::new();
    for create in creates {
        started.push(create.await.unwrap());
    }
    started
}

async fn answers(started: &mut [Started]) -> Vec<Value> {
    let mut answers = Vec::new();
    for one in started {
        answers.push(one.answer("{}").await);
    }
    answers
}

fn distinct(answers: &[Value]) -> usize {
    answers
        .iter()
        .map(ToString::to_string)
        .collect::<BTreeSet<_>>()
        .len()
}

#[tokio::test]
async fn twenty_concurrent_creates_share_one_zygote_and_no_randomness() {
    let host = Host::new();
    let parent = "import os\ndef handler(event, context): return os.getppid()\n";
    let revision = Arc::new(host.revision(&[("app.py", parent)]));
    let parents = answers(&mut start_many(&host, revision, 20).await).await;
    assert_eq!(distinct(&parents), 1);
    assert_ne!(
        parents[0],
        json!(std::process::id()),
        "the zygote is the parent, not the server"
    );

    let random = "import random\nvalue = random.random()\ndef handler(event, context): return value\n";
    let revision = Arc::new(host.revision(&[("app.py", random)]));
    let values = answers(&mut start_many(&host, revision, 20).await).await;
    assert_eq!(distinct(&values), 20);
}

#[tokio::test]
async fn packages_are_imported_in_the_zygote_and_own_modules_in_the_fork() {
    let host = Host::new();
    let files = [
        (
            "app.py",
            "import os, mine, vendored, colorsys, sys\ndef handler(event, context):\n    return [mine.pid == os.getpid(), vendored.pid == os.getppid(), vendored.said]\n",
        ),
        ("mine.py", "import os\npid = os.getpid()\nfrom wave import open\n"),
        (
            "vendored/__init__.py",
            "import os, sys\npid = os.getpid()\nprint('vendored speaks')\nsaid = 'wave' in sys.modules\n",
        ),
        ("vendored-1.0.dist-info/RECORD", "vendored/__init__.py,,\n"),
    ];
    let revision = Arc::new(host.revision(&files));
    for _ in 0..2 {
        let mut started = host.start(&revision).await;
        let answer = started.answer("{}").await;
        assert_eq!(answer.as_array().unwrap()[..2], [json!(true), json!(true)]);
        assert_eq!(started.lines(), ["vendored speaks"]);
    }
}

#[tokio::test]
async fn a_package_that_starts_threads_or_wants_own_modules_gets_fresh_processes() {
    let host = Host::new();
    let app = "import vendored\ndef handler(event, context): return vendored.value\n";
    let threads = "import threading, time\nthreading.Thread(target=time.sleep, args=[1000], daemon=True).start()\nvalue = 1\n";
    let wants = "import settings\nvalue = settings.value\n";
    for (package, reason) in [(threads, "2 threads"), (wants, "own module `settings`")] {
        let files = [
            ("app.py", app),
            ("settings.py", "value = 1\n"),
            ("vendored.py", package),
            ("vendored-1.0.dist-info/top_level.txt", "vendored\n"),
        ];
        let mut started = host.start(&Arc::new(host.revision(&files))).await;
        assert_eq!(started.answer("{}").await, json!(1));
        let lines = started.lines();
        assert!(
            lines[0].starts_with("squall: started a fresh process") && lines[0].contains(reason),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_killed_zygote_takes_its_forks_along_and_another_takes_its_place() {
    let host = Host::new();
    let source = "import os\ndef handler(event, context): return os.getppid()\n";
    let revision = Arc::new(host.revision(&[("app.py", source)]));
    let mut first = host.start(&revision).await;
    let zygote = first.answer("{}").await;
    let mut exit = first.instance.exit();
    let pid = rustix::process::Pid::from_raw(zygote.as_i64().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(exit.wait_for(Option::is_some).await.unwrap().is_some());
    let mut second = host.start(&revision).await;
    assert_ne!(second.answer("{}").await, zygote);
}

#[tokio::test]
async fn an_instance_has_ended_before_anybody_was_told_how() {
    let host = Host::new();
    let source = "import os\ndef handler(event, context): return os.getpid()\n";
    let mut started = host.start(&Arc::new(host.revision(&[("app.py", source)]))).await;
    let pid = started.answer("{}").await.as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert!(!started.instance.has_ended());
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Holds up the only thread, so that nobody hears of it meanwhile.
    let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut ended, None).unwrap();
    assert!(started.instance.exit().borrow().is_none());
    assert!(started.instance.has_ended());
}

#[tokio::test]
async fn resting_ends_the_zygote_and_retiring_removes_the_folders() {
    let host = Host::new();
    let source =
        "import os\ndef handler(event, context): return [os.getppid(), os.environ['LAMBDA_TASK_ROOT']]\n";
    let revision = Arc::new(host.revision(&[("app.py", source)]));
    let mut started = host.start(&revision).await;
    let answer = started.answer("{}").await;
    started.instance.stop(std::time::Duration::from_secs(10)).await;
    host.runtime.rest(revision.id).await;
    while runs(&answer[0].to_string()) {
        tokio::task::yield_now().await;
    }
    let task = answer[1].as_str().unwrap();
    assert!(std::path::Path::new(task).is_dir());
    assert_ne!(std::path::Path::new(task), revision.code.dir);
    let mut again = host.start(&revision).await;
    assert_ne!(again.answer("{}").await[0], answer[0]);
    drop(again);
    host.runtime.retire(revision.id).await;
    assert!(!std::path::Path::new(task).exists());
}
