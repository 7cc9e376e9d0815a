//! A network for tests and measurements: seeded delays, pushes that are lost or overtake each other, peers that are cut
//! off. Under tokio's paused time the delays cost nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::{Peer, Reply, Request, Transport};
use crate::lattice::Capsule;
use crate::node::Node;
use crate::{CacheId, Key, StateError};

/// How bad it is.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Where the chances start.
    pub seed: u64,
    /// The longest way of a question, and of its answer.
    pub call_delay_max: Duration,
    /// The longest way of a push.
    pub push_delay_max: Duration,
    /// Of 100 pushes, how many are lost.
    pub push_loss_percent: u64,
}

/// See the module.
pub struct Unsteady {
    weather: Weather,
    node: OnceLock<Weak<Node>>,
    chance: Mutex<u64>,
    cut_off: Mutex<BTreeSet<CacheId>>,
}

impl Unsteady {
    /// A network with this weather.
    pub fn new(weather: Weather) -> Self {
        Self {
            chance: Mutex::new(weather.seed | 1),
            weather,
            node: OnceLock::new(),
            cut_off: Mutex::default(),
        }
    }

    /// From now on nobody reaches this cache: as if it had died.
    pub fn cut_off(&self, cache: CacheId) {
        let mut cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        cut_off.insert(cache);
    }

    fn is_cut_off(&self, cache: CacheId) -> bool {
        let cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        cut_off.contains(&cache)
    }

    /// Below `bound`; xorshift64*.
    fn draw(&self, bound: u64) -> u64 {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        *chance ^= *chance >> 12;
        *chance ^= *chance << 25;
        *chance ^= *chance >> 27;
        (chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound.max(1)
    }

    fn delay(&self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.draw(longest + 1))
    }

    fn node(&self) -> Result<Arc<Node>, StateError> {
        let node = self.node.get().and_then(Weak::upgrade);
        node.ok_or_else(|| unreachable_peer("the node", "it has shut down"))
    }
}

fn unreachable_peer(who: &str, reason: &str) -> StateError {
    StateError::Unreachable {
        who: who.to_owned(),
        reason: reason.to_owned(),
    }
}

#[async_trait]
impl Transport for Unsteady {
    fn attach(&self, node: Weak<Node>) {
        // A second call would be a second node on one transport, which nobody makes.
        let _ = self.node.set(node);
    }

    async fn call(&self, to: Peer, request: Request) -> Result<Reply, StateError> {
        tokio::time::sleep(self.delay(self.weather.call_delay_max)).await;
        if let Peer::Cache(cache) = to
            && self.is_cut_off(cache)
        {
            return Err(unreachable_peer(&format!("cache {}", cache.0), "it is cut off"));
        }
        let reply = self.node()?.serve(to, request).await?;
        tokio::time::sleep(self.delay(self.weather.call_delay_max)).await;
        Ok(reply)
    }

    fn push(&self, to: CacheId, changed: Arc<[(Key, Arc<Capsule>)]>) {
        if self.is_cut_off(to) || self.draw(100) < self.weather.push_loss_percent {
            return;
        }
        let Ok(node) = self.node() else { return };
        let delay = self.delay(self.weather.push_delay_max);
        let node = Arc::downgrade(&node);
        // On its own task, since whoever pushes does not wait: this is the wire, and it ends by itself.
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(node) = node.upgrade() {
                node.receive(to, &changed);
            }
        });
    }
}
