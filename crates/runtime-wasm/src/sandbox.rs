//! Where a component's call runs: a sandbox of its own, or one that has answered before.
//!
//! Reuse is a function's wish: its variable `SQUALL_WASM_REUSE` says for how many calls. A slot keeps one sandbox at
//! most, and only after a call that ended well. All are bounded together, so that what is kept never takes the pool
//! from others. Everything else starts afresh: the call after a trap, after a deadline, after much memory was taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use squall_runtime::LogCapture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use crate::call;
use crate::engine::INSTANCES_MAX;
use crate::host::Host;
use crate::instance::Loaded;
use crate::output::{Output, Redirected};

/// The variable that asks for reuse, and the most calls that it may ask for.
const VARIABLE: &str = "SQUALL_WASM_REUSE";
const USES_MAX: u32 = 1_000_000;
/// What has not been used for this long starts afresh.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The most sandboxes that are kept, of all functions: half of the pool.
pub(crate) const KEPT_MAX: usize = INSTANCES_MAX as usize / 2;

/// Nothing is known yet of how the guest takes a second call.
const UNPROVED: u8 = 0;
/// It has answered one.
const PROVED: u8 = 1;
/// It has failed one before it ever answered one: each call gets a fresh sandbox.
const FRESH_ONLY: u8 = 2;

/// Whether, and how often, a function's sandboxes are used again.
#[derive(Debug)]
pub(crate) struct Reuse {
    uses_max: u32,
    second_call: AtomicU8,
    /// Room for what is kept.
    kept: Arc<Semaphore>,
}

impl Reuse {
    /// What the function's environment asks for.
    ///
    /// # Errors
    /// In words for the function's owner.
    pub(crate) fn asked(
        environment: &BTreeMap<String, String>,
        kept: Arc<Semaphore>,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some(asked) = environment.get(VARIABLE) else {
            return Ok(None);
        };
        let uses_max = asked.parse().ok().filter(|uses| (1..=USES_MAX).contains(uses));
        let uses_max = uses_max.ok_or_else(|| {
            format!("`{VARIABLE}` is `{asked}`, but must be a number of calls from 1 to {USES_MAX}")
        })?;
        Ok((uses_max > 1).then(|| {
            Arc::new(Self {
                uses_max,
                second_call: AtomicU8::new(UNPROVED),
                kept,
            })
        }))
    }

    fn is_fresh_only(&self) -> bool {
        self.second_call.load(Ordering::Relaxed) == FRESH_ONLY
    }
}

/// What a slot keeps from one call to the next.
#[derive(Default)]
pub(crate) struct Kept(Option<Idle>);

struct Idle {
    sandbox: Sandbox,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

/// One guest, alone in its store.
pub(crate) struct Sandbox {
    pub(crate) store: Store<Host>,
    /// `None` before its first call.
    guest: Option<Proxy>,
    uses: u32,
    /// Where its output goes, where that changes from call to call.
    output: Option<Redirected>,
}

impl Kept {
    /// The kept sandbox where there is one that may be used, else a fresh one.
    pub(crate) fn take(&mut self, loaded: &Loaded, log: &LogCapture) -> Sandbox {
        if let Some(Idle {
            mut sandbox, since, ..
        }) = self.0.take()
            && since.elapsed() <= IDLE_MAX
            && !loaded.reuse.as_ref().is_none_or(|reuse| reuse.is_fresh_only())
        {
            if let Some(output) = &sandbox.output {
                output.redirect(log);
            }
            sandbox.store.set_epoch_deadline(1);
            return sandbox;
        }
        let output = loaded.reuse.as_ref().map(|_| Redirected::new(log));
        let written = match &output {
            Some(redirected) => Output::Redirected(redirected.clone()),
            None => Output::Log(log.clone()),
        };
        Sandbox {
            store: call::component_store(loaded, Bytes::new(), written.clone(), written),
            guest: None,
            uses: 0,
            output,
        }
    }

    /// Keeps a sandbox whose call has ended well, if it may be used again.
    pub(crate) fn put(&mut self, loaded: &Loaded, mut sandbox: Sandbox) {
        let Some(reuse) = &loaded.reuse else {
            return;
        };
        let is_small = sandbox.memory_bytes() <= loaded.memory_bytes_max as u64 / 2;
        if sandbox.uses >= reuse.uses_max || !is_small || reuse.is_fresh_only() {
            return;
        }
        // Who reads an answer that is not finished would wait for as long as the sandbox is kept.
        if sandbox.store.data_mut().owes() {
            return;
        }
        let Ok(room) = reuse.kept.clone().try_acquire_owned() else {
            return;
        };
        sandbox.store.data_mut().end_call();
        if let Some(output) = &sandbox.output {
            output.silence();
        }
        self.0 = Some(Idle {
            sandbox,
            since: Instant::now(),
            _room: room,
        });
    }
}

impl Sandbox {
    /// The bytes of its linear memories.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().limits.memory_bytes()
    }

    /// The guest, instantiated where it has not been.
    pub(crate) async fn guest(
        &mut self,
        pre: &ProxyPre<Host>,
    ) -> wasmtime::Result<(&Proxy, &mut Store<Host>)> {
        self.uses += 1;
        if self.guest.is_none() {
            self.guest = Some(pre.instantiate_async(&mut self.store).await?);
        }
        let guest = self.guest.as_ref().expect("it was put there above");
        Ok((guest, &mut self.store))
    }

    /// Watches over a call of a sandbox that has been used before.
    pub(crate) fn second_call(&self, loaded: &Loaded, log: &LogCapture) -> Option<SecondCall> {
        let reuse = loaded.reuse.as_ref().filter(|_| self.guest.is_some())?;
        Some(SecondCall {
            reuse: reuse.clone(),
            log: log.clone(),
        })
    }
}

/// A call of a used sandbox. Dropped before it is [`answered`](Self::answered), it has failed: where the guest has
/// never answered a second call, it never gets one again.
pub(crate) struct SecondCall {
    reuse: Arc<Reuse>,
    log: LogCapture,
}

impl SecondCall {
    /// The guest can do that.
    pub(crate) fn answered(self) {
        self.reuse.second_call.store(PROVED, Ordering::Relaxed);
    }
}

impl Drop for SecondCall {
    fn drop(&mut self) {
        let state = &self.reuse.second_call;
        let first = state.compare_exchange(UNPROVED, FRESH_ONLY, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            let told = "squall: the component did not answer the second call of an instance; from now on each call gets \
                        a fresh instance";
            self.log.line(told.to_owned());
        }
    }
}
