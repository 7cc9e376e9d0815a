//! The runtimes of one server, for those who must not know them: the registry asks whether and how code can run.
//!
//! Which runtime runs what is said by the runtimes; the first that takes a name has it.

use std::sync::Arc;

use squall_registry::{Prepare, Registry, RuntimeCheck};
use squall_runtime::{Runtime, runtime_of};
use squall_types::{PrepareError, RuntimeName};

/// All runtimes of this server.
#[derive(Clone)]
pub(crate) struct Runtimes(Arc<[Arc<dyn Runtime>]>);

impl Runtimes {
    pub(crate) fn new(all: Vec<Arc<dyn Runtime>>) -> Self {
        Self(all.into())
    }

    /// As the dispatcher takes them.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Runtime>> {
        self.0.to_vec()
    }

    /// Refuses a runtime that none of them has, with a list of what they all have.
    pub(crate) fn check(&self) -> RuntimeCheck {
        let runtimes = self.clone();
        Arc::new(move |name| runtimes.of(name).map(drop))
    }

    /// Lets the runtime of a revision prepare it.
    pub(crate) fn prepare(&self) -> Prepare {
        let runtimes = self.clone();
        Arc::new(move |revision| {
            let runtime = runtimes.of(&revision.runtime);
            Box::pin(async move {
                // It was offered when the function was made; the host has lost it since.
                runtime.map_err(PrepareError::Platform)?.prepare(&revision).await
            })
        })
    }

    /// Prepares again, one after the other, the revisions of `registry` whose preparation is gone: machine code that an
    /// older version of the server compiled. For a server that has just started, beside its requests.
    pub(crate) async fn prepare_again(&self, registry: &Registry) {
        let mut missing = Vec::new();
        for revision in registry.active_revisions() {
            for runtime in &*self.0 {
                if !runtime.is_prepared(&revision).await {
                    missing.push((runtime, revision.clone()));
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        let versions = missing.len();
        tracing::info!(
            versions,
            "compiling functions again that this version of squall has no code of"
        );
        for (runtime, revision) in missing {
            if !registry.is_current(revision.id) {
                continue;
            }
            match runtime.prepare(&revision).await {
                Ok(()) => {}
                Err(PrepareError::Stopped) => return,
                Err(error) => {
                    let (name, version) = (&revision.name, revision.version);
                    tracing::warn!(function = %name, %version, %error, "could not compile a function again");
                }
            }
        }
    }

    /// Ends them all.
    pub(crate) async fn shutdown(&self) {
        for runtime in &*self.0 {
            runtime.shutdown().await;
        }
    }

    fn of(&self, name: &RuntimeName) -> Result<Arc<dyn Runtime>, String> {
        runtime_of(&self.0, name)
            .cloned()
            .map_err(|refusal| refusal.to_string())
    }
}
