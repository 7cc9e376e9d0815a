//! The seam to the registry: all that the dispatcher asks of it. Tests put their own set of functions here.

use squall_registry::{Change, EventPolicy, Registry, Resolved};
use squall_types::{FunctionRef, InvokeError, Qualifier, RevisionId};
use tokio::sync::broadcast;

/// Says what a call runs.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// What a call to `target` runs now.
    fn resolve(&self, target: &FunctionRef) -> Result<Resolved, InvokeError>;

    /// Tells of changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Whether any call could still resolve to this revision.
    fn is_current(&self, revision: RevisionId) -> bool;

    /// What is done with accepted events for `target`.
    fn event_policy(&self, target: &FunctionRef) -> EventPolicy;

    /// The ARN of what a caller named, always with a qualifier.
    fn function_arn(&self, target: &FunctionRef) -> String;

    /// The most calls in flight, over all functions without reserved concurrency.
    fn account_concurrency(&self) -> u32;
}

impl Resolve for Registry {
    fn resolve(&self, target: &FunctionRef) -> Result<Resolved, InvokeError> {
        Registry::resolve(self, target)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        Registry::changes(self)
    }

    fn is_current(&self, revision: RevisionId) -> bool {
        Registry::is_current(self, revision)
    }

    fn event_policy(&self, target: &FunctionRef) -> EventPolicy {
        Registry::event_policy(self, target)
    }

    fn function_arn(&self, target: &FunctionRef) -> String {
        let qualifier = target.qualifier.as_ref().unwrap_or(&Qualifier::Latest);
        self.home().function_arn(&target.name, Some(qualifier))
    }

    fn account_concurrency(&self) -> u32 {
        self.limits().account_concurrency
    }
}
