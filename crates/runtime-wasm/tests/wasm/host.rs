//! What the tests share: a runtime over a folder of its own, and revisions made of WebAssembly text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use squall_runtime::{Event, Fault, Instance, LogCapture, Reply, Runtime};
use squall_runtime_wasm::{Compiler, WasmConfig, WasmRuntime};
use squall_types::{Code, Encoding, PrepareError, RequestId, Revision, RevisionId, RuntimeName, Version};

pub(crate) struct World {
    pub(crate) runtime: WasmRuntime,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let runtime = WasmRuntime::new(config(&dir, Compiler::InProcess));
        Self { runtime, dir }
    }

    /// A server that starts again on the same folder.
    pub(crate) fn restarted(self) -> Self {
        self.restarted_with(Compiler::InProcess)
    }

    /// The same, of a version that compiles like this.
    pub(crate) fn restarted_with(self, compiler: Compiler) -> Self {
        let runtime = WasmRuntime::new(config(&self.dir, compiler));
        Self { runtime, ..self }
    }

    pub(crate) fn machine_code_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("machine-code")
    }

    /// A revision whose package has this one file.
    pub(crate) fn revision(&self, wasm: &[u8]) -> Arc<Revision> {
        let id = RevisionId::random();
        let dir = self.dir.path().join(id.to_string());
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(dir.join("guest.wasm"), wasm).expect("writable");
        Arc::new(Revision {
            id,
            name: "guest".parse().expect("a name"),
            version: Version::Latest,
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:guest".to_owned(),
            runtime: RuntimeName::Wasm,
            handler: String::new(),
            memory_mib: 128,
            ephemeral_storage_mib: 512,
            timeout: Duration::from_secs(3),
            environment: BTreeMap::from([("GREETING".to_owned(), "salut".to_owned())]),
            code: Code {
                sha256: String::new(),
                dir,
            },
            log_group: "/aws/lambda/guest".to_owned(),
        })
    }

    pub(crate) async fn prepare(&self, wasm: &[u8]) -> Result<(), PrepareError> {
        self.runtime.prepare(&self.revision(wasm)).await
    }

    /// A revision with one variable more.
    pub(crate) fn revision_with(&self, wasm: &[u8], variable: &str, value: &str) -> Arc<Revision> {
        self.revision_of(wasm, &[(variable, value)])
    }

    /// A revision with these variables beside the others.
    pub(crate) fn revision_of(&self, wasm: &[u8], variables: &[(&str, &str)]) -> Arc<Revision> {
        let mut revision = Revision::clone(&self.revision(wasm));
        for &(name, value) in variables {
            revision.environment.insert(name.to_owned(), value.to_owned());
        }
        Arc::new(revision)
    }

    pub(crate) async fn instance(&self, wasm: &[u8]) -> Box<dyn Instance> {
        self.instance_of(&self.revision(wasm)).await
    }

    pub(crate) async fn instance_of(&self, revision: &Arc<Revision>) -> Box<dyn Instance> {
        let created = self.runtime.create(revision).await;
        let mut instance = created.expect("an instance");
        let mut log = LogCapture::new(1024);
        instance.init(&mut log).await.expect("initialised");
        instance
    }

    /// Runs one event, and gives its log too.
    pub(crate) async fn call(
        &self,
        wasm: &[u8],
        payload: &'static str,
    ) -> (Result<Reply, Fault>, Vec<String>) {
        let mut instance = self.instance(wasm).await;
        call(&mut *instance, payload).await
    }
}

fn config(dir: &tempfile::TempDir, compiler: Compiler) -> WasmConfig {
    WasmConfig {
        dir: dir.path().join("machine-code"),
        compiler,
        processors: std::sync::Arc::new(squall_runtime::AllAlike),
    }
}

pub(crate) async fn call(
    instance: &mut dyn Instance,
    payload: &'static str,
) -> (Result<Reply, Fault>, Vec<String>) {
    let mut log = LogCapture::new(1000);
    let result = instance.invoke(&event(payload), &mut log).await;
    (result, log.finish().into_iter().map(|line| line.text).collect())
}

pub(crate) fn event(payload: &'static str) -> Event {
    Event {
        request_id: RequestId::random(),
        payload: payload.into(),
        deadline: SystemTime::now() + Duration::from_secs(3),
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:guest".into(),
        trace_id: None,
        client_context: None,
        encoding: Encoding::Json,
        host: None,
    }
}

/// The answer of a call that went well.
pub(crate) fn answer(reply: Result<Reply, Fault>) -> String {
    let body = reply.expect("a reply").result.expect("an answer");
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

/// The body of the function's error.
pub(crate) fn error(reply: Result<Reply, Fault>) -> serde_json::Value {
    let error = reply.expect("a reply").result.expect_err("an error");
    serde_json::from_slice(&error.body).expect("JSON")
}

/// A module of these items that does `body` when it is started, with preview 1's `write` and a page of memory.
pub(crate) fn module(items: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            {items}
            (func $main (export "_start") {body}))"#
    );
    wat::parse_str(text).expect("WebAssembly text")
}
