//! The engine against functions that are closures: order, fan-in, failure, another attempt, cancellation, restarts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use squall_store::{Memory, Store};
use squall_types::{
    Encoding, FunctionError, FunctionRef, Invocation, Invoke, InvokeError, Outcome, Placement, Resolution,
    RevisionId, ThrottleReason, Usage, Version,
};
use tokio_util::sync::CancellationToken;

use super::*;

mod endings;
mod fused;
mod runs;

type Answer = Result<Result<Bytes, FunctionError>, InvokeError>;
type Body = Box<dyn Fn(&Invocation, usize) -> Answer + Send + Sync>;

/// Functions by name, and what was invoked, in order.
#[derive(Default)]
struct Functions {
    bodies: HashMap<String, Body>,
    resolved: Mutex<HashMap<String, Resolution>>,
    /// Functions that answer only once this is told to them.
    gate: Option<(String, tokio::sync::Semaphore)>,
    invoked: Mutex<Vec<Invocation>>,
    /// Told about each invocation.
    arrived: tokio::sync::Notify,
}

impl Functions {
    fn with(
        mut self,
        name: &str,
        body: impl Fn(&Invocation, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.bodies.insert(name.to_owned(), Box::new(body));
        self.update(name);
        self
    }

    /// Makes another revision of a function.
    fn update(&self, name: &str) {
        self.set(name, RevisionId::random(), None);
    }

    fn set(&self, name: &str, revision: RevisionId, reserved_concurrency: Option<u32>) {
        let resolution = Resolution {
            revision,
            reserved_concurrency,
        };
        let mut resolved = self.resolved.lock().expect("nobody panics");
        resolved.insert(name.to_owned(), resolution);
    }

    fn resolution(&self, name: &str) -> Option<Resolution> {
        let resolved = self.resolved.lock().expect("nobody panics");
        resolved.get(name).copied()
    }

    fn revision(&self, name: &str) -> RevisionId {
        self.resolution(name).expect("it is there").revision
    }

    /// A function of whole numbers.
    fn number(self, name: &str, body: impl Fn(i64) -> i64 + Send + Sync + 'static) -> Self {
        self.with(name, move |invocation, _| {
            let event: i64 = serde_json::from_slice(&invocation.payload).expect("a number");
            Ok(Ok(body(event).to_string().into()))
        })
    }

    /// Holds a function back until it is let go on.
    fn hold(mut self, name: &str) -> Self {
        self.gate = Some((name.to_owned(), tokio::sync::Semaphore::new(0)));
        self
    }

    fn let_go_on(&self) {
        let (_, gate) = self.gate.as_ref().expect("somebody is held");
        gate.add_permits(1000);
    }

    fn names(&self) -> Vec<String> {
        let invoked = self.invoked.lock().expect("nobody panics");
        invoked.iter().map(|one| one.target.to_string()).collect()
    }

    /// Waits until a function was invoked for the `times`-th time.
    async fn invoked(&self, name: &str, times: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.names().iter().filter(|one| *one == name).count() >= times {
                return;
            }
            arrived.await;
        }
    }
}

#[async_trait]
impl Invoke for Functions {
    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, InvokeError> {
        let name = invocation.target.name.as_str().to_owned();
        let before = self.names().iter().filter(|one| **one == name).count();
        self.invoked
            .lock()
            .expect("nobody panics")
            .push(invocation.clone());
        self.arrived.notify_waiters();
        if let Some((held, gate)) = &self.gate
            && *held == name
        {
            gate.acquire().await.expect("nobody closes it").forget();
        }
        if invocation
            .revision
            .is_some_and(|only| only != self.revision(&name))
        {
            return Err(InvokeError::Changed(name));
        }
        let body = self.bodies.get(&name).ok_or(InvokeError::NotFound(name))?;
        Ok(Outcome {
            executed_version: Version::Latest,
            result: body(&invocation, before)?,
            encoding: Encoding::Json,
            session: Some(format!("after {}", invocation.target).into()),
            log_tail: None,
            usage: Usage::default(),
        })
    }

    async fn accept(&self, _: Invocation) -> Result<(), InvokeError> {
        Err(InvokeError::ShuttingDown)
    }

    async fn resolve(&self, target: &FunctionRef) -> Result<Resolution, InvokeError> {
        self.resolution(target.name.as_str())
            .ok_or_else(|| InvokeError::NotFound(target.to_string()))
    }
}

fn spec(names: &[&str], edges: &[(&str, &str)]) -> Spec {
    let node = |name: &&str| Node {
        name: (*name).to_owned(),
        function: None,
        takes: Takes::Event,
    };
    let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
    Spec {
        functions: names.iter().map(node).collect(),
        edges: edges.iter().map(owned).collect(),
        fused: None,
    }
}

fn json(text: &str) -> Argument {
    Argument::Value(value(text))
}

fn value(text: &str) -> Value {
    Value {
        encoding: Encoding::Json,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    }
}

async fn open(store: Arc<dyn Store>, functions: &Arc<Functions>) -> Dags {
    let config = Config {
        backoff: Duration::from_millis(1),
        ..Config::default()
    };
    let opened = Dags::open(store, functions.clone(), Arc::new(NoState), config).await;
    opened.expect("an engine")
}

/// An engine with the DAG `dag`.
async fn engine(functions: Functions, spec: Spec) -> (Dags, Arc<Functions>) {
    let functions = Arc::new(functions);
    let dags = open(Arc::new(Memory::new()), &functions).await;
    dags.register("dag", spec).await.expect("a DAG");
    (dags, functions)
}

fn the_dag() -> Plan {
    Plan::Dag("dag".to_owned())
}

/// Calls the DAG directly with one argument of its only source.
async fn call(dags: &Dags, event: &str) -> Result<Arc<Ending>, DagError> {
    let inputs = vec![(String::new(), vec![json(event)])];
    dags.call(the_dag(), inputs, Options::default(), RunId::random(), None)
        .await
}

fn failed(kind: &str, message: &str) -> Answer {
    Ok(Err(FunctionError::new(kind, message)))
}
