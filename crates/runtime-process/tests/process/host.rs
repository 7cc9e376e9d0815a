//! A runtime in a folder of its own, and revisions written on the spot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Value;
use squall_access::Sessions;
use squall_runtime::{Event, Fault, Instance, LogCapture, Reply, Runtime};
use squall_runtime_process::{ProcessConfig, ProcessRuntime, WallsWanted};
use squall_types::{Code, Encoding, RequestId, Revision, RevisionId, RuntimeName, Version};
use tempfile::TempDir;

pub(crate) struct Host {
    pub(crate) runtime: Arc<ProcessRuntime>,
    pub(crate) dir: TempDir,
}

impl Host {
    /// Without walls: these tests look at processes by the numbers that functions tell, and the server's are others.
    pub(crate) fn new() -> Self {
        Self::with(WallsWanted::Off)
    }

    pub(crate) fn with(walls: WallsWanted) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = ProcessConfig::new(dir.path().join("run"));
        config.endpoint = Some("http://127.0.0.1:9400".into());
        config.sessions = Some(Sessions::default());
        config.walls = walls;
        let runtime = ProcessRuntime::new(config).unwrap();
        Self { runtime, dir }
    }

    /// A revision of Python code: files by name, the handler `app.handler`.
    pub(crate) fn revision(&self, files: &[(&str, &str)]) -> Revision {
        let id = RevisionId::random();
        let code = self.dir.path().join("code").join(id.to_string());
        for (name, text) in files {
            let file = code.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        fs::create_dir_all(&code).unwrap();
        Revision {
            id,
            name: "probe".parse().unwrap(),
            version: Version::Latest,
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:probe".into(),
            runtime: RuntimeName::Python { minor: 11 },
            handler: "app.handler".into(),
            memory_mib: 256,
            ephemeral_storage_mib: 512,
            timeout: Duration::from_secs(3),
            environment: BTreeMap::from([("COLOUR".to_owned(), "blue".to_owned())]),
            code: Code {
                sha256: String::new(),
                dir: code,
            },
            log_group: "/aws/lambda/probe".into(),
        }
    }

    pub(crate) async fn start(&self, revision: &Arc<Revision>) -> Started {
        let instance = self.runtime.create(revision).await.unwrap();
        let mut started = Started {
            instance,
            log: LogCapture::new(10 << 20),
        };
        started.instance.init(&mut started.log).await.unwrap();
        started
    }

    /// An initialised instance of one file.
    pub(crate) async fn python(&self, source: &str) -> Started {
        self.start(&Arc::new(self.revision(&[("app.py", source)]))).await
    }
}

/// An instance and what it has written.
pub(crate) struct Started {
    pub(crate) instance: Box<dyn Instance>,
    pub(crate) log: LogCapture,
}

impl Started {
    pub(crate) async fn call(&mut self, payload: &str) -> Result<Reply, Fault> {
        self.instance.invoke(&event(payload), &mut self.log).await
    }

    /// The handler's answer.
    pub(crate) async fn answer(&mut self, payload: &str) -> Value {
        let reply = self.call(payload).await.unwrap();
        assert!(
            reply.memory_bytes_max > 1 << 20,
            "a Python process has more than 1 MiB"
        );
        serde_json::from_slice(&reply.result.unwrap()).unwrap()
    }

    /// The error that the handler raised.
    pub(crate) async fn error(&mut self, payload: &str) -> Value {
        let reply = self.call(payload).await.unwrap();
        serde_json::from_slice(&reply.result.unwrap_err().body).unwrap()
    }

    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.log.finish().into_iter().map(|line| line.text).collect()
    }
}

pub(crate) fn event(payload: &str) -> Event {
    Event {
        request_id: RequestId::random(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        deadline: SystemTime::now() + Duration::from_secs(60),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:probe:live".into(),
        trace_id: Some("Root=1-abc".into()),
        client_context: Some(Bytes::from_static(
            br#"{"client":{"app_title":"shop"},"custom":{"a":1}}"#,
        )),
        encoding: Encoding::Json,
        host: None,
    }
}

/// Whether a process runs: it has a number and is no zombie.
pub(crate) fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ") && !status.contains("State:\tX")
}
