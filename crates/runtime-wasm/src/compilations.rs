//! Compilations, one at a time for each content however many ask for it.
//!
//! Each runs in a task of its own, so that who asked may go. How it ended is kept: code that could not be compiled is
//! not compiled again for each call. Bounded by the contents that revisions have.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::compile::CompileError;

/// Who asks for machine code that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody who prepares it: what failed before is tried again.
    Preparation,
    /// A call: what was wrong with the code still is.
    Call,
}

/// `None` until it has ended.
type Told = watch::Receiver<Option<Result<(), CompileError>>>;

#[derive(Debug, Default)]
pub(crate) struct Compilations {
    by_content: Mutex<HashMap<String, Told>>,
    /// Dropped with this, and with it what runs.
    tasks: Mutex<JoinSet<()>>,
}

impl Compilations {
    /// Waits for the compilation of this content, and begins it with `compile` where none is under way. Dropping the
    /// future does not end it.
    pub(crate) async fn share(
        &self,
        content: &str,
        asker: Asker,
        compile: impl Future<Output = Result<(), CompileError>> + Send + 'static,
    ) -> Result<(), CompileError> {
        let mut told = self.join_or_begin(content, asker, compile);
        let ended = told.wait_for(Option::is_some).await.map(|ended| ended.clone());
        match ended {
            Ok(Some(ended)) => ended,
            // The task is gone and has told nothing.
            _ => Err(std::io::Error::other("the compilation was cut short").into()),
        }
    }

    fn join_or_begin(
        &self,
        content: &str,
        asker: Asker,
        compile: impl Future<Output = Result<(), CompileError>> + Send + 'static,
    ) -> Told {
        let mut by_content = self.by_content();
        if let Some(known) = by_content.get(content) {
            let stands = match &*known.borrow() {
                None => known.has_changed().is_ok(),
                Some(Err(CompileError::Guest(_) | CompileError::Limit)) => asker == Asker::Call,
                Some(_) => false,
            };
            if stands {
                return known.clone();
            }
        }
        let (tell, told) = watch::channel(None);
        by_content.insert(content.to_owned(), told.clone());
        drop(by_content);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            tell.send_replace(Some(compile.await));
        });
        told
    }

    /// Whether it is being compiled, or waits for its turn.
    pub(crate) fn is_running(&self, content: &str) -> bool {
        let by_content = self.by_content();
        let known = by_content.get(content);
        known.is_some_and(|told| told.borrow().is_none() && told.has_changed().is_ok())
    }

    /// Whether this process has compiled it: by the engine that loads it, so that doing it again gives the same.
    pub(crate) fn has_compiled(&self, content: &str) -> bool {
        let by_content = self.by_content();
        let known = by_content.get(content);
        known.is_some_and(|told| matches!(&*told.borrow(), Some(Ok(()))))
    }

    /// Nobody will ask for it again.
    pub(crate) fn forget(&self, content: &str) {
        self.by_content().remove(content);
    }

    /// Waits for the end of all that run.
    pub(crate) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }

    fn by_content(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        // Whole values are put into it and taken out.
        self.by_content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
