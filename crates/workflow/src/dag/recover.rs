//! What happens in the background: recorded runs of before a restart are executed, old endings are forgotten.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use squall_store::{Batch, Scan};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::catalog::now_ms;
use super::dags::spawn;
use super::record::{self, ENDINGS, EXPIRIES, RUNS, RunRecord};
use super::run::Run;
use super::value::value_bytes;
use super::{DagError, Dags, RunId, Topology, read_inputs};

/// How often endings are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Records that are read at once.
const PAGE: usize = 64;
/// Expiries that are read at once; they are small.
const EXPIRIES_PAGE: usize = 1024;

impl Dags {
    /// Executes what was accepted before a restart, and forgets endings whose time has come, until `shutdown`.
    /// Run it once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let work = async {
            let recovered = std::mem::take(
                &mut *self
                    .inner
                    .recovered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            );
            for run in recovered {
                tracing::info!(run = %run.id, "executing a run of before the restart");
                spawn(&self.inner, run);
            }
            let mut after = None;
            let mut ticks = tokio::time::interval(SWEEP_EVERY);
            loop {
                ticks.tick().await;
                if let Err(error) = self.sweep(&mut after).await {
                    tracing::error!(%error, "could not forget old results of runs");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Reads the runs that were accepted before a restart and have not ended. They are known at once, and executed by
    /// [`run`](Self::run).
    pub(crate) async fn recover(&self) -> Result<(), DagError> {
        let mut after: Option<Bytes> = None;
        loop {
            let mut scan = Scan::prefix(RUNS, "").limit(PAGE);
            scan.after = after.take();
            let page = self.inner.store.scan(scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (key, entry) in page {
                // A record that cannot be read is one run's loss, not that of all after it.
                match recovered(&key, entry.value) {
                    Ok(run) => {
                        self.inner.table().admit(&run);
                        self.inner
                            .recovered
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(run);
                    }
                    Err(error) => tracing::error!(%error, "a recorded run cannot be executed"),
                }
            }
        }
    }

    /// Forgets endings whose time has come. `after` is where the last sweep ended: what it removed is not read again.
    pub(crate) async fn sweep(&self, after: &mut Option<Bytes>) -> Result<(), DagError> {
        let now = now_ms();
        loop {
            let mut scan = Scan::prefix(EXPIRIES, "").limit(EXPIRIES_PAGE);
            scan.after = after.clone();
            let page = self.inner.store.scan(scan).await?;
            let mut batch = Batch::buffered();
            let (mut endings, mut bytes) = (0, 0);
            let mut last = None;
            for (key, entry) in &page {
                let Some((at_ms, id)) = record::read_expiry_key(key) else {
                    continue;
                };
                if at_ms > now {
                    break;
                }
                batch = batch
                    .delete(EXPIRIES, key.clone())
                    .delete(ENDINGS, id.0.as_bytes().to_vec());
                endings += 1;
                bytes += size_in(&entry.value);
                last = Some(key.clone());
            }
            if endings == 0 {
                return Ok(());
            }
            self.inner.store.commit(batch).await?;
            *after = last;
            let mut table = self.inner.table();
            table.endings = table.endings.saturating_sub(endings);
            table.ending_bytes = table.ending_bytes.saturating_sub(bytes);
        }
    }

    /// Counts what is kept, by the small records alone.
    pub(crate) async fn count_endings(&self) -> Result<(), DagError> {
        let mut after: Option<Bytes> = None;
        loop {
            let mut scan = Scan::prefix(EXPIRIES, "").limit(EXPIRIES_PAGE);
            scan.after = after.take();
            let page = self.inner.store.scan(scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let mut table = self.inner.table();
            table.endings += page.len();
            table.ending_bytes += page.iter().map(|(_, entry)| size_in(&entry.value)).sum::<u64>();
        }
    }
}

fn size_in(mut value: &[u8]) -> u64 {
    if value.len() == 8 { value.get_u64() } else { 0 }
}

/// A run as it was recorded.
fn recovered(key: &[u8], value: Bytes) -> Result<Arc<Run>, DagError> {
    let wrong = |reason: &str| DagError::Record {
        what: format!("run {}", key.escape_ascii()),
        reason: reason.to_owned(),
    };
    let id = RunId(uuid::Uuid::from_slice(key).map_err(|_| wrong("its key is no id"))?);
    let (head, inputs): (RunRecord, _) = record::decode(&format!("run {id}"), value)?;
    let topology = Topology::new(head.spec)?;
    let mut by_node = vec![Vec::new(); topology.upstream.len()];
    for (name, arguments) in read_inputs(inputs)? {
        let node = topology
            .node(&name)
            .ok_or_else(|| wrong("it has arguments for nobody"))?;
        by_node[node] = arguments;
    }
    Ok(Arc::new(Run {
        id,
        dag: head.dag,
        bytes: by_node.iter().map(|arguments| value_bytes(arguments)).sum(),
        topology: Arc::new(topology),
        inputs: by_node,
        options: head.options,
        trace_id: None,
        is_recorded: true,
        cancelled: CancellationToken::new(),
        settled: watch::Sender::new(None),
    }))
}
