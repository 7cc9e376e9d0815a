//! How a session begins, travels on, and ends.

use std::sync::{Arc, Mutex};

use super::rule::Enforced;
use super::{Level, Session, SessionContext, SessionRequest, View};
use crate::lattice::Update;
use crate::state::Inner;
use crate::transport::{Peer, Request};
use crate::{BucketName, BucketSettings, CacheId, StateError};

/// The longest id of a transaction.
const TRANSACTION_BYTES_MAX: usize = 256;

impl Session {
    pub(crate) fn begin(inner: &Arc<Inner>, request: SessionRequest) -> Result<Self, StateError> {
        let home = &inner.node.home;
        inner.node.cache(request.cache)?;
        let began_here = request.travelling.is_none();
        let context = match request.travelling {
            Some(context) => {
                if context.level.looks_back() {
                    home.hear_run(context.run)?;
                }
                context
            }
            None => begin_run(inner, request.level, request.transaction)?,
        };
        let pending_bytes = context.pending.values().flatten().map(Update::bytes).sum();
        let enforced = enforced(&context);
        let view = View {
            reads: context.reads,
            dependencies: context.dependencies,
            pending: context.pending,
            pending_bytes,
            enforced,
            over: false,
        };
        Ok(Self {
            inner: inner.clone(),
            run: context.run,
            level: context.level,
            cache: request.cache,
            function: request.function,
            transaction: context.transaction.map(Into::into),
            remembered: context.level.looks_back(),
            began_here,
            view: Mutex::new(view),
        })
    }

    /// Whether this session may see a bucket, which must be there.
    pub(super) fn check(&self, bucket: &BucketName) -> Result<(), StateError> {
        if let Some(function) = &self.function {
            self.inner.buckets.check_bound(function, bucket)?;
        }
        let bucket = self.inner.buckets.get(bucket)?;
        self.inner.node.home.touch(&bucket);
        Ok(())
    }

    /// As [`Session::check`]; a function's own bucket is made when it is first wanted.
    pub(super) async fn admit(&self, bucket: &BucketName) -> Result<(), StateError> {
        if self.remembered && self.view().over {
            return Err(StateError::SessionOver);
        }
        match self.check(bucket) {
            Err(StateError::UnknownBucket { .. })
                if self
                    .function
                    .as_ref()
                    .is_some_and(|own| own.as_str() == bucket.as_str()) =>
            {
                let now = self.inner.node.home.now();
                let made = self
                    .inner
                    .buckets
                    .create(bucket.clone(), BucketSettings::default(), now);
                made.await.map(drop)
            }
            other => other,
        }
    }

    /// Ends the session, not its run: what the next function's session goes on with.
    pub fn finish(&self) -> SessionContext {
        let mut view = self.view();
        view.over = true;
        SessionContext {
            run: self.run,
            level: self.level,
            transaction: self.transaction.as_ref().map(ToString::to_string),
            reads: std::mem::take(&mut view.reads),
            dependencies: std::mem::take(&mut view.dependencies),
            pending: std::mem::take(&mut view.pending),
        }
    }

    /// Ends the run. At the level `atomic`, what it has written becomes visible now; `false` when the same transaction
    /// had done so before, and nothing was done.
    ///
    /// # Errors
    /// [`StateError::Store`] and what a write may run into; with the same transaction id, a repetition is safe.
    pub async fn commit(&self) -> Result<bool, StateError> {
        if self.view().over {
            return Err(StateError::SessionOver);
        }
        let done = match self.level {
            Level::Atomic => self.commit_pending().await?,
            _ => true,
        };
        self.end().await;
        Ok(done)
    }

    /// Ends the run; what an atomic run has written never becomes visible.
    pub async fn abort(&self) {
        if !self.view().over {
            self.end().await;
        }
    }

    /// Lets go of everything that was kept for the run.
    async fn end(&self) {
        let mut caches: Vec<CacheId> = {
            let mut view = self.view();
            view.over = true;
            view.reads.values().map(|read| read.cache).collect()
        };
        if !self.remembered {
            return;
        }
        self.inner.node.home.end_run(self.run);
        caches.push(self.cache);
        caches.sort_unstable();
        caches.dedup();
        for cache in caches {
            let release = Request::Release { run: self.run };
            // One that does not hear of it lets go when the run is forgotten.
            if let Err(error) = self.inner.node.ask(self.cache, Peer::Cache(cache), release).await {
                tracing::debug!(%error, "a cache did not hear of the end of a run");
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.remembered && self.began_here && !self.view().over {
            self.inner.node.home.end_run(self.run);
            if let Ok(cache) = self.cache() {
                cache.release(self.run);
            }
        }
    }
}

/// A run that has done nothing yet.
pub(crate) fn begin_run(
    inner: &Inner,
    level: Level,
    transaction: Option<String>,
) -> Result<SessionContext, StateError> {
    if transaction
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > TRANSACTION_BYTES_MAX)
    {
        return Err(StateError::Invalid(format!(
            "the id of a transaction has 1 to {TRANSACTION_BYTES_MAX} bytes"
        )));
    }
    let context = SessionContext::new(level, transaction);
    if level.looks_back() {
        inner.node.home.begin_run(context.run)?;
    }
    Ok(context)
}

/// What the reads of the next function must fit.
fn enforced(context: &SessionContext) -> Enforced {
    match context.level {
        Level::Causal | Level::Atomic => {
            let mut enforced = Enforced {
                dependencies: context.dependencies.clone(),
                ..Enforced::default()
            };
            for (key, read) in &context.reads {
                enforced.reads.insert(key.clone(), read.observed.bound());
            }
            enforced
        }
        // At the level `multi-key-causal` the cut is one function's.
        _ => Enforced::default(),
    }
}
